import type { Schedule } from "effect"
import { Effect } from "effect"

/**
 * Retries an effect by a schedule while its failures are of a kind. It costs nothing if the first attempt succeeds,
 * whereas `Effect.retry` starts its schedule each time.
 */
export const retryOnFailure = <A, E, R>(
  first: Effect.Effect<A, E, R>,
  options: {
    readonly again: () => Effect.Effect<A, E, R>
    readonly schedule: Schedule.Schedule<unknown>
    readonly while: (error: E) => boolean
  }
): Effect.Effect<A, E, R> =>
  Effect.catchIf(first, options.while, (failure) => {
    let failed = false
    const next = Effect.suspend(() => {
      if (failed) return options.again()
      failed = true
      return Effect.fail(failure)
    })
    return Effect.retry(next, { schedule: options.schedule, while: options.while })
  })
