import type { Exit } from "effect"
import { Effect, Fiber } from "effect"

/** Starts something and interrupts it after as many turns of the scheduler, or when something else has ended. */
export const interruptAfter = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  moment: number | Effect.Effect<unknown, unknown>
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    if (typeof moment === "number") {
      for (let turn = 0; turn < moment; turn++) yield* Effect.yieldNow
    } else {
      yield* Effect.exit(moment)
    }
    yield* Fiber.interrupt(fiber)
    return yield* Fiber.await(fiber)
  })
