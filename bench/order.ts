/** What the benchmark records: an aggregate whose event has six plain fields. */
import { Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export const Order = Aggregate.make("Order", {
  state: Schema.Struct({ items: Schema.Int, total: Schema.Finite }),
  creation: { Opened: { customer: Schema.String } },
  events: {
    ItemAdded: {
      sku: Schema.String,
      name: Schema.String,
      quantity: Schema.Int,
      price: Schema.Finite,
      gift: Schema.Boolean,
      note: Schema.String
    }
  },
  reduce: {
    Opened: () => ({ items: 0, total: 0 }),
    ItemAdded: ({ items, total }, { price, quantity }) => ({ items: items + quantity, total: total + price * quantity })
  }
})

export type OrderId = Aggregate.Id<"Order">

/** The fields of the event at a version, in the order in which they are declared. */
export const itemAt = (version: number) => ({
  sku: `sku-${version % 100}`,
  name: "A thing of some use",
  quantity: 1 + (version % 5),
  price: 9.75 + (version % 10),
  gift: version % 2 === 0,
  note: "Leave it at the door, please"
})

export type Item = ReturnType<typeof itemAt>

/** The ids of so many orders. */
export const orderIds = (count: number): ReadonlyArray<OrderId> =>
  Array.from({ length: count }, (_, n) => Order.id(`order ${n}`))
