/**
 * What event sourcing costs, in the figures of docs/when-not-to-use.md: bytes on the disk, loading a long stream, commands
 * on one aggregate and on many, building a view. On a SQLite file, and on PostgreSQL if POSTGRES_URL is set, in schemas of
 * its own that it drops.
 *
 *     node --conditions=effect-eventsourcing-source bench/costs.ts
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { itemAt, Order, orderIds } from "./order.ts"
import { collectGarbage, median, secondsOf } from "./timing.ts"

const ORDERS = 1000
const EVENTS = 100 // of each of them
const LENGTHS = [10, 100, 1000, 10_000, 100_000]
const COMMANDS = 500
const AT_ONCE = 64
const ROUNDS = 5

const Quantities = Projection.make("quantities", {
  aggregates: [Order],
  view: Projection.sql(
    ({ sql, table }) => sql`CREATE TABLE ${table("items")} (sku varchar(100) PRIMARY KEY, quantity integer NOT NULL)`
  ),
  handlers: {
    Order: {
      Opened: Projection.ignore,
      ItemAdded: ({ event }, { sql, table }) => sql`
        INSERT INTO ${table("items")} (sku, quantity) VALUES (${event.sku}, ${event.quantity})
        ON CONFLICT (sku) DO UPDATE SET quantity = ${table("items")}.quantity + ${event.quantity}`
    }
  }
})

const opened = Order.Opened({ customer: "customer-1" })
const items = (count: number) => Array.from({ length: count }, (_, n) => Order.ItemAdded(itemAt(n)))
const addItem = Order.decide(({ items }) => Order.ItemAdded(itemAt(items)))

const add = (id: ReturnType<typeof Order.id>, events: number) =>
  Effect.gen(function* () {
    const orders = yield* Repository.of(Order)
    yield* orders.execute(id, opened)
    for (let left = events - 1; left > 0; left -= EVENTS)
      yield* orders.execute(id, [items(1)[0]!, ...items(Math.min(left, EVENTS) - 1)])
  })

/** The time that this process's threads work during an effect, in seconds: other processes hardly change it. */
const workOf = <E, R>(effect: Effect.Effect<unknown, E, R>) =>
  Effect.suspend(() => {
    const before = process.cpuUsage()
    return Effect.map(effect, () => {
      const { system, user } = process.cpuUsage(before)
      return (system + user) / 1e6
    })
  })

/** The median of some rounds, each of so many times, in seconds of work. */
const measured = <E, R>(times: number, effect: Effect.Effect<unknown, E, R>) =>
  Effect.replicateEffect(Effect.andThen(collectGarbage, workOf(Effect.replicateEffect(effect, times))), ROUNDS).pipe(
    Effect.map((rounds) => median(rounds) / times)
  )

const row = (what: string, figure: string) => Effect.sync(() => console.log(`| ${what} | ${figure} |`))
const milliseconds = (seconds: number) => `${Number((seconds * 1000).toPrecision(2))} ms`
const perSecond = (count: number, seconds: number) => `${Number((count / seconds).toPrecision(2))}/s`

type Log = Layer.Layer<EventSourcing.EventSourcing | Recorder.Recorder, unknown>

