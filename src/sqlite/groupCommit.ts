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

  const takeBatch = (): Array<Pending> => {
    pending = pending.filter(({ cancelled }) => !cancelled)
    let events = 0
    let count = 0
    for (const one of pending) {
      if (count > 0 && (one.alone || count === MAX_APPENDS || events + one.events > MAX_EVENTS)) break
      events += one.events
      count++
      if (one.alone) break
    }
    return pending.splice(0, count)
  }

  const fail = (batch: ReadonlyArray<Pending>, error: RecorderError): void => {
    for (const { resume } of batch) resume(Effect.fail(error))
  }

  /**
   * Runs the next batch in the open transaction, and returns how many writes it contained. Never throws: each write of
   * the batch gets an outcome, and none before it is certain that the file is still the one that was opened.
   */
  const runBatch = (): number => {
    const batch = takeBatch()
    const answers: Array<Effect.Effect<unknown, unknown>> = []
    try {
      for (const one of batch) answers.push(Effect.fromResult(one.work()))
      commit.run()
      check()
    } catch (cause) {
      const error = toRecorderError("append", filename, cause)
      try {
        rollback(writer)
        check()
      } catch {
        // the connection is unusable: every write of the batch has to be notified
        fail(batch, error)
        return batch.length
      }
      if (batch.length === 1) {
        fail(batch, error)
      } else {
        // whichever of them failed: each is repeated in a transaction of its own, so that one failure fails only one
        // write
        for (const one of batch) one.alone = true
        pending = [...batch, ...pending]
      }
      return batch.length
    }
    for (const signal of database.changeSignals) signal.notify()
    batch.forEach(({ resume }, i) => {
      resume(answers[i] as Effect.Effect<unknown, unknown>)
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
      const waited = (one: Pending) => now - (one.since ?? now)
      const expired = pending.filter((one) => waited(one) >= lockTimeout)
      pending = pending.filter((one) => waited(one) < lockTimeout)
      for (const one of expired) fail([one], new RecorderUnavailable({ ...error, waited: waited(one) }))
    })

  /** Since when the first write has waited. */
  const beginsToWait = (): number | undefined => {
    isWaiting = true
    for (const one of pending) one.since ??= clock.currentTimeMillisUnsafe()
    return pending[0]?.since
  }

  const inTurn = Effect.suspend(() => {
    isWaiting = false
    return drain
  }).pipe(queue.withTurn("append", identity, beginsToWait), Effect.catch(expire))

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
      const answer = (exit: Parameters<typeof resume>[0]) => resumeSafely(() => resume(exit))
      const since = isWaiting ? clock.currentTimeMillisUnsafe() : undefined
      const one: Pending = { work, events, since, resume: answer as Pending["resume"], cancelled: false, alone: false }
      pending.push(one)
      wake?.()
      return Effect.sync(() => {
        one.cancelled = true
      })
    })
  return { run } satisfies GroupCommit
})
