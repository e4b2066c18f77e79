import { Effect } from "effect"
import { EventStore } from "effect-eventsourcing"
import type { OrderId } from "../order.ts"
import { itemAt, Order } from "../order.ts"
import type { Site } from "./Site.ts"

/** The position of an event, and when its append was answered, in milliseconds. */
export interface Appended {
  readonly position: number
  readonly at: number
}

/** Appends an event to an order, which nobody else appends to, at its next version. */
export type AppendItem = (id: OrderId) => Effect.Effect<Appended, unknown>

export const appendItem = ({ services }: Site): Effect.Effect<AppendItem> =>
  Effect.sync(() => {
    const next = new Map<OrderId, number>()
    return (id) =>
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const version = next.get(id) ?? 0
        const appended = yield* store.append(Order, id, {
          expected: version === 0 ? "NoStream" : version - 1,
          events: [version === 0 ? Order.Opened({ customer: "Ada" }) : Order.ItemAdded(itemAt(version))]
        })
        const at = performance.now()
        next.set(id, version + 1)
        return { position: Number(appended?.position), at }
      }).pipe(Effect.provide(services))
  })
