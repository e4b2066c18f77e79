import type { Fiber } from "effect"
import { Effect } from "effect"

/**
 * Mutual exclusion by key, first come first served. Holds nothing for keys that nobody uses.
 *
 * Released, a lock is handed to the next in line: nobody can slip in between, and each of a thousand waiters is woken
 * once. (A `Semaphore` goes over all its waiters at each release.)
 */
export interface KeyedLock {
  readonly withLock: (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

interface Waiter {
  /** Set once the lock is this waiter's, which may be a moment before it runs. */
  owns: boolean
  /** Set once its fiber is asleep. */
  resume: ((effect: Effect.Effect<void>) => void) | undefined
}

export const make = (): KeyedLock => {
  /** Those who wait, for each key whose lock is held. */
  const locks = new Map<string, Set<Waiter>>()

  const release = (key: string, fiber: Fiber.Fiber<unknown, unknown>): void => {
    const waiting = locks.get(key)
    if (waiting === undefined) return
    for (const next of waiting) {
      waiting.delete(next)
      next.owns = true
      // not from here: each would run inside the release of the one before
      fiber.currentDispatcher.scheduleTask(() => next.resume?.(Effect.void), 0)
      return
    }
    locks.delete(key)
  }

  return {
    withLock: (key) => (self) =>
      Effect.uninterruptibleMask((restore) => {
        const held = Effect.ensuring(
          restore(self),
          Effect.withFiber((fiber) => {
            release(key, fiber)
            return Effect.void
          })
        )
        const waiting = locks.get(key)
        if (waiting === undefined) {
          locks.set(key, new Set())
          return held
        }
        // in line from this very step on: its fiber may give way before it is asleep
        const waiter: Waiter = { owns: false, resume: undefined }
        waiting.add(waiter)
        const turn = Effect.callback<void>((resume) => {
          if (waiter.owns) resume(Effect.void)
          else waiter.resume = resume
        })
        const giveUp = Effect.withFiber((fiber) => {
          if (waiter.owns) release(key, fiber)
          else waiting.delete(waiter)
          return Effect.void
        })
        return Effect.andThen(
          Effect.onInterrupt(restore(turn), () => giveUp),
          held
        )
      })
  }
}
