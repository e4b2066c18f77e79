/**
 * A program to be killed: runs the process `shipping`, and writes a line for each event whose handler is called and for
 * each state that its runner reaches.
 */
import * as Fs from "node:fs"
import { Effect, References, Stream, SubscriptionRef } from "effect"
import { Process } from "effect-eventsourcing"
import type { Database } from "../../projection/support/databases.ts"
import { logOf } from "../../projection/support/databases.ts"
import { Order, Shipment, shipmentOf } from "./shop.ts"

/** The arguments that the program is started with. */
export interface Options {
  readonly log: Database
  readonly maxBatch: number
}

/** The program's output: a line of JSON each. */
export type Line =
  | { readonly _tag: "InHand"; readonly position: string }
  | { readonly _tag: "State"; readonly state: Process.State["_tag"] }

/** Writes a line; it has been handed to the operating system as a whole when this returns. */
const print = (line: Line): void => {
  Fs.writeSync(1, `${JSON.stringify(line)}\n`)
}

const { log, maxBatch } = JSON.parse(process.argv[2] ?? "") as Options

const Shipping = Process.make("shipping", {
  follows: [Order],
  begin: "start",
  handlers: {
    Order: {
      Placed: ({ aggregateId, position }) => {
        print({ _tag: "InHand", position: `${position}` })
        return Process.execute(Shipment, shipmentOf(aggregateId), Shipment.Requested())
      },
      ItemAdded: ({ aggregateId, event, position }) => {
        print({ _tag: "InHand", position: `${position}` })
        return Process.execute(Shipment, shipmentOf(aggregateId), Shipment.ParcelAdded({ sku: event.sku }))
      },
      Rejected: Process.ignore,
      Noted: Process.ignore
    }
  }
})

const program = Effect.gen(function* () {
  const runner = yield* Process.start(Shipping, { maxBatch, patience: "100 millis" })
  yield* Stream.runForEach(SubscriptionRef.changes(runner.state), ({ _tag }) =>
    Effect.sync(() => print({ _tag: "State", state: _tag }))
  ).pipe(Effect.forkScoped)
  return yield* runner.join
})

Effect.scoped(program).pipe(
  Effect.provide(logOf(log)),
  Effect.provideService(References.MinimumLogLevel, "Error"),
  Effect.runPromise
)
