/**
 * The queue through which all writers of a file pass, one at a time and in the order in which they arrived.
 *
 * Nobody waits in it forever. A transaction could block it for good by awaiting something that itself waits for the
 * queue, in a way that does not carry its context (a promise, another runtime). If one transaction holds the queue for
 * `lockTimeout` while others wait, those that have waited for as long fail. While the queue moves on, waiting
 * continues: a fiber that waits for a thousand short transactions is not stuck.
 */
import type { Fiber, Scope } from "effect"
import { Clock, Effect, Exit } from "effect"
import { RecorderUnavailable } from "../EventSourcingError.ts"

/** Held by one at a time. */
export interface Queue {
  /**
   * Waits for a turn and runs something in it; `toError` converts the error of a wait that timed out. `since` is when
   * that wait began, in milliseconds, if it began before this call.
   */
  readonly withTurn: <E2>(
    operation: string,
    toError: (error: RecorderUnavailable) => E2,
    since?: () => number | undefined
  ) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | E2, R>
  /** Takes a turn that ends with the scope. */
  readonly takeScoped: (operation: string) => Effect.Effect<void, RecorderUnavailable, Scope.Scope>
}

interface Waiter {
  hasTurn: boolean
  resume: (() => void) | undefined
}

/** The queue of a file; waits are limited by `timeout`, in milliseconds. */
export const make = (filename: string, timeout: number): Queue => {
  const waiters = new Set<Waiter>()
  let isHeld = false
  /** When the queue last moved on while somebody waited. */
  let movedAt = Number.NEGATIVE_INFINITY

  /**
   * Passes the turn to the fiber that has waited longest. It is resumed in a step of its own, so that long chains do
   * not nest.
   */
  const release = (fiber: Fiber.Fiber<unknown, unknown>): void => {
    const [next] = waiters
    if (next === undefined) {
      isHeld = false
      return
    }
    waiters.delete(next)
    next.hasTurn = true
    if (waiters.size > 0) movedAt = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
    fiber.currentDispatcher.scheduleTask(() => next.resume?.(), 0)
  }
  const released = Effect.withFiber((fiber) => {
    release(fiber)
    return Effect.void
  })

  const unavailable = (operation: string, waited: number) =>
    new RecorderUnavailable({
      operation,
      reason: `SQLite file "${filename}": another transaction of this process has held the queue of its writers for ${timeout} ms; check whether it awaits, in a promise or another runtime, something that writes to this file, or raise lockTimeout`,
      waited
    })

  /** Fails once the queue has been held, and this fiber has waited, for as long as allowed. */
  const expired = Effect.fnUntraced(function* (operation: string, began: number) {
    for (;;) {
      const now = yield* Clock.currentTimeMillis
      const left = Math.max(began, movedAt) + timeout - now
      if (left <= 0) return yield* unavailable(operation, now - began)
      yield* Effect.sleep(left)
    }
  })

  type Restore = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

  const wait = (operation: string, restore: Restore, since?: number): Effect.Effect<void, RecorderUnavailable> => {
    const waiter: Waiter = { hasTurn: false, resume: undefined }
    const turn = Effect.callback<void>((resume) => {
      if (waiter.hasTurn) return resume(Effect.void)
      waiter.resume = () => resume(Effect.void)
    })
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      // the queue may have become free in between
      if (!isHeld) {
        isHeld = true
        return Effect.void
      }
      waiters.add(waiter)
      const bounded =
        timeout === Number.POSITIVE_INFINITY ? turn : Effect.raceFirst(turn, expired(operation, since ?? now))
      return Effect.onExit(restore(bounded), (exit) => {
        if (Exit.isSuccess(exit)) return Effect.void
        waiters.delete(waiter)
        return waiter.hasTurn ? released : Effect.void
      })
    })
  }

  return {
    withTurn: (operation, toError, since) => (self) =>
      Effect.uninterruptibleMask((restore) => {
        const inTurn = Effect.ensuring(restore(self), released)
        if (isHeld) return Effect.flatMap(Effect.mapError(wait(operation, restore, since?.()), toError), () => inTurn)
        isHeld = true
        return inTurn
      }),
    takeScoped: (operation) =>
      Effect.uninterruptibleMask((restore) => {
        const releaseLater = Effect.addFinalizer(() => released)
        if (isHeld) return Effect.andThen(wait(operation, restore), releaseLater)
        isHeld = true
        return releaseLater
      })
  }
}
