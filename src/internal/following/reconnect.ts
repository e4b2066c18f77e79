import { Clock, Effect, Schedule } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { FollowState } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"

/** When to retry if the log can't be read for a while: indefinitely, with pauses of up to 5 s. */
export const reconnect = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/** Retries indefinitely while the log can't be reached, and reports it. */
export const waitForLog = <A, R>(
  self: Effect.Effect<A, RecorderError, R>,
  position: Position | undefined,
  report: (state: FollowState) => Effect.Effect<void>
): Effect.Effect<A, RecorderError, R> =>
  Effect.suspend(() => {
    let since: number | undefined
    let attempts = 0
    return self.pipe(
      Effect.tapError((error) =>
        error._tag !== "RecorderUnavailable"
          ? Effect.void
          : Effect.flatMap(Clock.currentTimeMillis, (now) => {
              since ??= now
              attempts++
              return Effect.andThen(
                Effect.logWarning(`a follower is waiting for its log: ${error.message}`),
                report({ _tag: "Retrying", position, since, attempts, error })
              )
            })
      ),
      Effect.retry({ schedule: reconnect, while: (error) => error._tag === "RecorderUnavailable" })
    )
  })