const costs = (backend: {
  readonly name: string
  /** Another build of the layer is another process, as far as turns and caches go. */
  readonly log: (cacheCapacity: number) => Log
  readonly views: ReturnType<typeof SqliteViews>
  readonly bytes: Effect.Effect<number, unknown>
}) =>
  Effect.gen(function* () {
    const [log, uncached, other] = yield* Effect.forEach([1000, 0, 1000], (capacity) =>
      Layer.build(backend.log(capacity))
    )
    if (log === undefined || uncached === undefined || other === undefined) return
    console.log(`\n${backend.name}\n\n| | |\n|---|---|`)

    const ids = orderIds(ORDERS)
    yield* Effect.forEach(ids, (id) => add(id, EVENTS), { concurrency: AT_ONCE, discard: true }).pipe(
      Effect.provide(log)
    )
    yield* row("bytes on the disk for each event", `${Math.round((yield* backend.bytes) / (ORDERS * EVENTS))}`)

    const views = yield* Layer.build(backend.views)
    const build = Effect.gen(function* () {
      const { position } = yield* (yield* Repository.of(Order)).execute(Order.id("last"), opened)
      yield* ProjectionRunner.make(Quantities)
      yield* Projection.wait(Quantities, position, { timeout: "10 minutes" })
    })
    const seconds = yield* workOf(build).pipe(Effect.provide(Context.merge(log, views)))
    yield* row(`building a view of ${ORDERS * EVENTS} events, a statement for each`, `${seconds.toFixed(1)} s`)

    for (const length of LENGTHS) {
      const id = Order.id(`long ${length}`)
      const times = Math.max(1, 10_000 / length)
      yield* Effect.provide(add(id, length), log)
      const get = Effect.flatMap(Repository.of(Order), (orders) => orders.get(id)).pipe(Effect.provide(uncached))
      yield* row(`loading ${length} events`, milliseconds(yield* measured(times, get)))
      if (length !== LENGTHS.at(-1)) continue
      yield* Effect.flatMap(Repository.of(Order), (orders) => orders.snapshot(id)).pipe(Effect.provide(log))
      yield* row("the same from a snapshot", milliseconds(yield* measured(100, get)))
    }

    let run = 0
    const commands = (streams: number, contexts: ReadonlyArray<typeof log>) =>
      Effect.gen(function* () {
        const own = Array.from({ length: streams }, (_, n) => Order.id(`run ${run} ${n}`))
        run++
        const repositories = contexts.map((context) => Context.get(context, Repository.Repository).of(Order))
        yield* Effect.forEach(own, (id) => repositories[0]!.execute(id, opened), {
          concurrency: AT_ONCE,
          discard: true
        })
        const one = (n: number) => repositories[n % repositories.length]!.execute(own[n % streams]!, addItem)
        const all = Array.from({ length: COMMANDS }, (_, n) => n)
        return yield* secondsOf(Effect.forEach(all, one, { concurrency: AT_ONCE, discard: true }))
      })
    const rate = (streams: number, contexts: ReadonlyArray<typeof log>) =>
      Effect.map(Effect.replicateEffect(commands(streams, contexts), ROUNDS), (times) =>
        perSecond(COMMANDS, median(times))
      )
    yield* row(`commands, ${AT_ONCE} at once, on ${AT_ONCE} aggregates`, yield* rate(AT_ONCE, [log]))
    yield* row(`commands, ${AT_ONCE} at once, on 1 aggregate`, yield* rate(1, [log]))
    yield* row(`the same from two processes`, yield* rate(1, [log, other]))
  }).pipe(Effect.scoped)

const sqlite = Effect.suspend(() => {
  const parent = Path.join(import.meta.dirname, "..", ".bench") // on a disk, which /tmp need not be
  Fs.mkdirSync(parent, { recursive: true })
  const folder = Fs.mkdtempSync(Path.join(parent, "costs-"))
  const filename = Path.join(folder, "costs.db")
  const bytes = Effect.gen(function* () {
    yield* (yield* SqlClient.SqlClient)`PRAGMA wal_checkpoint(TRUNCATE)`
    return Fs.statSync(filename).size
  }).pipe(Effect.provide(layerSqlClient({ filename })))
  return costs({
    name: "SQLite",
    log: (cacheCapacity) => SqliteLayer({ filename, cacheCapacity }),
    views: SqliteViews({ filename: Path.join(folder, "views.db") }),
    bytes
  }).pipe(Effect.ensuring(Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true }))))
})

const postgres = (url: string) => {
  const schema = `costs_${Date.now()}`
  const client = PgClient.layer({ url: Redacted.make(url) })
  const sql = <A>(use: (sql: SqlClient.SqlClient) => Effect.Effect<A, unknown>) =>
    Effect.flatMap(SqlClient.SqlClient, use).pipe(Effect.provide(client))
  return costs({
    name: "PostgreSQL",
    log: (cacheCapacity) => PostgresLayer({ url, schema, cacheCapacity }),
    views: PostgresViews({ url, schema: `${schema}_views` }),
    bytes: sql((sql) =>
      Effect.map(
        sql<{ bytes: string }>`SELECT pg_total_relation_size(${`${schema}.stored_events`}::regclass)::text AS bytes`,
        ([found]) => Number(found?.bytes)
      )
    )
  }).pipe(
    Effect.ensuring(
      sql((sql) =>
        sql.unsafe(`DROP SCHEMA IF EXISTS "${schema}", "${schema}_views", "${schema}_views_quantities_v1" CASCADE`)
      ).pipe(Effect.ignore)
    )
  )
}

const url = process.env.POSTGRES_URL
Effect.runPromise(Effect.orDie(url === undefined ? sqlite : Effect.andThen(sqlite, postgres(url))))
