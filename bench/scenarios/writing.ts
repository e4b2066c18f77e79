import { Effect } from "effect"
import type { Repository } from "effect-eventsourcing"
import type { Backend } from "../backends/Backend.ts"
import type { Sides } from "../compare.ts"
import { openOrders, use } from "../fill.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order, orderIds } from "../order.ts"
import type { RawLog } from "../raw/RawLog.ts"
import { timed } from "../timing.ts"

export type Orders = Repository.AggregateRepository<typeof Order>

/** The command of the benchmark: a decision that looks at the state and gives one event. */
export const addItem = (version: number) =>
  Order.decide(({ items }) => (items < 0 ? undefined : Order.ItemAdded(itemAt(version))))

/** Both sides of a scenario that writes: each round on a log of its own, in use, with some open orders. */
export const writing = (
  backend: Backend,
  scenario: {
    readonly orders: number
    /** How many operations a round has. */
    readonly count: number
    readonly ours: (orders: Orders, ids: ReadonlyArray<OrderId>) => Effect.Effect<unknown, unknown>
    readonly raw: (log: RawLog, streams: ReadonlyArray<string>) => void
  }
): Sides => {
  const ids = orderIds(scenario.orders)
  const open = openOrders(ids)
  return {
    ours: Effect.gen(function* () {
      const log = yield* backend.newLog
      return yield* open.pipe(
        Effect.tap(Effect.scoped(Effect.flatMap(log.raw, use))),
        Effect.flatMap((orders) => timed(scenario.count, scenario.ours(orders, ids))),
        Effect.provide(log.layer())
      )
    }).pipe(Effect.scoped),
    other: Effect.gen(function* () {
      const log = yield* backend.newLog
      // the library has closed the log again before the raw driver begins
      const raw = yield* Effect.andThen(open, log.raw).pipe(Effect.provide(log.layer()))
      yield* use(raw)
      const streams = ids.map(Order.stream)
      return yield* timed(
        scenario.count,
        Effect.sync(() => scenario.raw(raw, streams))
      )
    }).pipe(Effect.scoped)
  }
}
