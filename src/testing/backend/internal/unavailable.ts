import { Effect, Schedule } from "effect"

const again = Schedule.spaced("20 millis")

/** Sends the same append again while the backend is unavailable (G7). */
export const whileUnavailable = <A, E extends { readonly _tag: string }, R>(
  call: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.retry(call, { schedule: again, while: ({ _tag }) => _tag === "RecorderUnavailable" })
