/** What an editor shows of the types that users meet: names and events, not how they are constructed. */
import * as Path from "node:path"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { hovers } from "./support/hoverTexts.ts"

let shown: Readonly<Record<string, string>> = {}

beforeAll(async () => {
  shown = await hovers(Path.join(import.meta.dirname, "support", "hoverSamples.ts"))
  for (const [name, text] of Object.entries(shown)) console.log(`${name}: ${text}`)
})

const REGISTERED = `{ readonly _tag: "Registered"; readonly name: string; }`
const CHANGE = `{ readonly _tag: "TrickAdded"; readonly trick: string; } | { readonly _tag: "Renamed"; readonly name: string; }`
const EXECUTED = `Repository.Executed<"Dog", DogState, ${REGISTERED} | ${CHANGE}>`

describe("an editor shows", () => {
  it("for a repository the aggregate: its name, state and events", () => {
    assert.strictEqual(
      shown.repository,
      `const dogs: Repository.AggregateRepository<Aggregate.Defined<"Dog", DogState, ${REGISTERED}, ${CHANGE}>>`
    )
  })

  it("for a decision its failures and its events", () => {
    assert.strictEqual(
      shown.decision,
      `const addSit: Decision<"Dog", AggregateNotFound | TrickAlreadyKnown, DogState, ${CHANGE}>`
    )
  })

  it("of decisions that are composed and return a value what both can fail with, and the value", () => {
    assert.strictEqual(
      shown.composed,
      `const composed: Decision<"Dog", AggregateNotFound | TrickAlreadyKnown, DogState, ${CHANGE}> & Returning<number>`
    )
    assert.strictEqual(shown.counted, `const counted: ${EXECUTED} & { readonly value: number; }`)
  })

  it("for execute the command's result, and its failures under one name", () => {
    assert.strictEqual(
      shown.executing,
      `const executing: Effect.Effect<${EXECUTED}, AggregateNotFound | TrickAlreadyKnown | Repository.ExecuteError, never>`
    )
  })

  it("for Executed the state and the events", () => {
    assert.strictEqual(shown.executed, `const executed: ${EXECUTED}`)
  })

  it("for a transaction each participant", () => {
    assert.strictEqual(
      shown.transacted,
      `const transacted: { readonly one: ${EXECUTED}; readonly other: ${EXECUTED}; }`
    )
  })

  it("for Projection.read what is read, and from where", () => {
    assert.strictEqual(
      shown.reading,
      "const reading: Effect.Effect<Map<string, string>, ViewNotFound | RecorderError, MemoryViewStore>"
    )
  })

  it("nowhere how a type is constructed, or a schema", () => {
    assert.deepStrictEqual(Object.keys(shown).sort(), [
      ...["composed", "counted", "decision", "execute", "executed", "executing", "read", "reading", "repository"],
      ...["transacted", "transaction"]
    ])
    for (const text of Object.values(shown)) {
      assert.notMatch(text, /EventsOf|EventOf|Constructors|Schema\.|NonEmptyString|~types|\["|infer |extends/)
      assert.isBelow(text.length, 800, text)
    }
  })
})
