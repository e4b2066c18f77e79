import type { Result } from "effect"
import { Clock, Effect, identity } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderUnavailable } from "../EventSourcingError.ts"
import { resumeSafely } from "../internal/concurrency/resumeSafely.ts"
import { toRecorderError } from "./errors.ts"
import type { SqliteDatabase } from "./SqliteDatabase.ts"
import { rollback } from "./SqliteDatabase.ts"

/** Work for one write transaction: synchronous; a failed result is its answer, a throw is the database's. */
type Work = () => Result.Result<unknown, unknown>

interface Pending {
  readonly work: Work
  readonly events: number
  /** Since when it has waited for the queue, in milliseconds; `undefined` where that is not waited for. */
  since: number | undefined
  readonly resume: (exit: Effect.Effect<unknown, unknown>) => void
  /** Set when its fiber was interrupted before its turn came. */
  cancelled: boolean
  /** Set when a transaction that it was part of failed: next time it has one of its own. */
  alone: boolean
}

/** The most that one transaction takes: as many appends, or as many events. */
const MAX_APPENDS = 512
const MAX_EVENTS = 4096

/** How long transactions may follow each other without a step of the event loop between them. */
const MAX_MILLIS_AT_ONCE = 1

/** Coalesces concurrent writes of this process into one transaction each time, with an answer for each of them. */
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
  /** Whether another holds the queue, as far as is known: only then it matters since when each has waited. */
  let isWaiting = false

  const unavailable = (operation: string) =>
    new RecorderUnavailable({ operation, reason: `SQLite file "${filename}" was closed` })

  /** Waits until there is work, and then for its turn: those that are ready to run now get to add theirs to it. */
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
   * Runs the next batch in the transaction that is open; tells how many were in it. Never throws: each of the batch gets
   * its answer, none before it is known that the file is still the one that was opened.
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
        // the connection is beyond use: every one of them has to hear of it
        fail(batch, error)
        return batch.length
      }
      if (batch.length === 1) {
        fail(batch, error)
      } else {
        // whichever it was: each of them again, in a transaction of its own, so that one failure fails one
        for (const one of batch) one.alone = true
        pending = [...batch, ...pending]
      }
      return batch.length
    }
    for (const growth of database.growths) growth.notify()
    batch.forEach(({ resume }, i) => {
      resume(answers[i] as Effect.Effect<unknown, unknown>)
    })
    return batch.length
  }

  /**
   * Runs batches for as long as all who were answered come straight back with more: then nobody else is about to join
   * them, and a step of the event loop before each transaction would be lost. Not for long, since others need those steps.
   */
  const runBatches = (): void => {
    const end = performance.now() + MAX_MILLIS_AT_ONCE
    let answered: number
    do {
      // also in between: those who are answered run before the next
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

  /** Fails those who have waited for the queue for as long as that may be; who came later goes on waiting. */
  const expire = (error: RecorderUnavailable) =>
    Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      const waited = (one: Pending) => now - (one.since ?? now)
      const expired = pending.filter((one) => waited(one) >= lockTimeout)
      pending = pending.filter((one) => waited(one) < lockTimeout)
      for (const one of expired) fail([one], new RecorderUnavailable({ ...error, waited: waited(one) }))
    })

  /** Since when the first has waited. */
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
    // each turn is a step of the event loop already
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
