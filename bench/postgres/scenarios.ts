/**
 * The scenarios on PostgreSQL: the library beside the faster of two raw drivers, on one log, in whose table all of them
 * write.
 */
import { randomUUID } from "node:crypto"
import type { Scope } from "effect"
import { Context, Effect, Layer, Stream } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import type { PostgresServices } from "effect-eventsourcing/postgres"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import Pg from "pg"
import type { Sides } from "../compare.ts"
import { FIRST, fill, openOrders } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"
import { template } from "../raw/template.ts"
import type { Orders } from "../scenarios/writing.ts"
import { addItem } from "../scenarios/writing.ts"
import type { Timed } from "../timing.ts"
import { rate, timed } from "../timing.ts"
import type { Driver } from "./raw.ts"
import { drivers } from "./raw.ts"
import type { Server } from "./server.ts"

/** The log that all scenarios share, and both sides of it. */
export interface Bench {
  readonly services: Context.Context<PostgresServices>
  readonly drivers: ReadonlyArray<Driver>
  readonly server: Server
}

/** Events of the log before anything is measured, by one statement: a thousand streams, each with its share. */
const fillTable = (url: string, schema: string, events: number) =>
  Effect.promise(async () => {
    const client = new Pg.Client({ connectionString: url })
    await client.connect()
    const table = `"${schema}".stored_events`
    await client.query(
      `INSERT INTO ${table}
         (position, stream, version, id, type, schema_version, encoding, payload_text, metadata, recorded_at)
       SELECT nextval('"${schema}".stored_events_position'), 'Filled-' || n % 1000, n / 1000, gen_random_uuid(),
         'Filled.ItemAdded', 1, 'json', $1, '{}', 1700000000000
       FROM generate_series(0, $2::integer - 1) AS n`,
      [JSON.stringify(itemAt(0)), events]
    )
    await client.query(`VACUUM ANALYZE ${table}`)
    await client.end()
  })

/** A log in a schema of its own, which is dropped with the scope. */
export const open = Effect.fnUntraced(function* (server: Server, filled: number) {
  const { url } = server
  const schema = `bench_${randomUUID().replaceAll("-", "")}`
  yield* Effect.addFinalizer(() =>
    Effect.promise(async () => {
      const client = new Pg.Client({ connectionString: url })
      await client.connect()
      await client.query(`DROP SCHEMA "${schema}" CASCADE`)
      await client.end()
    })
  )
  const services = yield* Layer.build(PostgresLayer({ url, schema }))
  if (filled > 0) yield* fillTable(url, schema, filled)
  const { drivers: raw } = yield* Effect.gen(function* () {
    yield* openOrders([Order.id("the first")])
    return { drivers: yield* drivers(url, schema, yield* template) }
  }).pipe(Effect.provide(services))
  const bench: Bench = { services, drivers: raw, server }
  return bench
})

/** Each driver in turn; the faster one counts. */
const fastest = (all: ReadonlyArray<Driver>, run: (driver: Driver) => Effect.Effect<Timed, unknown>) =>
  Effect.map(Effect.forEach(all, run), (times) => times.reduce((a, b) => (rate(b) > rate(a) ? b : a)))

const newOrders = (count: number): ReadonlyArray<OrderId> =>
  Array.from({ length: count }, () => Order.id(`order ${randomUUID()}`))

const writing = (
  { drivers, services }: Bench,
  scenario: {
    readonly orders: number
    readonly count: number
    readonly ours: (orders: Orders, ids: ReadonlyArray<OrderId>) => Effect.Effect<unknown, unknown>
    readonly raw: (driver: Driver, streams: ReadonlyArray<string>) => Effect.Effect<unknown, unknown>
  }
): Sides => ({
  ours: Effect.gen(function* () {
    const ids = newOrders(scenario.orders)
    const orders = yield* openOrders(ids)
    return yield* timed(scenario.count, scenario.ours(orders, ids))
  }).pipe(Effect.provide(services)),
  other: fastest(drivers, (driver) =>
    Effect.gen(function* () {
      const ids = newOrders(scenario.orders)
      yield* openOrders(ids)
      return yield* timed(scenario.count, scenario.raw(driver, ids.map(Order.stream)))
    }).pipe(Effect.provide(services))
  )
})

const FIBERS = 64
const BATCH = 100
const items = (first: number) => Array.from({ length: BATCH }, (_, n) => itemAt(first + n))

/** How many commits fill a round of about half a second. */
const commits = ({ server: { commit } }: Bench): number =>
  Math.min(Math.max(Math.round(0.5 / (commit + 50e-6)), 100), 10_000)

export interface PostgresScenario {
  readonly name: string
  readonly unit: string
  readonly sides: (bench: Bench) => Effect.Effect<Sides, unknown, Scope.Scope>
}

