/** A program to be killed: runs the deadline `expiry`, and writes a line for each decision and each state. */
import * as Fs from "node:fs"
import { Effect, Layer, References, Stream, SubscriptionRef } from "effect"
import { Deadline } from "effect-eventsourcing"
import type { Database } from "../../projection/support/databases.ts"
import { logOf, viewsOf } from "../../projection/support/databases.ts"
import { dueOf, Payment } from "./payment.ts"

/** The arguments that the program is started with. */
export interface Options {
  readonly log: Database
  readonly views: Database
  /** Whether it works without the lease. */
  readonly isGreedy: boolean
}

/** The program's output: a line of JSON each. */
export type Line =
  | { readonly _tag: "InHand"; readonly id: string }
  | { readonly _tag: "State"; readonly state: Deadline.State["_tag"] }

/** Writes a line; it has been handed to the operating system as a whole when this returns. */
const print = (line: Line): void => {
  Fs.writeSync(1, `${JSON.stringify(line)}\n`)
}

const { isGreedy, log, views } = JSON.parse(process.argv[2] ?? "") as Options

const Expiry = Deadline.make("expiry", {
  aggregate: Payment,
  due: dueOf,
  decide: (_payment, { id }) => {
    print({ _tag: "InHand", id })
    return Payment.Expired()
  }
})

const program = Effect.gen(function* () {
  const ownership = { whileOwner: <A, E, R>(_key: unknown, self: Effect.Effect<A, E, R>) => self }
  const runner = yield* Deadline.start(Expiry, { lease: "300 millis", ...(isGreedy && { ownership }) })
  yield* Stream.runForEach(SubscriptionRef.changes(runner.state), ({ _tag }) =>
    Effect.sync(() => print({ _tag: "State", state: _tag }))
  ).pipe(Effect.forkScoped)
  return yield* runner.join
})

Effect.scoped(program).pipe(
  Effect.provide(Layer.merge(logOf(log), viewsOf(views))),
  Effect.provideService(References.MinimumLogLevel, "Error"),
  Effect.runPromise
)
