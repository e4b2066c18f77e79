/** The same scenarios with this library. */
import { Effect, Stream } from "effect"
import { Repository } from "../../src/index.ts"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"

type Orders = Repository.AggregateRepository<typeof Order>

/** The repository, with these orders in it. */
export const open = (ids: ReadonlyArray<OrderId>) =>
  Effect.tap(Repository.of(Order), (orders) =>
    Effect.forEach(ids, (id) => orders.execute(id, Order.Opened({ customer: "Ada" })), { discard: true })
  )

/** Commands on an order, one after another; each decides on the state and records so many events. */
export const commands = Effect.fnUntraced(function* (orders: Orders, id: OrderId, count: number, events: number) {
  for (let n = 0; n < count; n++) {
    const first = 1 + n * events
    yield* orders.execute(
      id,
      Order.decide(({ items }) => {
        if (items < 0) return undefined
        return events === 1
          ? Order.ItemAdded(itemAt(first))
          : Array.from({ length: events }, (_, i) => Order.ItemAdded(itemAt(first + i)))
      })
    )
  }
})

/** Rebuilds an order; answers how many events it had. */
export const rehydrate = (orders: Orders, id: OrderId) => Effect.map(orders.get(id), ({ version }) => version + 1)

/** Reads and looks at the events of an order; answers how many there were. */
export const read = Effect.fnUntraced(function* (orders: Orders, id: OrderId) {
  let count = 0
  yield* Stream.runForEachArray(orders.history(id), (events) =>
    Effect.sync(() => {
      for (const { event } of events) {
        if (event._tag === "Opened" || event._tag === "ItemAdded") count++
      }
    })
  )
  return count
})
