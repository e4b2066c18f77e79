/** Puts events into a log before anything is measured. */
import { Effect } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import type { OrderId } from "./order.ts"
import { itemAt, Order } from "./order.ts"
import type { RawLog } from "./raw/RawLog.ts"

/** Events that are recorded at once. */
const PAGE = 500

/** The versions of so many events, in pages. */
const pages = (events: number): ReadonlyArray<ReadonlyArray<number>> =>
  Array.from({ length: Math.ceil(events / PAGE) }, (_, page) =>
    Array.from({ length: Math.min(PAGE, events - page * PAGE) }, (_, n) => page * PAGE + n)
  )

/** Records orders of so many events each, some of one and then some of the next, so that their events are mixed. */
export const fill = Effect.fnUntraced(function* (ids: ReadonlyArray<OrderId>, events: number) {
  const store = yield* EventStore.EventStore
  for (const versions of pages(events)) {
    for (const id of ids) {
      yield* store.append(Order, id, {
        expected: versions[0] === 0 ? "NoStream" : (versions[0] as number) - 1,
        events: versions.map((version) =>
          version === 0 ? Order.Opened({ customer: "Ada" }) : Order.ItemAdded(itemAt(version))
        )
      })
    }
  }
})

/** The version at which the commands on the orders of {@link openOrders} begin. */
export const FIRST = 2

/** Opens orders and adds an item to each: they are in the cache, and their streams have {@link FIRST} events. */
export const openOrders = (ids: ReadonlyArray<OrderId>) =>
  Effect.tap(Repository.of(Order), (orders) =>
    Effect.forEach(
      ids,
      (id) =>
        Effect.andThen(
          orders.execute(id, Order.Opened({ customer: "Ada" })),
          orders.execute(id, Order.ItemAdded(itemAt(FIRST - 1)))
        ),
      { concurrency: "unbounded", discard: true }
    )
  )

/**
 * A log in use has a write-ahead log that has reached its size and is written over from then on. Until then it grows, and
 * each commit costs about twice as much, which would be all that a short measurement sees.
 */
const IN_USE = 20_000

const other = Order.stream(Order.id("an order from before"))

/** Brings a log to where it is in use. */
export const use = (log: RawLog): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const versions of pages(IN_USE)) {
      log.transaction(() => {
        for (const version of versions) log.insert(other, version, itemAt(version))
      })
    }
  })
