/**
 * The turns of transactions that keep views up to date. While a view catches up, they follow each other without end.
 * SQLite keeps no order among processes: one that waits for the write lock tries every now and then, and would find it
 * taken each time. So these transactions leave the lock free for a while once they have held it for long.
 *
 * Within the process only one of them at a time is in the queue of the file's writers, however many views there are: a
 * command waits for one, and not for one of each view.
 */
import { Clock, Effect, identity } from "effect"
import type { RecorderUnavailable } from "../EventSourcingError.ts"
import type { Queue } from "./queue.ts"

/**
 * For how long they may hold the lock, in milliseconds. A transaction ends with the event with which it reaches that.
 */
const HOLD = 75

/** What a transaction may use if less than that is left. */
const LEAST = 25

/**
 * For how long the lock is then left free, in milliseconds: longer than any pause between two attempts of a process
 * that has waited for so long, both with our own way of waiting and with SQLite's
 * (https://www.sqlite.org/c3ref/busy_timeout.html).
 */
const FREE = 25

/** For each millisecond in which the lock was free in between, this many count as not held. */
const WORTH = 5

/** Takes turns. */
export interface Turns {
  /**
   * Runs a transaction in its turn; `begun` is to be run once it has the lock, and returns for how long it may hold it.
   */
  readonly take: <A, E, R>(
    operation: string,
    transaction: (begun: Effect.Effect<number>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderUnavailable, R>
}

/** The turns of a file; `isShared`: whether other processes may have it open. */
export const make = (queue: Queue, isShared: boolean): Turns => {
  /** For how long the lock was held, less the time in which it was free, in milliseconds. */
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
