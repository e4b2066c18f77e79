/**
 * A program to be killed or paused: runs the projection `sums`, and writes a line for each event that it begins to
 * handle and for each state that its runner reaches.
 */
import * as Fs from "node:fs"
import { Cause, Effect, Exit, Layer, References, Stream, SubscriptionRef } from "effect"
import type { Ownership } from "effect-eventsourcing"
import { ProjectionRunner, ViewStore } from "effect-eventsourcing"
import type { Database } from "./databases.ts"
import { logOf, viewsOf } from "./databases.ts"
import { sums } from "./sumsView.ts"

/** The arguments that the program is started with. */
export interface Options {
  readonly log: Database
  readonly views: Database
  /** The length of its lease, in milliseconds; `none`: it believes that it is the owner without a lease. */
  readonly lease: number | "none"
  /** How long handling an event takes at most, in milliseconds; a different time for each. */
  readonly handling: number
  /**
   * Where it pauses itself, until it is resumed (SIGCONT): in its second batch, before the transaction of that batch or
   * within it, when everything is handled and nothing is committed.
   */
  readonly pause?: "before" | "within"
}

/** The program's output: a line of JSON each. */
export type Line =
  | { readonly _tag: "Opened"; readonly pid: number }
  /** It has written an event's change to the view, and not committed it. */
  | { readonly _tag: "InHand"; readonly position: string }
  | { readonly _tag: "State"; readonly state: ProjectionRunner.State["_tag"]; readonly cause: string | undefined }
  | { readonly _tag: "Pausing" }
  /** The outcome of the batch in which it was paused. */
  | { readonly _tag: "Paused"; readonly outcome: string }

/** Writes a line; it has been handed to the operating system as a whole when this returns. */
const print = (line: Line): void => {
  Fs.writeSync(1, `${JSON.stringify(line)}\n`)
}

const options = JSON.parse(process.argv[2] ?? "") as Options

/** Like a suspended machine: not even a timer runs before it is resumed. */
const pause = Effect.sync(() => {
  print({ _tag: "Pausing" })
  process.kill(process.pid, "SIGSTOP")
})

/** Views whose second transaction is paused. */
const pausing = (where: "before" | "within") =>
  Layer.effect(
    ViewStore.SqlViewStore,
    Effect.map(ViewStore.SqlViewStore, (store) => {
      let paused = false
      return ViewStore.SqlViewStore.of({
        ...store,
        transact: (move, work) => {
          if (paused || move.from === undefined) return store.transact(move, work)
          paused = true
          const report = (exit: Exit.Exit<unknown, unknown>) =>
            Effect.sync(() => print({ _tag: "Paused", outcome: outcomeOf(exit) }))
          return where === "before"
            ? // so that it is not given up for the lease, which is lost by then
              Effect.uninterruptible(Effect.onExit(Effect.andThen(pause, store.transact(move, work)), report))
            : Effect.onExit(
                store.transact(move, (view, transaction) => Effect.tap(work(view, transaction), pause)),
                report
              )
        }
      })
    })
  )

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isSuccess(exit) ? "committed" : (tagOf(Cause.squash(exit.cause)) ?? Cause.pretty(exit.cause))

const tagOf = (error: unknown): string | undefined =>
  typeof error === "object" && error !== null && "_tag" in error ? String(error._tag) : undefined

const inHand = (position: bigint) =>
  Effect.suspend(() => {
    print({ _tag: "InHand", position: String(position) })
    return Effect.sleep(Math.random() * options.handling)
  })

const always: Ownership.Ownership = { whileOwner: (_key, self) => self }

const program = Effect.gen(function* () {
  print({ _tag: "Opened", pid: process.pid })
  const { lease } = options
  const owned = lease === "none" ? { ownership: always } : { lease }
  const runner = yield* ProjectionRunner.make(sums(inHand), { maxBatch: 16, ...owned })
  yield* SubscriptionRef.changes(runner.state).pipe(
    Stream.runForEach((state) =>
      Effect.sync(() =>
        print({ _tag: "State", state: state._tag, cause: "cause" in state ? tagOf(state.cause) : undefined })
      )
    ),
    Effect.forkScoped({ startImmediately: true })
  )
  return yield* runner.join
})

const views = viewsOf(options.views)
const layer = Layer.merge(
  logOf(options.log),
  options.pause === undefined ? views : Layer.provide(pausing(options.pause), views)
)
// it must not survive a test that was itself killed
process.stdin.on("end", () => process.exit()).resume()
await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(layer), Effect.provideService(References.MinimumLogLevel, "None"))
)
