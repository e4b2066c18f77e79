/**
 * The turns of transactions that keep views up to date. They follow each other without end while a view catches up, and
 * SQLite keeps no order among processes: one that waits for the write lock looks for it every now and then, and would find
 * it taken each time. So they leave it free for a while, once they have held it for long.
 *
 * Within the process one of them at a time is in the queue of the file's writers, whatever there is of views: a command
 * waits for one, and not for one of each.
 */
import { Clock, Effect, identity } from "effect"
import type { RecorderUnavailable } from "../EventSourcingError.ts"
import type { Queue } from "./queue.ts"

/** For how long they may hold the lock, in milliseconds: one ends with the event that brings it to that. */
const HOLD = 75

/** What one may do with less left than that. */
const LEAST = 25

/**
 * How long the lock is left free then, in milliseconds: longer than any pause between two looks at it of those who have
 * waited for so long, with our own way of waiting as with SQLite's (https://www.sqlite.org/c3ref/busy_timeout.html).
 */
const FREE = 25

/** For each millisecond that it was free in between, so many count as not held. */
const WORTH = 5

/** Takes turns. */
export interface Turns {
  /** Runs a transaction in its turn; `begun` is to be run when it has the lock, and tells for how long it may hold it. */
  readonly take: <A, E, R>(
    operation: string,
    transaction: (begun: Effect.Effect<number>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderUnavailable, R>
}

/** The turns of a file; `isShared` tells whether other processes may have it open. */
export const make = (queue: Queue, isShared: boolean): Turns => {
  /** For how long the lock was held, but for when it was free, in milliseconds. */
  let held = 0
  let endedAt = Number.NEGATIVE_INFINITY
  const pause = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    held = Math.max(0, held - WORTH * Math.max(now - endedAt, 0))
    if (held < HOLD || !isShared) return Effect.void
    held = 0
    return Effect.sleep(FREE)
  })
  return {
    take: (operation, transaction) =>
      Effect.suspend(() => {
        let since: number | undefined
        const begun = Effect.map(Clock.currentTimeMillis, (now) => {
          since = now
          return Math.max(HOLD - held, LEAST)
        })
        const ended = Effect.map(Clock.currentTimeMillis, (now) => {
          endedAt = now
          if (since !== undefined) held += now - since
        })
        return Effect.andThen(pause, Effect.ensuring(transaction(begun), ended)).pipe(
          queue.withTurn(operation, identity)
        )
      })
  }
}
