/** Processes on a server that can't check streams. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, SubscriptionRef } from "effect"
import { EventSourcingError, Process, Repository } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { Order, orderId, Purse, Shipment, shipmentOf, take } from "../process/support/shop.ts"
import { ownFake } from "./support/logs.ts"
import { isFake, newPrefix } from "./support/server.ts"

const onFake = it.live.skipIf(!isFake)

const ignored = { ItemAdded: Process.ignore, Rejected: Process.ignore, Noted: Process.ignore } as const

const Shipping = Process.make("shipping", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      ...ignored,
      Placed: ({ aggregateId }) => Process.execute(Shipment, shipmentOf(aggregateId), Shipment.Requested())
    }
  }
})

const Paying = Process.make("paying", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      ...ignored,
      Placed: ({ aggregateId, event }) =>
        Process.whenRefused(Process.execute(Purse, Purse.Id.make(event.customer), take(1)), "TooFewCoins", () =>
          Process.execute(Order, aggregateId, Order.Rejected())
        )
    }
  }
})

describe("a process on a server before 26.1", () => {
  onFake("P2 G12 stops with what the server lacks, and does not blame the event, when a refusal is to be checked", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake({ version: "25.1.0" })
      const layer = KurrentLayer.multiStream({ connectionString: fake.uri, prefix: newPrefix() })
      const program = Effect.gen(function* () {
        const orders = yield* Repository.of(Order)
        const purses = yield* Repository.of(Purse)
        yield* purses.execute(Purse.Id.make("ada"), Purse.Opened({ coins: 1 }))
        for (const n of [1, 2]) yield* orders.execute(orderId(n), Order.Placed({ customer: "ada" }))
        assert.strictEqual(yield* Process.settle([Shipping]), 2)
        const runner = yield* Process.start(Paying, { maxBatch: 1 })
        const error = yield* Effect.flip(runner.join)
        assert.instanceOf(error, EventSourcingError.RecorderFailure)
        assert.match(error.message, /^run process "paying": .*check streams.*26\.1/)
        assert.deepStrictEqual(yield* SubscriptionRef.get(runner.state), { _tag: "Stopped", error })
        // the refusal was not acted on
        assert.strictEqual((yield* orders.get(orderId(2))).version, 0)
      })
      yield* Effect.provide(Effect.scoped(program), layer)
    })
  )
})
