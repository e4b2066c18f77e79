import { Effect, Semaphore } from "effect"

/** Mutual exclusion by key, first come first served. Holds nothing for keys that nobody uses. */
export interface KeyedLock {
  readonly withLock: (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export const make = (): KeyedLock => {
  const locks = new Map<string, { readonly semaphore: Semaphore.Semaphore; users: number }>()
  return {
    withLock: (key) => (self) =>
      Effect.suspend(() => {
        let lock = locks.get(key)
        if (lock === undefined) {
          lock = { semaphore: Semaphore.makeUnsafe(1), users: 0 }
          locks.set(key, lock)
        }
        const held = lock
        held.users++
        return Effect.ensuring(
          held.semaphore.withPermit(self),
          Effect.sync(() => {
            if (--held.users === 0) locks.delete(key)
          })
        )
      })
  }
}
