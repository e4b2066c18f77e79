/** Emmett's PostgreSQL event store beside this library's, on one server, in one process and run. See README.md. */
import { randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import * as Path from "node:path"
import { NodeRuntime } from "@effect/platform-node"
import { getPostgreSQLEventStore } from "@event-driven-io/emmett-postgresql"
import { Console, Effect, Layer } from "effect"
import Pg from "pg"
import { PostgresLayer } from "../../src/postgres/index.ts"
import type { Sides } from "../compare.ts"
import { compare, comparisonOf, takeTurns } from "../compare.ts"
import { machine } from "../machine.ts"
import { Order } from "../order.ts"
import { server } from "../postgres/server.ts"
import { done, progress } from "../progress.ts"
import type { Row } from "../report.ts"
import { microseconds, report } from "../report.ts"
import { verdict } from "../targets.ts"
import { timed } from "../timing.ts"
import * as Emmett from "./emmett.ts"
import * as Ours from "./ours.ts"
import { catchUp, liveLatency } from "./views.ts"

const emmett = JSON.parse(
  readFileSync(Path.join(import.meta.dirname, "node_modules/@event-driven-io/emmett-postgresql/package.json"), "utf8")
)

/** What 64 commands at once should reach of Emmett's. */
const AIM = 6

interface Scenario {
  readonly name: string
  /** Orders that are worked on at once. */
  readonly together: number
  /** Commands on each of them: few, since Emmett reads the whole stream for each. */
  readonly commands: number
  readonly times: number
}

const scenarios: ReadonlyArray<Scenario> = [
  { name: "sequential", together: 1, commands: 100, times: 4 },
  { name: "concurrent-64", together: 64, commands: 30, times: 1 }
]

const main = Effect.gen(function* () {
  for (const line of machine()) yield* Console.log(line)
  yield* progress("starting PostgreSQL")
  const { commit, description, url } = yield* server(Path.resolve(import.meta.dirname, "../../.bench"))
  yield* done
  for (const line of description) yield* Console.log(line)
  yield* Console.log(`Commit    ${microseconds(commit)}: a round trip and a transaction of one row`)
  yield* Console.log(`Peers     Emmett ${emmett.version}, its PostgreSQL event store`)

  // a pool like its own, but one that can be ended before the server is
  const pool = yield* Effect.acquireRelease(
    Effect.sync(() => new Pg.Pool({ connectionString: url })),
    (pool) => Effect.promise(() => pool.end())
  )
  const store = getPostgreSQLEventStore(url, { connectionOptions: { pool } })
  const services = yield* Layer.build(PostgresLayer({ url, schema: `peers_${randomUUID().replaceAll("-", "")}` }))

  const newIds = (count: number) => Array.from({ length: count }, () => Order.id(randomUUID()))
  const sides = ({ commands, times, together }: Scenario): Sides => ({
    ours: Effect.gen(function* () {
      const groups = Array.from({ length: times }, () => newIds(together))
      const orders = yield* Ours.open(groups.flat())
      const group = (ids: (typeof groups)[number]) =>
        Effect.forEach(ids, (id) => Ours.commands(orders, id, commands, 1), { concurrency: "unbounded", discard: true })
      return yield* timed(times * together * commands, Effect.forEach(groups, group, { discard: true }))
    }).pipe(Effect.provide(services)),
    other: Effect.gen(function* () {
      const groups = Array.from({ length: times }, () => newIds(together).map(Order.stream))
      yield* Effect.promise(() => Promise.all(groups.flat().map((stream) => Emmett.begin(store, stream))))
      const run = async () => {
        for (const group of groups) {
          await Promise.all(group.map((stream) => Emmett.commands(store, stream, commands, 1)))
        }
      }
      return yield* timed(times * together * commands, Effect.promise(run))
    })
  })

  const rows: Array<Row> = []
  for (const scenario of scenarios) {
    const comparison = yield* compare(scenario.name, Effect.succeed(sides(scenario)), { rounds: 11, seconds: 40 })
    const aimed = scenario.together > 1 ? verdict(comparison.ratio, AIM) : ""
    rows.push({ ...comparison, name: scenario.name, unit: "commands/s", verdict: aimed })
  }
  const caughtUp = yield* compare("catch-up", catchUp(url, store), { rounds: 5, seconds: 30 })
  rows.push({ ...caughtUp, name: "catch-up", unit: "events/s", verdict: "" })
  const awaited = yield* takeTurns("live-latency", liveLatency(url, store), { rounds: 3, seconds: 30 })
  const latency = comparisonOf(awaited, (seconds) => seconds * 1e6)
  rows.push({ ...latency, name: "live-latency p50", unit: "µs", verdict: "" })
  yield* done
  yield* Console.log(`\n${report("Emmett", rows)}`)
}).pipe(Effect.scoped)

NodeRuntime.runMain(main)
