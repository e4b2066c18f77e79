import type { StatementSync } from "node:sqlite"
import type { Result } from "effect"
import { Clock, Effect, identity } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderUnavailable } from "../EventSourcingError.ts"
import { resumeSafely } from "../internal/concurrency/resumeSafely.ts"
import { toRecorderError } from "./errors.ts"
import type { SqliteDatabase } from "./SqliteDatabase.ts"
import { rollback } from "./SqliteDatabase.ts"

/**
 * Work for one write transaction. It is synchronous; a failed result is its own outcome, a throw is a failure of the
 * database.
 */
type Work = () => Result.Result<unknown, unknown>

interface Pending {
  readonly work: Work
  readonly events: number
  /** Since when it has waited for the queue, in milliseconds; `undefined` if nobody has to wait for it. */
  since: number | undefined
  readonly resume: (exit: Effect.Effect<unknown, unknown>) => void
  /** Set if its fiber was interrupted before its turn. */
  cancelled: boolean
  /** Set if a transaction that contained it failed: it is then repeated in a transaction of its own. */
  alone: boolean
}

/** The most that one transaction contains: this many appends, or this many events. */
const MAX_APPENDS = 512
const MAX_EVENTS = 4096

/** For how long transactions may follow each other without a step of the event loop in between. */
const MAX_MILLIS_AT_ONCE = 1

/** Coalesces concurrent writes of this process into shared transactions, with an outcome for each of them. */
export interface GroupCommit {
  readonly run: <A, E>(
    operation: string,
    events: number,
    work: () => Result.Result<A, E>
  ) => Effect.Effect<A, E | RecorderError>
}

/** How many of the pending writes the next transaction contains. */
const batchSize = (pending: ReadonlyArray<Pending>): number => {
  let events = 0
  let count = 0
  for (const write of pending) {
    if (count > 0 && (write.alone || count === MAX_APPENDS || events + write.events > MAX_EVENTS)) break
    events += write.events
    count++
    if (write.alone) break
  }
  return count
}

/** The outcome of a batch. */
interface Committed {
  readonly outcomes: ReadonlyArray<Effect.Effect<unknown, unknown>>
  /** Why nothing of it was committed, if nothing was. */
  readonly error: RecorderError | undefined
  /** Whether the connection can still be used. */
  readonly isUsable: boolean
}

/** Runs a batch in the open transaction, and commits it or rolls it back. */
const commitBatch = (
  { check, filename, writer }: SqliteDatabase,
  commit: StatementSync,
  batch: ReadonlyArray<Pending>
): Committed => {
  const outcomes: Array<Effect.Effect<unknown, unknown>> = []
  try {
    for (const write of batch) outcomes.push(Effect.fromResult(write.work()))
    commit.run()
    check()
    return { outcomes, error: undefined, isUsable: true }
  } catch (cause) {
    const error = toRecorderError("append", filename, cause)
    try {
      rollback(writer)
      check()
      return { outcomes, error, isUsable: true }
    } catch {
      return { outcomes, error, isUsable: false }
    }
  }
}

