/** The states that a runner reports (G12), and how many events it processes at once. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Duration, Effect, Exit, Layer, Logger, Scope as Scopes, SubscriptionRef } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { EventSourcing, EventSourcingError, Projection, ProjectionRunner } from "effect-eventsourcing"
import type { Services } from "../projection/support/harness.ts"
import { inViews } from "../projection/support/harness.ts"
import { count, ignored, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { names, until, untilState, watch } from "../projection/support/runnerStates.ts"
import type { Kind } from "../projection/support/viewKinds.ts"
import { changing, kinds, watching } from "../projection/support/viewKinds.ts"
import { Counter } from "../support/dog.ts"
import { makeLog, withRecorder } from "../support/memoryLog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

describe.concurrent.each(Object.entries(kinds))("a runner with a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  it.live("G12 it starts, catches up, is live and stops, and reports its position and pace", () =>
    Effect.gen(function* () {
      const opened = yield* Deferred.make<void>()
      const layer = changing((store) => ({
        open: (key, options) => Effect.andThen(Deferred.await(opened), store.open(key, options))
      }))
      yield* inViews(
        kind,
        Effect.gen(function* () {
          const projection = kind.journal()
          const last = yield* count("a", 1100)
          const scope = yield* Scopes.make()
          const runner = yield* Scopes.provide(ProjectionRunner.make(projection), scope)
          const states = yield* watch(runner)
          yield* until(Effect.sync(() => states.length > 0))
          yield* Deferred.succeed(opened, undefined)
          yield* untilState(runner, "Live")
          yield* Scopes.close(scope, Exit.void)
          yield* until(Effect.sync(() => states.at(-1)?._tag === "Stopped"))
          assert.deepStrictEqual(names(states), ["Starting", "CatchingUp", "Live", "Stopped"])
          const catchingUp = states.filter((state) => state._tag === "CatchingUp")
          assert.deepStrictEqual(
            catchingUp.map(({ position }) => Number(position)),
            [512, 1024]
          )
          for (const { head, eventsPerSecond, remaining } of catchingUp) {
            assert.strictEqual(head, last)
            assert.isTrue(Number.isInteger(eventsPerSecond) && eventsPerSecond > 0)
            const left = Duration.toMillis(remaining ?? Duration.infinity)
            assert.isTrue(left >= 0 && left < 60_000)
          }
          assert.deepStrictEqual(states.at(-2), { _tag: "Live", position: last })
          assert.deepStrictEqual(states.at(-1), { _tag: "Stopped", error: "interrupted" })
        }),
        layer
      )
    })
  )

  test("G12 on an empty log it is live at once, and reports its position with each event", ({ journal }) =>
    Effect.gen(function* () {
      const runner = yield* ProjectionRunner.make(journal())
      assert.deepStrictEqual(yield* untilState(runner, "Live"), { _tag: "Live", position: undefined })
      const states = yield* watch(runner)
      const positions = [yield* count("a"), yield* count("a")]
      yield* until(
        Effect.sync(() => {
          const last = states.at(-1)
          return last?._tag === "Live" && last.position === positions.at(-1)
        })
      )
      assert.deepStrictEqual(names(states), ["Live"])
    }))

  test("G12 invalid options stop it, with an error that names them", ({ journal }) =>
    Effect.gen(function* () {
      for (const [name, options] of Object.entries({
        maxBatch: { maxBatch: 0 },
        lease: { lease: "99 millis" }
      } as const)) {
        const runner = yield* ProjectionRunner.make(journal(), options)
        const error = yield* Effect.flip(runner.join)
        assert.include(error, { _tag: "RecorderFailure" })
        assert.include(error.message, name)
      }
    }))

  it.live("it processes hundreds of existing events in one transaction, and each new event on its own", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        yield* count("a", 1100)
        const runner = yield* ProjectionRunner.make(projection)
        yield* untilState(runner, "Live")
        assert.strictEqual(transactions.committed, 3)
        for (let n = 1; n <= 5; n++) {
          yield* untilProcessed(projection, yield* count("a"))
          yield* until(Effect.sync(() => transactions.committed === 3 + n))
        }
        // ignored events cost one transaction for all of them
        for (let n = 0; n < 5; n++) yield* ignored
        yield* untilProcessed(projection, yield* ignored)
        yield* until(Effect.sync(() => transactions.committed > 8))
        assert.isTrue(transactions.committed <= 10)
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      }),
      layer
    )
  })

  it.live("it processes no more existing events in one transaction than maxBatch", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        yield* count("a", 25)
        yield* ignored
        const runner = yield* ProjectionRunner.make(projection, { maxBatch: 10 })
        yield* untilState(runner, "Live")
        assert.strictEqual(transactions.committed, 3)
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      }),
      layer
    )
  })

  it.live("a handler of batches gets larger and larger ones while it is fast, and then new events one by one", () => {
    const { layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const sizes: Array<number> = []
        const take = (events: ReadonlyArray<unknown>) => Effect.sync(() => sizes.push(events.length))
        const definition = { aggregates: [Counter], handle: take } as const
        const batched: Projection.Followed<ReturnType<Kind["journal"]>["view"], "exactly-once", never> =
          kind === kinds.memory
            ? Projection.batched("sizes", { ...definition, view: Projection.memory((): ReadonlyArray<string> => []) })
            : Projection.batched("sizes", { ...definition, view: Projection.sql(() => Effect.void) })
        yield* count("a", 600)
        const runner = yield* ProjectionRunner.make(batched)
        yield* untilState(runner, "Live")
        yield* untilProcessed(batched, yield* count("a"))
        yield* untilProcessed(batched, yield* count("a"))
        // up to the end of the page, and of the log
        assert.deepStrictEqual(sizes, [4, 64, 444, 88, 1, 1])
      }),
      layer
    )
  })
})

describe("a runner whose log can't be reached", () => {
  const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "read", reason: "the log is gone" })

  it.live("G12 it retries, reports that, and continues when the log can be reached", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      let isGone = true
      let tell: Recorder.Follow["onState"]
      const changed = withRecorder(log, (recorder) => ({
        head: Effect.suspend(() => (isGone ? Effect.fail(unavailable) : recorder.head)),
        follow: (options) => {
          tell = options.onState
          return recorder.follow(options)
        }
      }))
      const place = yield* kinds.memory.make
      yield* Effect.gen(function* () {
        let inHand: Effect.Effect<unknown> = Effect.void
        const projection = kinds.memory.journal({ handled: () => inHand })
        const runner = yield* ProjectionRunner.make(projection)
        const { cause, attempts } = yield* untilState(runner, "Retrying")
        assert.include(cause as object, { _tag: "RecorderUnavailable" })
        assert.strictEqual(attempts, 1)
        isGone = false
        yield* untilState(runner, "Live")
        yield* untilProcessed(projection, yield* count("a"))

        // while it is live: the log reports it, and on a quiet log nothing else shows that it is back
        yield* tell?.({ _tag: "Retrying", position: undefined, since: 0, attempts: 3, error: unavailable }) ??
          Effect.void
        assert.include(yield* untilState(runner, "Retrying"), { attempts: 3, cause: unavailable })
        yield* tell?.({ _tag: "Live", position: undefined }) ?? Effect.void
        yield* untilState(runner, "Live")

        // while it is handling an event, which it finishes then
        const [taken, done] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
        inHand = Effect.andThen(Deferred.succeed(taken, undefined), Deferred.await(done))
        const last = yield* count("a")
        yield* Deferred.await(taken)
        yield* tell?.({ _tag: "Retrying", position: undefined, since: 0, attempts: 7, error: unavailable }) ??
          Effect.void
        yield* untilState(runner, "Retrying")
        yield* Deferred.succeed(done, undefined)
        yield* untilProcessed(projection, last)
        yield* Effect.sleep("20 millis")
        assert.include(yield* SubscriptionRef.get(runner.state), { _tag: "Retrying", attempts: 7 })
        inHand = Effect.void
        yield* tell?.({ _tag: "Live", position: undefined }) ?? Effect.void
        yield* untilState(runner, "Live")
        yield* untilProcessed(projection, yield* count("a"))
        assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
      }).pipe(
        Effect.scoped,
        Effect.provide(
          Layer.mergeAll(
            Layer.provideMerge(EventSourcing.layer(), Layer.succeedContext(changed)),
            place,
            Logger.layer([])
          )
        )
      )
    })
  )
})
