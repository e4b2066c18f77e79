/** What a runner of a deadline reports (G12): its states, and its metrics. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Metric, Schedule, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { Deadline, EventSourcing, EventSourcingError, EventStore, Repository } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { eventually } from "../support/eventually.ts"
import type { Log } from "../support/memoryLog.ts"
import { makeLog, withRecorder } from "../support/memoryLog.ts"
import { makeExpiry, Payment, Refused } from "./support/payment.ts"

const layerOf = (log: Log) =>
  Layer.merge(Layer.provideMerge(Layer.fresh(EventSourcing.layer()), Layer.succeedContext(log)), MemoryViews())

const id = (name: string) => Payment.Id.make(name)
const expiry = makeExpiry("memory")

/** Lets fibers that the clock has woken finish. */
const settled = Effect.repeat(Effect.yieldNow, { times: 200 })

const watch = <E>(runner: Deadline.Runner<E>) =>
  Effect.gen(function* () {
    const states: Array<Deadline.State<E>> = []
    yield* SubscriptionRef.changes(runner.state).pipe(
      Stream.runForEach((state) => Effect.sync(() => states.push(state))),
      Effect.forkScoped({ startImmediately: true })
    )
    return states
  })

describe("a runner of a deadline", () => {
  it.effect("G12 T1 is moved by the TestClock: it waits, decides, fails, retries after longer and longer pauses", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      yield* Effect.gen(function* () {
        const payments = yield* Repository.of(Payment)
        const runner = yield* Deadline.start(expiry, {
          retry: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 2 }))
        })
        const states = yield* watch(runner)
        yield* payments.execute(id("a"), Payment.Requested({ dueAt: 10_000 }))
        yield* payments.execute(id("b"), Payment.Requested({ dueAt: 20_000 }))
        yield* payments.execute(id("b"), Payment.Noted({ text: "refused" }))
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual((yield* payments.get(id("a"))).state.status, "awaiting")
        assert.deepStrictEqual(states.at(-1), { _tag: "Live", next: 10_000 })
        yield* TestClock.adjust("1 millis")
        yield* settled
        assert.strictEqual((yield* payments.get(id("a"))).state.status, "expired")
        assert.deepStrictEqual(states.at(-1), { _tag: "Live", next: 20_000 })
        const failing = (attempts: number, nextAttempt: number | undefined) => ({
          _tag: "Failing",
          count: 1,
          failures: [{ id: "b", dueAt: 20_000, cause: new Refused(), attempts, nextAttempt }]
        })
        yield* TestClock.adjust("10 seconds")
        yield* settled
        assert.deepStrictEqual<unknown>(states.at(-1), failing(1, 21_000))
        yield* TestClock.adjust("1 second")
        yield* settled
        assert.deepStrictEqual<unknown>(states.at(-1), failing(2, 23_000))
        yield* TestClock.adjust("2 seconds")
        yield* settled
        assert.deepStrictEqual<unknown>(states.at(-1), failing(3, undefined))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual<unknown>(states.at(-1), failing(3, undefined))
        yield* payments.execute(id("b"), Payment.Paid())
        yield* TestClock.adjust("1 second")
        yield* settled
        assert.deepStrictEqual(states.at(-1), { _tag: "Live", next: undefined })
      }).pipe(Effect.scoped, Effect.provide(layerOf(log)))
    })
  )

  it.live("G12 is Retrying while the log can't be reached, and decides once it can", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      let isDown = false
      const broken = withRecorder(log, (recorder) => ({
        append: (append) =>
          Effect.suspend(() =>
            isDown
              ? Effect.fail(new EventSourcingError.RecorderUnavailable({ operation: "append", reason: "down" }))
              : recorder.append(append)
          )
      }))
      yield* Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        for (let n = 0; n < 8; n++) {
          yield* store.append(Payment, id(`${n}`), { expected: "NoStream", events: [Payment.Requested({ dueAt: 1 })] })
        }
        isDown = true
        const runner = yield* Deadline.start(expiry, { concurrency: 2 })
        const states = yield* watch(runner)
        yield* eventually(
          "it is retrying",
          Effect.sync(() => states.some(({ _tag }) => _tag === "Retrying"))
        )
        isDown = false
        yield* eventually(
          "all have expired",
          Effect.map(store.head, (head) => Number(head) === 16)
        )
        yield* eventually(
          "it is live",
          Effect.sync(() => states.at(-1)?._tag === "Live")
        )
      }).pipe(Effect.scoped, Effect.provide(layerOf(broken)))
    })
  )

  it.live("G12 is counted in metrics, as a deadline", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const value = (name: string, state?: string) =>
        Effect.map(Metric.snapshot, (all) => {
          const found = all.find(
            ({ attributes, id: metric }) =>
              metric === `effect_eventsourcing_${name}` &&
              attributes?.deadline === "metered" &&
              (state === undefined || attributes.state === state)
          )
          return found === undefined ? undefined : (found.state as { count?: number; value?: number })
        })
      yield* Effect.gen(function* () {
        const payments = yield* Repository.of(Payment)
        yield* payments.execute(id("a"), Payment.Requested({ dueAt: 1 }))
        yield* payments.execute(id("b"), Payment.Requested({ dueAt: 1 }))
        yield* payments.execute(id("b"), Payment.Noted({ text: "refused" }))
        yield* Deadline.start(makeExpiry("memory", { name: "metered" }))
        yield* eventually(
          "a is decided",
          Effect.map(value("deadline_decisions_total"), (found) => found?.count === 1)
        )
        yield* eventually(
          "b fails",
          Effect.map(value("deadline_failing_aggregates"), (found) => found?.value === 1)
        )
        yield* eventually(
          "it says so",
          Effect.map(value("deadline_state", "Failing"), (found) => found?.value === 1)
        )
        assert.isAbove((yield* value("deadline_retries_total"))?.count ?? 0, 0)
        assert.isAbove((yield* value("deadline_lateness_seconds"))?.value ?? 0, 1_000_000)
      }).pipe(Effect.scoped, Effect.provide(layerOf(log)))
    })
  )

  it.live("G12 with invalid options it stops, and says why", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const error = yield* Effect.flip(Effect.provide(Deadline.run(expiry, { concurrency: 0 }), layerOf(log)))
      assert.strictEqual(
        error.message,
        'run deadline "expiry": the option concurrency must be an integer of at least 1, got 0'
      )
    })
  )
})
