/**
 * The benchmark: the library beside the raw driver, in one run. `npm run bench -- --help` says what it can be asked.
 *
 * Both sides of a scenario take turns, each round on a log of its own where it writes; what is reported are medians.
 * Each backend takes less than five minutes, however slow the disk.
 */
import { NodeRuntime } from "@effect/platform-node"
import type { Scope } from "effect"
import { Console, Effect } from "effect"
import type { Backend } from "./backends/Backend.ts"
import { memory } from "./backends/memory.ts"
import { sqlite } from "./backends/sqlite.ts"
import type { Comparison, Sides } from "./compare.ts"
import { compare } from "./compare.ts"
import { commitCost, inspect, PAUSE } from "./disk.ts"
import { open as openKurrent } from "./kurrent/open.ts"
import { server as startKurrent } from "./kurrent/server.ts"
import { machine } from "./machine.ts"
import type { Options } from "./options.ts"
import { fromArguments, usage } from "./options.ts"
import { open as openPostgres } from "./postgres/open.ts"
import { server as startPostgres } from "./postgres/server.ts"
import { done, progress } from "./progress.ts"
import type { Row } from "./report.ts"
import { microseconds, report } from "./report.ts"
import type { Result } from "./results.ts"
import { write } from "./results.ts"
import { scenarios } from "./scenarios/index.ts"
import { serverScenarios } from "./servers/scenarios.ts"
import { streamMemory } from "./stream-memory.ts"
import { verdictOf } from "./targets.ts"
import { viewScenarios } from "./views/index.ts"
import { memory as memoryViews } from "./views/memory.ts"
import { postgres as postgresViews } from "./views/postgres.ts"
import type { Place } from "./views/Site.ts"
import { sqlite as sqliteViews } from "./views/sqlite.ts"

/** Seconds for one scenario: six of them stay below three minutes. */
const SECONDS = 22

/** Seconds for each of the six measurements of views: they stay below a minute and a half. */
const SECONDS_OF_VIEWS = 11

const LEGEND = `Rates are medians; "rounds" has the lowest and the highest ratio of a round. Raw is node:sqlite with prepared
statements on the same table, as durable, the faster of pg and @effect/sql-pg with prepared statements, 10 connections
and the same table and indexes, the official client of KurrentDB, and for memory an array; all encode what they write and
parse what they read. Latencies are in µs, less is better. What keeps a view up without the library is a loop that reads
the same pages and runs the same statements in the same transactions, with effect's SqlClient and with the bare driver;
beside a view that is maintained inline it is the driver's transaction of both, and the library without the view.`

const openSqlite = Effect.fnUntraced(function* (folder: string) {
  const disk = yield* inspect(folder)
  yield* progress("measuring what a commit costs")
  const commit = yield* commitCost(disk.folder)
  yield* done
  yield* Console.log(`Disk      ${disk.description} (${disk.folder})`)
  yield* Console.log(
    `Commit    ${microseconds(commit.backToBack)}: a transaction of one row, on the disk when it answers`
  )
  yield* Console.log(
    `          ${microseconds(commit.afterPause)} where it comes ${microseconds(PAUSE)} after the last`
  )
  return sqlite(disk.folder, commit.backToBack)
})

const benchmark = Effect.fnUntraced(function* ({ json, rounds, ...options }: Options) {
  // better to know now than after minutes
  if (json !== undefined) yield* write(json, [])
  for (const line of machine()) yield* Console.log(line)
  const backends: Array<Backend> = []
  if (options.backends.includes("memory")) backends.push(memory)
  if (options.backends.includes("sqlite")) backends.push(yield* openSqlite(options.folder))

  const results: Array<Result> = []
  const rows: Array<Row> = []
  const chosen = <S extends { readonly name: string }>(all: ReadonlyArray<S>) =>
    all.filter(({ name }) => options.scenarios.includes(name))
  const add = (backend: string, name: string, unit: string, comparison: Comparison) => {
    const { other, ours, ratio } = comparison
    rows.push({ ...comparison, name: `${backend} ${name}`, unit, verdict: verdictOf(backend, name, comparison) })
    results.push({
      backend,
      scenario: name,
      unit,
      ours: Math.round(ours),
      raw: Math.round(other),
      ratio: Number(ratio.toPrecision(4))
    })
  }
  const measure = Effect.fnUntraced(function* (
    backend: string,
    { name, unit }: { readonly name: string; readonly unit: string },
    sides: Effect.Effect<Sides, unknown, Scope.Scope>
  ) {
    add(backend, name, unit, yield* compare(`${backend} ${name}`, sides, { rounds, seconds: SECONDS }))
  })
  const measureViews = Effect.fnUntraced(function* (place: Place) {
    for (const scenario of chosen(viewScenarios)) {
      for (const { comparison, name, unit } of yield* scenario.measure(place, { rounds, seconds: SECONDS_OF_VIEWS })) {
        add(place.name, name, unit, comparison)
      }
    }
  })
  for (const backend of backends) {
    for (const scenario of chosen(scenarios)) yield* measure(backend.name, scenario, scenario.sides(backend))
    yield* measureViews(backend.name === "memory" ? memoryViews : sqliteViews(options.folder))
  }
  if (options.backends.includes("postgres")) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* progress("starting PostgreSQL")
        const server = yield* startPostgres(options.folder)
        yield* done
        for (const line of server.description) yield* Console.log(line)
        yield* Console.log(`Commit    ${microseconds(server.commit)}: a round trip and a transaction of one row`)
        const bench = yield* openPostgres(server, options.fill)
        for (const scenario of chosen(serverScenarios)) yield* measure("postgres", scenario, scenario.sides(bench))
        yield* measureViews(postgresViews(server.url))
      })
    )
  }
  if (options.backends.includes("kurrent")) {
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* progress("starting KurrentDB")
        const server = yield* startKurrent(options.folder)
        yield* done
        yield* Console.log(`KurrentDB ${server.description}`)
        yield* Console.log(`Append    ${microseconds(server.commit)}: a round trip and one event`)
        const bench = yield* openKurrent(server)
        for (const scenario of chosen(serverScenarios)) yield* measure("kurrent", scenario, scenario.sides(bench))
      })
    )
  }
  yield* done
  yield* Console.log(`\n${report("raw", rows)}\n\n${LEGEND}`)
  if (json !== undefined) yield* write(json, results)
})

const main = Effect.gen(function* () {
  const options = yield* fromArguments(process.argv.slice(2))
  if (options.help) return yield* Console.log(usage)
  yield* options.memory ? streamMemory(options.folder) : benchmark(options)
}).pipe(
  Effect.catch((error) => {
    process.exitCode = 1
    return Console.error(error instanceof Error ? error.message : String(error))
  })
)

NodeRuntime.runMain(main)
