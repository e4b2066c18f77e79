/** Runs a deadline: its index by a runner of its own, and its decisions while that runner owns the index. */
import { Cause, Clock, Effect, Exit, Metric, Stream, SubscriptionRef } from "effect"
import type { DecideError, State } from "../../Deadline.ts"
import type { State as IndexState, ProjectionRunner, RunnerError } from "../../ProjectionRunner.ts"
import type { ChangeSignal } from "../following/changeSignal.ts"
import { makeChangeSignal } from "../following/changeSignal.ts"
import * as Metrics from "../observability/metrics.ts"
import type { Worker } from "./worker.ts"

/** How long a runner waits at most before it looks at the clock again, which may have been set meanwhile. */
const LOOK = 1000

/** The longest pause before the index is read again after a failed read. */
const MOST_PAUSE = 5000

/** How many failures a state contains. */
const SHOWN = 20

export interface Running<in out E, out R> {
  readonly worker: Worker<E | DecideError, R>
  /** The runner of the index. */
  readonly index: ProjectionRunner
  /** Notifies of changes of the index in this process. */
  readonly indexChanges: ChangeSignal
  readonly attributes: Metric.Metric.AttributeSet
  readonly set: (state: State<E>) => Effect.Effect<void>
}

/** Another runner works, or it is not known yet which one does. */
const isElsewhere = ({ _tag }: IndexState): boolean => _tag === "Starting" || _tag === "Standby" || _tag === "Stopped"

export const runDeadline = <E, R>({
  attributes,
  index,
  indexChanges,
  set,
  worker
}: Running<E, R>): Effect.Effect<never, RunnerError, R> =>
  Effect.gen(function* () {
    let indexState: IndexState = yield* SubscriptionRef.get(index.state)
    let shown: State<E> | undefined
    /** The failures that were last reported. */
    let shownFailures: ReadonlyArray<unknown> = []
    const changed = makeChangeSignal()

    /** The state if nothing prevents decisions. */
    const stateOf = (next: number | undefined): State<E> => {
      const failures = worker.failures()
      if (indexState._tag === "Starting" || indexState._tag === "Standby" || indexState._tag === "Retrying") {
        return indexState
      }
      if (failures.length > 0) {
        return shown?._tag === "Failing" && shownFailures === failures
          ? shown
          : { _tag: "Failing", count: failures.length, failures: failures.slice(0, SHOWN) }
      }
      if (indexState._tag !== "Live" && indexState._tag !== "Stopped") return indexState
      return shown?._tag === "Live" && shown.next === next ? shown : { _tag: "Live", next }
    }

    const show = (state: State<E>): Effect.Effect<void> => {
      if (state === shown) return Effect.void
      shown = state
      const failures = worker.failures()
      const isSame = failures.length === shownFailures.length
      shownFailures = failures
      if (isSame) return set(state)
      const count = Metric.withAttributes(Metrics.deadlineFailing, attributes)
      return Effect.andThen(Metric.update(count, failures.length), set(state))
    }

    const watching = Stream.runForEach(SubscriptionRef.changes(index.state), (state) =>
      Effect.sync(() => {
        indexState = state
        changed.notify()
      })
    )

    let attempts = 0
    const pauseAfter = Effect.fnUntraced(function* (cause: unknown) {
      const pause = Math.min(100 * 2 ** attempts, MOST_PAUSE)
      attempts++
      yield* Metric.update(Metric.withAttributes(Metrics.deadlineRetries, attributes), 1)
      const nextAttempt = (yield* Clock.currentTimeMillis) + pause
      yield* show({ _tag: "Retrying", cause, attempts, nextAttempt })
      yield* Effect.sleep(pause)
    })

    const turn = Effect.gen(function* () {
      const seen = [changed.current(), indexChanges.current(), worker.ended.current()] as const
      if (isElsewhere(indexState)) {
        worker.forget()
        yield* show(stateOf(undefined))
        return yield* Effect.ignore(changed.after(seen[0]))
      }
      const exit = yield* Effect.exit(worker.pass)
      if (Exit.isFailure(exit)) {
        if (Cause.hasInterruptsOnly(exit.cause)) return yield* Effect.interrupt
        return yield* pauseAfter(Cause.squash(exit.cause))
      }
      const { begun, next, outage } = exit.value
      if (outage !== undefined) return yield* pauseAfter(outage)
      attempts = 0
      yield* show(stateOf(next))
      const now = yield* Clock.currentTimeMillis
      const pause = Math.min(Math.max((next ?? Number.POSITIVE_INFINITY) - now, 0), LOOK)
      if (pause === 0) return yield* Effect.yieldNow
      if (begun === 0 && next === undefined) {
        yield* Metric.update(Metric.withAttributes(Metrics.deadlineLateness, attributes), 0)
      }
      yield* Effect.raceAllFirst([
        Effect.sleep(pause),
        Effect.ignore(changed.after(seen[0])),
        Effect.ignore(indexChanges.after(seen[1])),
        Effect.ignore(worker.ended.after(seen[2]))
      ])
    })

    return yield* Effect.raceAllFirst([Effect.forever(turn), Effect.andThen(watching, Effect.never), index.join])
  })
