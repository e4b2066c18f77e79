/** A clock that is set by hand, and whose sleeps are real: databases and servers do not wait for a test clock. */
import { Clock, Effect } from "effect"

export interface SettableClock {
  readonly set: (millis: number) => Effect.Effect<void>
  readonly provide: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const makeClock: Effect.Effect<SettableClock> = Clock.clockWith((live) =>
  Effect.sync(() => {
    let now = 0
    const clock: Clock.Clock = {
      currentTimeMillisUnsafe: () => now,
      currentTimeMillis: Effect.sync(() => now),
      currentTimeNanosUnsafe: () => BigInt(now) * 1_000_000n,
      currentTimeNanos: Effect.sync(() => BigInt(now) * 1_000_000n),
      monotonicTimeNanosUnsafe: () => live.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: live.monotonicTimeNanos,
      sleep: (duration) => live.sleep(duration)
    }
    return {
      set: (millis) =>
        Effect.sync(() => {
          now = millis
        }),
      provide: Effect.provideService(Clock.Clock, clock)
    }
  })
)
