/** Orders that are shipped, and paid from purses, for the contract of processes. */
import { Effect, Schema } from "effect"
import * as Aggregate from "../../../Aggregate.ts"
import * as Process from "../../../Process.ts"

export const Order = Aggregate.make("Order", {
  state: { customer: Schema.String, items: Schema.Int, rejected: Schema.Boolean },
  creation: { Placed: { customer: Schema.String } },
  events: { ItemAdded: { sku: Schema.String }, Rejected: {}, Noted: {} },
  reduce: {
    Placed: ({ customer }) => ({ customer, items: 0, rejected: false }),
    ItemAdded: (order) => ({ ...order, items: order.items + 1 }),
    Rejected: (order) => ({ ...order, rejected: true }),
    Noted: (order) => order
  }
})

export const orderId = (n: number | string) => Order.Id.make(`${n}`)

export const Shipment = Aggregate.make("Shipment", {
  state: { parcels: Schema.Int },
  creation: { Requested: {} },
  events: { ParcelAdded: { sku: Schema.String } },
  reduce: { Requested: () => ({ parcels: 0 }), ParcelAdded: ({ parcels }) => ({ parcels: parcels + 1 }) }
})

export const shipmentOf = (order: Aggregate.Id<"Order">) => Shipment.Id.make(order)

export const Purse = Aggregate.make("Purse", {
  state: Schema.Int,
  creation: { Opened: { coins: Schema.Int } },
  events: { Taken: { coins: Schema.Int }, Put: { coins: Schema.Int } },
  reduce: {
    Opened: ({ coins }) => coins,
    Taken: (purse, { coins }) => purse - coins,
    Put: (purse, { coins }) => purse + coins
  }
})

export class TooFewCoins extends Schema.TaggedError<TooFewCoins>()("TooFewCoins", { missing: Schema.Int }) {}

export const take = (coins: number) =>
  Purse.decide((purse) =>
    purse < coins ? Effect.fail(new TooFewCoins({ missing: coins - purse })) : Purse.Taken({ coins })
  )

/** Each order has a shipment with a parcel for each item. */
export const Shipping = Process.make("shipping", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      Placed: ({ aggregateId }) => Process.execute(Shipment, shipmentOf(aggregateId), Shipment.Requested()),
      ItemAdded: ({ aggregateId, event }) =>
        Process.execute(Shipment, shipmentOf(aggregateId), Shipment.ParcelAdded({ sku: event.sku })),
      Rejected: Process.ignore,
      Noted: Process.ignore
    }
  }
})
