/** How far a projection has come in its log, and the moves of its tracking. */
import { Effect, Exit } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ProjectionSuperseded, TrackingConflict } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Seen, Transaction } from "../../ViewStore.ts"
import type { StoredBatch } from "../following/selection.ts"
import type { ProcessError, Processing } from "./processing.ts"
import * as Upstream from "./upstream.ts"

/** The transaction of a move. It knows what was seen of the log up to its end. */
export interface MoveTransaction extends Omit<Transaction, "endAt"> {
  readonly endAt: (position: Position) => Effect.Effect<void, RecorderError>
}

export interface Tracker {
  /** The position of the tracking. */
  readonly position: () => Position | undefined
  /**
   * Up to where events were processed, or did not belong to the projection: the tracking may not have moved there yet.
   */
  readonly end: () => Position | undefined
  /** What was seen of the log, also after the position; `undefined` before the first batch. */
  readonly seen: () => Seen | undefined
  /** Reports that the events of a batch are processed from now on. */
  readonly begin: (batch: StoredBatch) => void
  /** Reports that the batch that was begun has been processed up to its end. */
  readonly finish: (end: Position) => void
  /** Moves the tracking to a position, with work in the same transaction. */
  readonly move: <A, E>(
    to: Position,
    work: (view: unknown, transaction: MoveTransaction) => Effect.Effect<A, E, unknown>
  ) => Effect.Effect<A, E | ProcessError>
  /** Moves the tracking past events that do not belong to the projection, if it has not been moved there yet. */
  readonly catchUp: Effect.Effect<void, ProcessError>
  /** Fails if the tracking is not where it was left: the view was reset, or another version has taken its place. */
  readonly check: Effect.Effect<void, ProcessError>
}

/** Begins after a position, up to which the view has seen its log. */
export const makeTracker = (
  { key, projection, store }: Pick<Processing, "key" | "projection" | "store">,
  start: Position | undefined,
  seenAtStart: Seen | undefined
): Tracker => {
  const aggregates = projection.aggregates.map(({ name }) => name)
  let position = start
  let end = start
  /** How many moves have begun and ended: one is under way if the number is odd. */
  let moves = 0
  /** What was seen of the log up to the position, and after a finished batch up to its end. */
  let seen = seenAtStart
  /** Events of the batch that are not in `seen` yet. */
  let pending: ReadonlyArray<Notification> = []
  /** What will have been seen after a move to a position, and how many of the pending events that includes. */
  const seenAt = (to: Position) => {
    let count = 0
    while (count < pending.length && (pending[count] as Notification).position <= to) count++
    const events = count === pending.length ? pending : pending.slice(0, count)
    return { to, seen: Upstream.note(aggregates, seen, events, to), count }
  }

  const move: Tracker["move"] = <A, E>(
    to: Position,
    work: (view: unknown, transaction: MoveTransaction) => Effect.Effect<A, E, unknown>
  ) =>
    Effect.suspend(() => {
      moves++
      let reached = seenAt(to)
      const inTransaction = (transaction: Transaction): MoveTransaction => ({
        ...transaction,
        endAt: (earlier) => {
          const next = seenAt(earlier)
          return Effect.map(transaction.endAt(earlier, next.seen), () => {
            reached = next
          })
        }
      })
      const moved = store.transact({ key, from: position, to, seen: reached.seen }, (view, transaction) =>
        work(view, inTransaction(transaction))
      ) as Effect.Effect<A, E | ProcessError>
      return Effect.onExit(moved, (exit) =>
        Effect.sync(() => {
          moves++
          if (!Exit.isSuccess(exit)) return
          position = reached.to
          seen = reached.seen
          pending = pending.slice(reached.count)
        })
      )
    })

  return {
    position: () => position,
    end: () => end,
    seen: () => seen,
    begin: ({ notifications }) => {
      pending = notifications
    },
    finish: (batchEnd) => {
      end = batchEnd
      // the next move is not to a position before the end of this batch
      if (pending.length > 0) seen = Upstream.note(aggregates, seen, pending, batchEnd)
      pending = []
    },
    move,
    catchUp: Effect.suspend(() =>
      end === undefined || (position !== undefined && position >= end) ? Effect.void : move(end, () => Effect.void)
    ),
    // also while a handler is running, or will be retried; a move that is under way notices on its own
    check: Effect.suspend(() => {
      const began = moves
      if (began % 2 === 1) return Effect.void
      return Effect.flatMap(store.versions(key), (all): Effect.Effect<void, ProcessError> => {
        if (moves !== began) return Effect.void
        const own = all.find(({ version }) => version === key.version)
        const { projection: name, version, upstream } = key
        if (own?.status === "retired" && !own.ready) {
          const by = all.find(({ status }) => status === "current")?.version ?? version
          return Effect.fail(new ProjectionSuperseded({ projection: name, version, by }))
        }
        return own !== undefined && own.position === position
          ? Effect.void
          : Effect.fail(new TrackingConflict({ projection: name, upstream, expected: position, actual: own?.position }))
      })
    })
  }
}
