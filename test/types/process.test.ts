/** Mistakes in processes that do not compile, and the types of processes. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect } from "effect"
import type { EventSourcingError, LogReader, TrackedAppend } from "effect-eventsourcing"
import { Process } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { MemoryLayer } from "effect-eventsourcing/memory"
import type { TooFewCoins } from "../process/support/shop.ts"
import { Order, orderId, Purse, Shipment, shipmentOf, take } from "../process/support/shop.ts"

class Stock extends Context.Service<Stock, { readonly has: (sku: string) => Effect.Effect<boolean, "closed"> }>()(
  "Stock"
) {}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const equal = <A, B>(_: Equal<A, B>): void => {}

const ada = Purse.Id.make("ada")
const others = { ItemAdded: Process.ignore, Rejected: Process.ignore, Noted: Process.ignore } as const

const Paying = Process.make("paying", {
  follows: [Order],
  begin: "start",
  handlers: { Order: { Placed: () => Process.execute(Purse, ada, take(1)), ...others } }
})

const Looking = Process.make("looking", {
  follows: [Order],
  begin: "end",
  handlers: {
    Order: {
      ...others,
      Placed: Process.ignore,
      ItemAdded: ({ aggregateId, event }) =>
        Effect.map(
          Stock.use((stock) => stock.has(event.sku)),
          (has) =>
            has
              ? [Process.execute(Shipment, shipmentOf(aggregateId), Shipment.ParcelAdded({ sku: event.sku }))]
              : undefined
        )
    }
  }
})

describe("the type of a process", () => {
  it("has what its decisions may be refused with, and what handlers look up", () => {
    equal<(typeof Paying)["~types"]["error"], TooFewCoins | EventSourcingError.AggregateNotFound>(true)
    equal<(typeof Paying)["~types"]["services"], never>(true)
    equal<(typeof Looking)["~types"]["error"], "closed" | EventSourcingError.AggregateNotFound>(true)
    equal<(typeof Looking)["~types"]["services"], Stock>(true)
    assert.strictEqual(Looking.begin, "end")
  })

  it("does not have a refusal that is dealt with", () => {
    const reaction = Process.execute(Purse, ada, take(1))
    const handled = Process.whenRefused(reaction, "TooFewCoins", ({ missing }) =>
      Process.execute(Purse, ada, Purse.Put({ coins: missing }))
    )
    equal<Process.RefusalOf<typeof handled>, EventSourcingError.AggregateNotFound>(true)
    const all = Process.whenRefused(handled, () => undefined)
    equal<Process.RefusalOf<typeof all>, never>(true)
    // @ts-expect-error no decision is refused with that
    Process.whenRefused(reaction, "Nonsense", () => undefined)
    // @ts-expect-error that refusal is already handled
    Process.whenRefused(handled, "TooFewCoins", () => undefined)
  })

  it("names what running it can stop with", () => {
    const running = Process.run(Paying)
    type Stopped = Effect.Error<typeof running>
    type Failed = Extract<Stopped, { readonly _tag: "ProcessFailed" }>
    equal<Failed["cause"], TooFewCoins | EventSourcingError.AggregateNotFound | Process.EventError>(true)
    equal<
      Exclude<Stopped, Failed>,
      EventSourcingError.ProcessSuperseded | EventSourcingError.UpstreamChanged | EventSourcingError.RecorderFailure
    >(true)
  })

  it("asks for a backend that can append together with tracking", () => {
    const waiting: Effect.Effect<
      void,
      EventSourcingError.ProcessBehind | EventSourcingError.RecorderError,
      LogReader.LogReader | TrackedAppend.TrackedAppend
    > = Process.wait(Paying, undefined)
    const settled: Effect.Effect<number, unknown> = Process.settle([Paying]).pipe(Effect.provide(MemoryLayer()))
    // @ts-expect-error not every version of KurrentDB supports this
    const onKurrent: Effect.Effect<number, unknown> = Process.settle([Paying]).pipe(
      Effect.provide(KurrentLayer({ connectionString: "kurrentdb://127.0.0.1:1?tls=false" }))
    )
    // @ts-expect-error a handler looks something up in Stock
    const lacking: Effect.Effect<number, unknown> = Process.settle([Looking]).pipe(Effect.provide(MemoryLayer()))
    assert.isTrue([waiting, settled, onKurrent, lacking].every(Effect.isEffect))
  })
})

describe("a process does not compile", () => {
  it("without a handler for each event, or with one for none", () => {
    assert.throws(
      () =>
        // @ts-expect-error Placed has no handler
        Process.make("partial", { follows: [Order], begin: "start", handlers: { Order: others } }),
      `process "partial" has no handler for Order.Placed; write one, or use Process.ignore`
    )
    assert.throws(
      () =>
        Process.make("more", {
          follows: [Order],
          begin: "start",
          // @ts-expect-error there is no such event
          handlers: { Order: { ...others, Placed: Process.ignore, Plaecd: Process.ignore } }
        }),
      "which is not one of the aggregate's events"
    )
  })

  it("without where it begins", () => {
    assert.throws(
      () =>
        // @ts-expect-error begin is missing
        Process.make("nowhere", { follows: [Order], handlers: { Order: { ...others, Placed: Process.ignore } } }),
      'begin is "start" or "end"'
    )
  })

  it("with the id or the events of another aggregate", () => {
    // @ts-expect-error the id of an order
    Process.execute(Purse, orderId(1), take(1))
    // @ts-expect-error an event of an order
    Process.execute(Purse, ada, Order.Placed({ customer: "ada" }))
    // @ts-expect-error a decision on purses
    Process.execute(Order, orderId(1), take(1))
  })

  it("with a handler that returns something else", () => {
    Process.make("wrong", {
      follows: [Order],
      begin: "start",
      // @ts-expect-error an event is not a reaction
      handlers: { Order: { ...others, Placed: () => Purse.Put({ coins: 1 }) } }
    })
  })
})
