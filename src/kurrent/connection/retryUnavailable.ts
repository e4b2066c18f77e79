import type { Effect } from "effect"
import { Schedule } from "effect"
import { retryOnFailure } from "../../internal/concurrency/retryOnFailure.ts"
import type { KurrentUnavailable } from "./KurrentError.ts"

const again = Schedule.upTo(Schedule.jittered(Schedule.exponential("30 millis")), { times: 8, duration: "2 seconds" })

/** Whether the server was silent until the deadline: then enough time was spent on it. */
export const wasSilent = (error: { readonly _tag: string }): boolean =>
  error._tag === "KurrentUnavailable" && (error as KurrentUnavailable).cause === undefined

/** Retries while the server is unavailable, for at most two seconds; a call that ended in silence is not retried. */
export const retryUnavailable = <A, E extends { readonly _tag: string }>(
  call: Effect.Effect<A, E | KurrentUnavailable>
): Effect.Effect<A, E | KurrentUnavailable> =>
  retryOnFailure(call, {
    again: () => call,
    schedule: again,
    while: (error) => error._tag === "KurrentUnavailable" && !wasSilent(error)
  })
