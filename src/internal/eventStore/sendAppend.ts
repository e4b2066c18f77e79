import { Effect, Schedule } from "effect"
import { retryOnFailure } from "../concurrency/retryOnFailure.ts"
import type * as Metrics from "../observability/metrics.ts"

/**
 * When to resend an append whose response was lost: at once and after 20 ms, however long an attempt takes, then up to 3
 * times within 2 s, from 40 ms on, doubling.
 */
const resend = Schedule.concat(
  Schedule.concat(Schedule.recurs(1), Schedule.upTo(Schedule.spaced("20 millis"), { times: 1 })),
  Schedule.exponential("40 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 3, duration: "2 seconds" }))
)

/** Sends an append of this many events, resends it unchanged if the response is lost, and counts the outcome. */
export const sendAppend = <A, E extends { readonly _tag: string }, R>(
  counts: Metrics.Counts,
  events: number,
  append: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const onSuccess = (appended: A) => {
    counts.appends++
    counts.events += events
    return Effect.succeed(appended)
  }
  const onError = (error: E) => {
    if (error._tag === "WrongExpectedVersion") counts.conflicts++
    return Effect.fail(error)
  }
  // every append passes through here: retries are set up only after one has failed
  return Effect.matchCauseEffect(append, {
    onSuccess,
    onFailure: (cause) =>
      retryOnFailure(Effect.failCause(cause), { again: () => append, schedule: resend, while: isUnavailable }).pipe(
        Effect.matchEffect({ onSuccess, onFailure: onError })
      )
  })
}

/** Whether the response was lost, or nothing was sent; false if a lock was waited for as long as the user allows. */
const isUnavailable = (error: { readonly _tag: string; readonly waited?: unknown }): boolean =>
  error._tag === "RecorderUnavailable" && error.waited === undefined
