/** What a runner reports: its state, and its failed attempts. */
import { Clock, Duration, Effect, Metric } from "effect"
import type { FollowState } from "../../LogReader.ts"
import type { State } from "../../ProjectionRunner.ts"
import * as Metrics from "../observability/metrics.ts"

/** The state of a runner. */
export interface RunnerStatus {
  readonly current: () => State
  readonly set: (next: State) => Effect.Effect<void>
  /** Counts a failed attempt, and reports that the next one follows after a delay. */
  readonly retrying: (cause: unknown, delay: Duration.Duration) => Effect.Effect<void>
  /** Ends a series of failed attempts. */
  readonly succeeded: Effect.Effect<void>
  /** The state since the last attempt failed; `undefined` once an attempt has succeeded. */
  readonly failure: () => State | undefined
  /** Counts a failed attempt in the metrics. */
  readonly countRetry: Effect.Effect<void>
}

export const makeStatus = (
  attributes: Metric.Metric.AttributeSet,
  report: (next: State) => Effect.Effect<void>
): RunnerStatus => {
  const countRetry = Metric.update(Metric.withAttributes(Metrics.retries, attributes), 1)
  let current: State = { _tag: "Starting" }
  let attempts = 0
  let failure: State | undefined
  const set = (next: State) => {
    current = next
    return report(next)
  }
  return {
    current: () => current,
    set,
    retrying: Effect.fnUntraced(function* (cause, delay) {
      attempts++
      const nextAttempt = (yield* Clock.currentTimeMillis) + Duration.toMillis(delay)
      yield* countRetry
      failure = { _tag: "Retrying", cause, attempts, nextAttempt }
      yield* set(failure)
    }),
    succeeded: Effect.sync(() => {
      attempts = 0
      failure = undefined
    }),
    failure: () => failure,
    countRetry
  }
}

/** The state of a session: that of the projection, or of a log that can't be reached, which takes precedence. */
export interface SessionStatus {
  /** Reports the state of the projection. A log that can't be reached hides it, unless a handler fails. */
  readonly show: (next: State) => Effect.Effect<void>
  /** Reports whether the log can be reached: arriving batches show that it can, so that is not reported again. */
  readonly followed: (state: FollowState) => Effect.Effect<void>
  readonly isCutOff: () => boolean
}

/** Starts with the failure of the session before, if any: only a successful attempt ends it. */
export const makeSessionStatus = ({ countRetry, failure, set }: RunnerStatus): SessionStatus => {
  /** The state of the projection, to be reported again once the log can be reached. */
  let shown: State = failure() ?? { _tag: "Starting" }
  /** The state while the log can't be reached. */
  let cutOff: State | undefined
  return {
    show: (next) => {
      shown = next
      return set(next._tag === "Blocked" ? next : (cutOff ?? next))
    },
    followed: (state) => {
      if (state._tag !== "Retrying") {
        const wasCutOff = cutOff !== undefined
        cutOff = undefined
        return wasCutOff ? set(shown) : Effect.void
      }
      const { attempts, error: cause } = state
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        cutOff = { _tag: "Retrying", cause, attempts, nextAttempt: now }
        return Effect.andThen(countRetry, set(cutOff))
      })
    },
    isCutOff: () => cutOff !== undefined
  }
}
