import { Effect } from "effect"

/**
 * Mutual exclusion by key, first come first served. Holds nothing for keys that nobody uses.
 *
 * A released lock is handed to the next in line: nobody can overtake, and each of a thousand waiters is woken once. (A
 * `Semaphore` goes through all its waiters at each release.)
 */
export interface KeyedLock {
  /** `instead` is called when the lock is about to be taken. If it returns an effect, that runs without the lock. */
  readonly withLock: (
    key: string
  ) => <A, E, R>(
    self: Effect.Effect<A, E, R>,
    instead?: () => Effect.Effect<A, E, R> | undefined
  ) => Effect.Effect<A, E, R>
}

/** A caller that wants the lock. */
interface Turn {
  /** Set once the caller owns the lock, which may be a moment before it runs. */
  owns: boolean
  /** Set once its fiber is suspended. */
  resume: ((effect: Effect.Effect<void>) => void) | undefined
}

/** `onWait`: an effect that runs alongside a waiting caller, for as long as it waits. */
export const make = (onWait?: (key: string) => Effect.Effect<void> | undefined): KeyedLock => {
  /** The waiting callers of each key whose lock is held; `undefined` until somebody waits. */
  const locks = new Map<string, Set<Turn> | undefined>()

  /** Hands the lock to the next in line, or releases it if there is none, which needs no effect. */
  const release = (key: string): Effect.Effect<void> | undefined => {
    for (const next of locks.get(key) ?? []) {
      locks.get(key)?.delete(next)
      next.owns = true
      return Effect.withFiber((fiber) => {
        // not from here: each caller would run inside the release of the one before
        fiber.currentDispatcher.scheduleTask(() => next.resume?.(Effect.void), 0)
        return Effect.void
      })
    }
    locks.delete(key)
    return undefined
  }

  /** The caller is in line from this very step on: its fiber may yield before it is suspended. */
  const inLine = (key: string, turn: Turn): Effect.Effect<void> => {
    const waiting = locks.get(key) ?? new Set()
    locks.set(key, waiting.add(turn))
    const wait = Effect.callback<void>((resume) => {
      if (turn.owns) resume(Effect.void)
      else turn.resume = resume
    })
    const beside = onWait?.(key)
    return beside === undefined ? wait : Effect.raceFirst(wait, Effect.andThen(beside, Effect.never))
  }

  return {
    withLock: (key) => (self, instead) =>
      Effect.suspend(() => {
        const other = instead?.()
        if (other !== undefined) return other
        const turn: Turn = { owns: false, resume: undefined }
        const inTurn = Effect.suspend(() => {
          if (locks.has(key)) return Effect.andThen(inLine(key, turn), self)
          locks.set(key, undefined)
          turn.owns = true
          return self
        })
        // the release is registered before the lock is taken: no interruption can come between the two
        return Effect.onExitPrimitive(inTurn, () => {
          if (turn.owns) return release(key)
          locks.get(key)?.delete(turn)
          return undefined
        })
      })
  }
}
