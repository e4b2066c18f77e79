import * as Path from "node:path"
import { parseArgs } from "node:util"
import { Data, Effect } from "effect"
import { scenarios } from "./scenarios/index.ts"
import { viewScenarios } from "./views/index.ts"

export const backendNames = ["memory", "sqlite", "postgres", "kurrent"] as const

/** What was asked for. */
export interface Options {
  readonly backends: ReadonlyArray<string>
  readonly scenarios: ReadonlyArray<string>
  readonly folder: string
  readonly json: string | undefined
  readonly rounds: number
  readonly memory: boolean
  /** How many events PostgreSQL's table has before anything is measured. */
  readonly fill: number
  readonly help: boolean
}

/** A command line that can't be understood. */
export class BadOption extends Data.TaggedError("BadOption")<{ readonly message: string }> {}

const scenarioNames = [...scenarios, ...viewScenarios].map(({ name }) => name)

export const usage = `Usage: npm run bench -- [options]

  --only NAME       only this backend: ${backendNames.join(", ")}
  --scenario NAME   only this scenario: ${scenarioNames.join(", ")}
  --json FILE       write the results to a file, too
  --dir FOLDER      keep the files in this folder, which has to be on a disk (default: .bench)
  --rounds N        measure so many rounds and take the median (default: 15)
  --fill N          let PostgreSQL's table have so many events before anything is measured (default: none)
  --memory          instead of all that, stream a log of 1,000,000 events and watch the heap
  --help            print this

--only and --scenario can be given several times.`

const chosen = (option: string, names: ReadonlyArray<string> | undefined, known: ReadonlyArray<string>) => {
  const unknown = names?.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`${option} "${unknown}": there are ${known.join(", ")}`)
  return known.filter((name) => names === undefined || names.includes(name))
}

const parse = (args: ReadonlyArray<string>): Options => {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", multiple: true },
      scenario: { type: "string", multiple: true },
      json: { type: "string" },
      dir: { type: "string", default: Path.resolve(import.meta.dirname, "../.bench") },
      rounds: { type: "string", default: "15" },
      fill: { type: "string", default: "0" },
      memory: { type: "boolean", default: false },
      help: { type: "boolean", default: false }
    }
  })
  const rounds = Number(values.rounds)
  if (!(Number.isInteger(rounds) && rounds > 0)) throw new Error(`--rounds "${values.rounds}": a number from 1 on`)
  const fill = Number(values.fill)
  if (!(Number.isInteger(fill) && fill >= 0)) throw new Error(`--fill "${values.fill}": a number from 0 on`)
  return {
    backends: chosen("--only", values.only, backendNames),
    scenarios: chosen("--scenario", values.scenario, scenarioNames),
    folder: Path.resolve(values.dir),
    json: values.json,
    rounds,
    fill,
    memory: values.memory,
    help: values.help
  }
}

/** Reads a command line. */
export const fromArguments = (args: ReadonlyArray<string>): Effect.Effect<Options, BadOption> =>
  Effect.try({
    try: () => parse(args),
    catch: (cause) => new BadOption({ message: `${cause instanceof Error ? cause.message : cause}\n\n${usage}` })
  })