/** Starts the writer, which stops with the scope. */
export const make = Effect.fnUntraced(function* (database: SqliteDatabase) {
  const { writer, filename, queue, check, lockTimeout } = database
  const clock = yield* Clock.Clock
  const begin = writer.prepare("BEGIN IMMEDIATE")
  const commit = writer.prepare("COMMIT")
  let pending: Array<Pending> = []
  let wake: (() => void) | undefined
  let closed = false
  /** Whether another is known to hold the queue: only then does it matter since when each write has waited. */
  let isWaiting = false

  const unavailable = (operation: string) =>
    new RecorderUnavailable({ operation, reason: `SQLite file "${filename}" was closed` })

  /**
   * Waits until there is work, and then for a turn of the dispatcher, so that fibers that are ready to run can add
   * theirs.
   */
  const turn = Effect.withFiber((fiber) =>
    Effect.callback<void>((resume) => {
      const begin = () => fiber.currentDispatcher.scheduleTask(() => resume(Effect.void), 0)
      if (pending.length > 0) return begin()
      wake = () => {
        wake = undefined
        begin()
      }
      return Effect.sync(() => {
        wake = undefined
      })
    })
  )

  const fail = (batch: ReadonlyArray<Pending>, error: RecorderError): void => {
    for (const { resume } of batch) resume(Effect.fail(error))
  }

  /**
   * Runs the next batch in the open transaction, and returns how many writes it contained. Never throws: each write of
   * the batch gets an outcome, and none before it is certain that the file is still the one that was opened.
   */
  const runBatch = (): number => {
    pending = pending.filter(({ cancelled }) => !cancelled)
    const batch = pending.splice(0, batchSize(pending))
    const { outcomes, error, isUsable } = commitBatch(database, commit, batch)
    if (error !== undefined) {
      if (!isUsable || batch.length === 1) {
        fail(batch, error)
      } else {
        // whichever of them failed: each is repeated in a transaction of its own, so that one failure fails only one
        // write
        for (const write of batch) write.alone = true
        pending = [...batch, ...pending]
      }
      return batch.length
    }
    for (const signal of database.changeSignals) signal.notify()
    batch.forEach(({ resume }, i) => {
      resume(outcomes[i] as Effect.Effect<unknown, unknown>)
    })
    return batch.length
  }

  /**
   * Runs batches for as long as every answered write is followed by a new one. No others are about to join then, and a
   * step of the event loop before each transaction would be wasted. This is limited in time, since others need those
   * steps.
   */
  const runBatches = (): void => {
    const end = performance.now() + MAX_MILLIS_AT_ONCE
    let answered: number
    do {
      // checked in between too: fibers that got their outcome run before the next batch
      check()
      begin.run()
      answered = runBatch()
    } while (pending.length > 0 && pending.length >= answered && performance.now() < end)
  }

  const drain = Effect.catch(database.attempt("append", runBatches), (error) =>
    Effect.sync(() => {
      const waited = pending
      pending = []
      fail(waited, error)
    })
  )

  /** Fails the writes that have waited for the queue as long as they may; later ones keep waiting. */
  const expire = (error: RecorderUnavailable) =>
    Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      const waited = (write: Pending) => now - (write.since ?? now)
      const expired = pending.filter((write) => waited(write) >= lockTimeout)
      pending = pending.filter((write) => waited(write) < lockTimeout)
      for (const write of expired) fail([write], new RecorderUnavailable({ ...error, waited: waited(write) }))
    })

  /** Since when the first write has waited. */
  const noteWait = (): number | undefined => {
    isWaiting = true
    for (const write of pending) write.since ??= clock.currentTimeMillisUnsafe()
    return pending[0]?.since
  }

  const inTurn = Effect.suspend(() => {
    isWaiting = false
    return drain
  }).pipe(queue.withTurn("append", identity, noteWait), Effect.catch(expire))

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      fail(pending, unavailable("append"))
      pending = []
    })
  )
  yield* turn.pipe(
    Effect.andThen(inTurn),
    // each turn is already a step of the event loop
    Effect.forever({ disableYield: true }),
    Effect.forkScoped({ startImmediately: true })
  )

  const run: GroupCommit["run"] = (operation, events, work) =>
    Effect.callback((resume) => {
      if (closed) return resume(Effect.fail(unavailable(operation)))
      const settle = (outcome: Parameters<typeof resume>[0]) => resumeSafely(() => resume(outcome))
      const since = isWaiting ? clock.currentTimeMillisUnsafe() : undefined
      const write: Pending = {
        work,
        events,
        since,
        resume: settle as Pending["resume"],
        cancelled: false,
        alone: false
      }
      pending.push(write)
      wake?.()
      return Effect.sync(() => {
        write.cancelled = true
      })
    })
  return { run } satisfies GroupCommit
})
