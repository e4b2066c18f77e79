/** The compiler's messages for mistakes: one run of it over a module that has all of them, each under its name. */
import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { afterAll, assert, beforeAll, describe, it } from "vitest"

const project = Path.resolve(import.meta.dirname, "../..")

/** Mistakes, and what the compiler's message has to contain. */
const mistakes: ReadonlyArray<readonly [what: string, code: string, says: string]> = [
  ...["id", "decide", "name", "then", "fold", "constructor"].map(
    (tag) =>
      [
        `an event that creates is called "${tag}"`,
        `Aggregate.make("Door", { state: {}, creation: { ${tag}: {} }, events: {}, reduce: { ${tag}: () => ({}) } })`,
        `an event can't be named '${tag}', because an aggregate or a promise has a property of that name`
      ] as const
  ),
  [
    'an event that changes is called "id"',
    'Aggregate.make("Door", { state: {}, creation: { Made: {} }, events: { id: { by: Schema.String } }, reduce: { Made: () => ({}), id: (door) => door } })',
    "an event can't be named 'id', because an aggregate or a promise has a property of that name"
  ],
  [
    'an event has a field "_tag"',
    'Aggregate.make("Door", { state: {}, creation: { Made: { _tag: Schema.String } }, events: {}, reduce: { Made: () => ({}) } })',
    "an event can't have a field '_tag', which holds its name"
  ],
  [
    'the schema of an event has a "_tag" that is another\'s',
    'Aggregate.make("Door", { state: {}, creation: { Made: {} }, events: { Opened: Schema.TaggedStruct("Shut", {}) }, reduce: { Made: () => ({}), Opened: (door) => door } })',
    "an event can't have a field '_tag', which holds its name"
  ],
  [
    "there is no creation",
    'Aggregate.make("Door", { state: {}, events: {}, reduce: {} })',
    "Property 'creation' is missing"
  ],
  [
    "an aggregate's name has a dash",
    'Aggregate.make("Guide-Dog", { state: {}, creation: { Made: {} }, events: {}, reduce: { Made: () => ({}) } })',
    "an aggregate's name must not contain '-', which separates the name from the id in stream names"
  ],
  ["a function is executed", "dogs.execute(rex, () => Dog.Rested())", "wrap it if it decides: execute(id, Dog.decide("],
  [
    "a decision was not called",
    "dogs.execute(rex, addTrick)",
    "call the function if it returns a decision or an event: execute("
  ],
  [
    "a value comes with events under a wrong name",
    "Dog.decide((dog) => ({ event: Dog.Rested(), value: dog.name }))",
    "Property 'events' is missing"
  ],
  [
    "decisions on different aggregates are composed",
    "Decision.andThen(addTrick('sit'), Counter.decide(() => []))",
    `Type '"Counter"' is not assignable to type '"Dog"'`
  ],
  [
    "a decision that needs an argument follows one that returns no value",
    "Decision.andThen(Dog.decide(() => Dog.Rested()), addTrick)",
    "Type 'undefined' is not assignable to type 'string'"
  ],
  [
    "a constructor was not called",
    "dogs.execute(rex, Dog.Rested)",
    "call the function if it returns a decision or an event: execute("
  ]
]

const preamble = `import { Schema } from "effect"
import { Aggregate, Decision, type Repository } from "effect-eventsourcing"
import { addTrick, Counter, Dog } from ${JSON.stringify(Path.join(project, "test/support/dog.ts"))}
declare const dogs: Repository.AggregateRepository<typeof Dog>
const rex = Dog.Id.make("rex")
void [Schema, Aggregate, Decision, addTrick, Counter, dogs, rex]
`

const lines = preamble.split("\n").length

describe("the compiler reports", () => {
  let folder = ""
  let output = ""

  beforeAll(async () => {
    folder = Fs.mkdtempSync(Path.join(project, "node_modules", ".compile-errors-"))
    Fs.writeFileSync(Path.join(folder, "mistakes.ts"), preamble + mistakes.map(([, code]) => code).join("\n"))
    const config = { extends: Path.join(project, "tsconfig.json"), files: ["mistakes.ts"], include: [], exclude: [] }
    Fs.writeFileSync(Path.join(folder, "tsconfig.json"), JSON.stringify(config))
    const tsc = Path.join(project, "node_modules", "typescript", "bin", "tsc")
    const args = [tsc, "--project", folder, "--pretty", "false", "--noErrorTruncation"]
    output = await new Promise((resolve) => execFile(process.execPath, args, (_error, stdout) => resolve(stdout)))
  })

  afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

  it.each(mistakes.map(([what, , says], index) => [what, says, index] as const))("if %s", (_what, says, index) => {
    const errors = output.split(/^(?=\S)/m).filter((error) => error.includes(`mistakes.ts(${lines + index},`))
    assert.include(errors.join(""), says, output)
  })
})
