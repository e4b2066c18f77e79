/** How long something takes, where that it ends by itself is what is proven. */
import { Effect } from "effect"

/** What it answers, and how long it took, in milliseconds. */
export const timed = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<readonly [A, number], E, R> =>
  Effect.suspend(() => {
    const begun = performance.now()
    return Effect.map(self, (value) => [value, performance.now() - begun] as const)
  })

/** In milliseconds, what nothing takes that ends by itself, on the slowest machine: what takes longer waits for somebody. */
export const ENDS = 60_000
