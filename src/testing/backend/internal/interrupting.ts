import type { Exit } from "effect"
import { Effect, Fiber } from "effect"

/** Starts an effect and interrupts it after this many turns of the scheduler, or when another one has ended. */
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
