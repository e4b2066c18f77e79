/** How long something takes, for tests which prove that it ends on its own. */
import { Effect } from "effect"

/** The result, and how long it took, in milliseconds. */
export const timed = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.map(self, (value) => [value, performance.now() - begun] as const)
  })

/**
 * In milliseconds, longer than anything takes that ends on its own, on the slowest machine: whatever takes longer is
 * waiting.
 */
export const ENDS = 60_000