const sequential: PostgresScenario = {
  name: "sequential",
  unit: "commands/s",
  sides: (bench) =>
    Effect.sync(() => {
      const count = commits(bench)
      return writing(bench, {
        orders: 1,
        count,
        ours: Effect.fnUntraced(function* (orders, ids) {
          for (let n = 0; n < count; n++) yield* orders.execute(ids[0] as OrderId, addItem(FIRST + n))
        }),
        raw: Effect.fnUntraced(function* ({ insert }, [stream = ""]) {
          for (let n = 0; n < count; n++) yield* insert({ stream, version: FIRST + n, item: itemAt(FIRST + n) })
        })
      })
    })
}

/** 64 fibers, each with an aggregate of its own and one command after another; raw: 64 fibers that insert single rows. */
const concurrent64: PostgresScenario = {
  name: "concurrent-64",
  unit: "commands/s",
  sides: (bench) =>
    Effect.sync(() => {
      const turns = Math.max(Math.ceil((commits(bench) * 5) / FIBERS), 20)
      const together = <A>(all: ReadonlyArray<A>, lane: (one: A) => Effect.Effect<unknown, unknown>) =>
        Effect.forEach(all, lane, { concurrency: "unbounded", discard: true })
      return writing(bench, {
        orders: FIBERS,
        count: turns * FIBERS,
        ours: (orders, ids) =>
          together(
            ids,
            Effect.fnUntraced(function* (id) {
              for (let turn = 0; turn < turns; turn++) yield* orders.execute(id, addItem(FIRST + turn))
            })
          ),
        raw: ({ insert }, streams) =>
          together(
            streams,
            Effect.fnUntraced(function* (stream) {
              for (let turn = 0; turn < turns; turn++) {
                yield* insert({ stream, version: FIRST + turn, item: itemAt(FIRST + turn) })
              }
            })
          )
      })
    })
}

/** Commands of a hundred events each; raw: statements that insert a hundred rows. */
const append100: PostgresScenario = {
  name: "append-100",
  unit: "events/s",
  sides: (bench) =>
    Effect.sync(() => {
      const batches = Math.min(Math.max(Math.ceil(commits(bench) / 10), 50), 200)
      return writing(bench, {
        orders: 1,
        count: batches * BATCH,
        ours: Effect.fnUntraced(function* (orders, ids) {
          for (let n = 0; n < batches; n++) {
            const decision = Order.decide(() => items(FIRST + n * BATCH).map((item) => Order.ItemAdded(item)))
            yield* orders.execute(ids[0] as OrderId, decision)
          }
        }),
        raw: Effect.fnUntraced(function* ({ insertMany }, [stream = ""]) {
          for (let n = 0; n < batches; n++) {
            const first = FIRST + n * BATCH
            yield* insertMany(items(first).map((item, i) => ({ stream, version: first + i, item })))
          }
        })
      })
    })
}

/** Reads what a round has, and makes sure that it is all. */
const checked = (events: number, times: number, read: Effect.Effect<number, unknown>) =>
  timed(
    events * times,
    Effect.gen(function* () {
      for (let time = 0; time < times; time++) {
        const found = yield* read
        if (found !== events) return yield* Effect.die(new Error(`read ${found} events of ${events}`))
      }
    })
  )

const rehydrate10000: PostgresScenario = {
  name: "rehydrate-10000",
  unit: "events/s",
  sides: Effect.fnUntraced(function* ({ drivers, services }: Bench) {
    const [id, events] = [Order.id(`rehydrated ${randomUUID()}`), 10_000]
    const repository = Context.get(services, Repository.Repository)
    yield* Effect.provide(fill([id], events), services)
    const uncached = repository.of(Order).get(id, { version: events - 1 })
    return {
      ours: checked(
        events,
        5,
        Effect.map(uncached, ({ version }) => version + 1)
      ),
      other: fastest(drivers, (driver) => checked(events, 5, driver.readStream(Order.stream(id))))
    }
  })
}

/** Reads the whole log, decoded; raw: select it, parse it. */
const readAll: PostgresScenario = {
  name: "read-all",
  unit: "events/s",
  sides: Effect.fnUntraced(function* ({ server }: Bench) {
    // a log of its own, of orders only: all that there is can be decoded
    const log = yield* open(server, 0)
    yield* Effect.provide(fill(newOrders(50), 2000), log.services)
    const store = Context.get(log.services, EventStore.EventStore)
    const events = 100_002
    const ours = Effect.gen(function* () {
      let count = 0
      yield* Stream.runForEachArray(store.readAll([Order]), (some) =>
        Effect.sync(() => {
          count += some.length
        })
      )
      return count
    })
    return {
      ours: checked(events, 1, ours),
      other: fastest(log.drivers, (driver) => checked(events, 1, driver.readAll))
    }
  })
}

export const postgresScenarios: ReadonlyArray<PostgresScenario> = [
  sequential,
  concurrent64,
  append100,
  rehydrate10000,
  readAll
]
