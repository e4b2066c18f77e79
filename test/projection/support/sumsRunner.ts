/**
 * A program to be killed or paused: runs the projection `sums`, and writes a line for each event that it has in hand and for
 * each state that its runner comes to.
 */
import * as Fs from "node:fs"
import { Cause, Effect, Exit, Layer, References, Stream, SubscriptionRef } from "effect"
import type { Ownership } from "effect-eventsourcing"
import { ProjectionRunner, ViewStore } from "effect-eventsourcing"
import type { Database } from "./databases.ts"
import { logOf, viewsOf } from "./databases.ts"
import { sums } from "./sumsView.ts"

/** What the program is told when it is started. */
export interface Options {
  readonly log: Database
  readonly views: Database
  /** How long its lease is, in milliseconds; `none`: it takes itself for the owner without asking anyone. */
  readonly lease: number | "none"
  /** How long it has an event in hand at most, in milliseconds; a different time for each. */
  readonly handling: number
  /**
   * Where it stops itself, until it is told to go on (SIGCONT): in its second batch, before the transaction of that or within
   * it, when all is handled and nothing is committed.
   */
  readonly pause?: "before" | "within"
}

/** What the program writes: a line of JSON each. */
export type Line =
  | { readonly _tag: "Opened"; readonly pid: number }
  /** It has written to the view what an event does, and not committed it. */
  | { readonly _tag: "InHand"; readonly position: string }
  | { readonly _tag: "State"; readonly state: ProjectionRunner.State["_tag"]; readonly cause: string | undefined }
  | { readonly _tag: "Pausing" }
  /** What became of the batch in which it was paused. */
  | { readonly _tag: "Paused"; readonly outcome: string }

/** A line, given to the operating system as a whole before this returns. */
const print = (line: Line): void => {
  Fs.writeSync(1, `${JSON.stringify(line)}\n`)
}

const options = JSON.parse(process.argv[2] ?? "") as Options

/** As a suspended machine: not even a timer runs before it is told to go on. */
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
// not left behind by a test that was itself killed
process.stdin.on("end", () => process.exit()).resume()
await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide(layer), Effect.provideService(References.MinimumLogLevel, "None"))
)
