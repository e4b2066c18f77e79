import { Duration, Effect, Pull, Schedule } from "effect"

/** Returns the next pause of a schedule in milliseconds, after an error at a time; `undefined` once it is exhausted. */
export type Pauses = (now: number, error: unknown) => Effect.Effect<number | undefined>

/** The pauses of a schedule, from its beginning. */
export const pausesOf = (schedule: Schedule.Schedule<unknown>): Effect.Effect<Pauses> =>
  Effect.map(
    Schedule.toStep(schedule),
    (step): Pauses =>
      (now, error) =>
        Pull.catchDone(
          Effect.map(step(now, error), ([, delay]) => Duration.toMillis(delay)),
          () => Effect.succeed(undefined)
        )
  )
