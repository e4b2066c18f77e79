/**
 * The scenarios on a server: the library beside the fastest of the raw drivers, on one log, to which all of them write.
 */
import { randomUUID } from "node:crypto"
import type { Scope } from "effect"
import { Context, Effect, Stream } from "effect"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { EventStore, Repository } from "effect-eventsourcing"
import type { Sides } from "../compare.ts"
import { FIRST, fill, openOrders } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"
import type { Orders } from "../scenarios/writing.ts"
import { addItem } from "../scenarios/writing.ts"
import type { Timed } from "../timing.ts"
import { timed } from "../timing.ts"
import type { Driver } from "./Driver.ts"

/** The log that all scenarios share, and both sides of it. */
export interface Bench {
  readonly services: Context.Context<EventSourcing.EventSourcing | Recorder.Recorder>
  readonly drivers: readonly [Driver, Driver?]
  /** What an append of one event takes without the library, in seconds, one after the other. */
  readonly commit: number
  /** A log of its own on the same server. */
  readonly anotherLog: Effect.Effect<Bench, unknown, Scope.Scope>
}

/** What the library is compared with: one driver, or two, of which the faster counts. */
const sidesOf = (
  [one, another]: Bench["drivers"],
  run: (driver: Driver) => Effect.Effect<Timed, unknown>
): Omit<Sides, "ours"> => ({ other: run(one), third: another === undefined ? undefined : run(another) })

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
  ...sidesOf(drivers, (driver) =>
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
const commits = ({ commit }: Bench): number => Math.min(Math.max(Math.round(0.5 / (commit + 50e-6)), 100), 10_000)

export interface ServerScenario {
  readonly name: string
  readonly unit: string
  readonly sides: (bench: Bench) => Effect.Effect<Sides, unknown, Scope.Scope>
}

const sequential: ServerScenario = {
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
const concurrent64: ServerScenario = {
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
const append100: ServerScenario = {
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

const rehydrate10000: ServerScenario = {
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
      ...sidesOf(drivers, (driver) => checked(events, 5, driver.readStream(Order.stream(id))))
    }
  })
}

/** Reads the whole log, decoded; raw: select it, parse it. */
const readAll: ServerScenario = {
  name: "read-all",
  unit: "events/s",
  sides: Effect.fnUntraced(function* ({ anotherLog }: Bench) {
    // of orders only: all that there is can be decoded
    const log = yield* anotherLog
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
      ...sidesOf(log.drivers, (driver) => checked(events, 1, driver.readAll))
    }
  })
}

export const serverScenarios: ReadonlyArray<ServerScenario> = [
  sequential,
  concurrent64,
  append100,
  rehydrate10000,
  readAll
]
