import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { EventStore, Process, Repository } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { Order, orderId, Shipment, Shipping } from "./support/shop.ts"

const log = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  return (yield* Stream.runCollect(store.readAll([Order, Shipment]))).map(
    ({ aggregateId, event }) => `${aggregateId} ${event._tag}`
  )
})

describe("settle", () => {
  it.effect("P5 works through everything, in the order of the log, by a clock that stands still", () =>
    Effect.gen(function* () {
      const orders = yield* Repository.of(Order)
      yield* orders.execute(orderId(1), Order.Placed({ customer: "ada" }))
      yield* orders.execute(orderId(2), Order.Placed({ customer: "bob" }))
      yield* orders.execute(orderId(1), Order.ItemAdded({ sku: "book" }))
      assert.strictEqual(yield* Process.settle([Shipping]), 3)
      assert.deepStrictEqual(yield* log, [
        ...["1 Placed", "2 Placed", "1 ItemAdded"],
        ...["1 Requested", "1 ParcelAdded", "2 Requested"]
      ])
      assert.strictEqual(yield* Process.settle([Shipping]), 0)
    }).pipe(Effect.provide(MemoryLayer()))
  )

  it.effect("P5 records the same on the same log, however the events are cut into batches", () =>
    Effect.gen(function* () {
      const logs = yield* Effect.forEach([1, 3, 64], (maxBatch) =>
        Effect.gen(function* () {
          const orders = yield* Repository.of(Order)
          for (let n = 0; n < 5; n++) yield* orders.execute(orderId(n), Order.Placed({ customer: "ada" }))
          yield* Process.settle([Shipping], { maxBatch })
          return yield* log
        }).pipe(Effect.provide(MemoryLayer()))
      )
      assert.deepStrictEqual(logs[1], logs[0])
      assert.deepStrictEqual(logs[2], logs[0])
    })
  )

  it.effect("P4 a process may change the aggregates that it follows, and handles that once, too", () =>
    Effect.gen(function* () {
      const Rejecting = Process.make("rejecting", {
        follows: [Order],
        begin: "start",
        handlers: {
          Order: {
            Placed: ({ aggregateId }) => Process.execute(Order, aggregateId, Order.Rejected()),
            ItemAdded: Process.ignore,
            Rejected: ({ aggregateId }) => Process.execute(Order, aggregateId, Order.Noted()),
            Noted: Process.ignore
          }
        }
      })
      const orders = yield* Repository.of(Order)
      yield* orders.execute(orderId(1), Order.Placed({ customer: "ada" }))
      assert.strictEqual(yield* Process.settle([Rejecting]), 2)
      assert.deepStrictEqual(yield* log, ["1 Placed", "1 Rejected", "1 Noted"])
      assert.strictEqual(yield* Process.settle([Rejecting]), 0)
    }).pipe(Effect.provide(MemoryLayer()))
  )
})
