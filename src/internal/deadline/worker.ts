/** Decides on what is due: on many aggregates at once, in the order in which they are due. */
import type { Schedule, Scope } from "effect"
import { Cause, Clock, Effect, Exit, FiberSet, Metric, Semaphore } from "effect"
import type { Failure } from "../../Deadline.ts"
import { pausesOf } from "../concurrency/pauses.ts"
import { messageOf } from "../errors/messageOf.ts"
import { isTransient } from "../errors/transient.ts"
import type { ChangeSignal } from "../following/changeSignal.ts"
import { makeChangeSignal } from "../following/changeSignal.ts"
import * as Metrics from "../observability/metrics.ts"
import type { Row } from "./dueRow.ts"
import { makeKnown } from "./known.ts"

/** The outcome for an aggregate that was due according to the index. */
export type Decided =
  /** Events were recorded; `dueAt` is when they were due. */
  | { readonly _tag: "Recorded"; readonly dueAt: number }
  /** Nothing is due on it at its version: it will be due at `dueAt`, or never. */
  | { readonly _tag: "NotDue"; readonly dueAt: number | undefined; readonly version: number | undefined }

/** The parameters of a worker. */
export interface Parts<out E, out R> {
  readonly deadline: string
  /** The name of the aggregate. */
  readonly aggregate: string
  readonly page: (after: Row | undefined, limit: number) => Effect.Effect<ReadonlyArray<Row>, unknown, R>
  readonly decide: (id: string, now: number) => Effect.Effect<Decided, E, R>
  readonly concurrency: number
  readonly retry: Schedule.Schedule<unknown>
  readonly attributes: Metric.Metric.AttributeSet
}

/** The result of a pass over the index. */
export interface Pass {
  /** How many decisions were begun. */
  readonly begun: number
  /** When to look again at the latest, in milliseconds since the epoch. */
  readonly next: number | undefined
  /** Why the last decision could not be taken; set if the log can't be reached. */
  readonly outage: unknown
}

export interface Worker<out E, out R> {
  /** Begins to decide on all aggregates that are due now. */
  readonly pass: Effect.Effect<Pass, unknown, R>
  /** Waits until all decisions have ended. */
  readonly idle: Effect.Effect<void>
  /** How many decisions were recorded. */
  readonly recorded: () => number
  /** The current failures, in the order in which they are due; the same array until they change. */
  readonly failures: () => ReadonlyArray<Failure<E>>
  /** Notifies of decisions that have ended without a change of the log. */
  readonly ended: ChangeSignal
  /** Forgets what is known of aggregates, because another runner decides now. */
  readonly forget: () => void
}

/** Most wake-ups find nothing due, and one row that will be due. */
const FIRST_PAGE = 16
const PAGE = 256

/** After this many decisions, the index is read from its start again: what is due first comes first. */
const MOST = 4096

export const makeWorker = <E, R>(parts: Parts<E, R>): Effect.Effect<Worker<E, R>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { aggregate, attributes, concurrency, deadline } = parts
    const fibers = yield* FiberSet.make<void>()
    const permits = Semaphore.makeUnsafe(concurrency)
    const running = new Set<string>()
    const known = makeKnown<E>()
    const ended = makeChangeSignal()
    let recorded = 0
    let hasWarned = false
    /** How many decisions in a row could not reach the log, and why the last one could not. */
    const outage: { count: number; cause: unknown } = { count: 0, cause: undefined }

    const hasRecorded = (row: Row, now: number, { dueAt }: { readonly dueAt: number }): Effect.Effect<void> => {
      recorded++
      known.note(row, Number.POSITIVE_INFINITY)
      return Effect.andThen(
        Metric.update(Metric.withAttributes(Metrics.deadlineDecisions, attributes), 1),
        Metric.update(Metric.withAttributes(Metrics.deadlineLateness, attributes), (now - dueAt) / 1000)
      )
    }

    const wasNotDue = (row: Row, { dueAt, version }: Decided & { readonly _tag: "NotDue" }): Effect.Effect<void> => {
      known.note(row, dueAt ?? Number.POSITIVE_INFINITY)
      ended.notify()
      // the time of a row whose aggregate could not be loaded is meaningless
      if (hasWarned || version !== row.version || row.dueAt === 0) return Effect.void
      hasWarned = true
      return Effect.logWarning(
        `the index of deadline "${deadline}" says that ${aggregate} "${row.id}" is due at ${new Date(row.dueAt).toISOString()}, and due returns ${dueAt === undefined ? "undefined" : new Date(dueAt).toISOString()} for the same version: if due was changed, raise the version of the deadline`
      )
    }

    const hasFailed = Effect.fnUntraced(function* (row: Row, cause: E) {
      const before = known.of(row)
      const attempts = (before?.failure?.attempts ?? 0) + 1
      const pauses = before?.pauses ?? (yield* pausesOf(parts.retry))
      const now = yield* Clock.currentTimeMillis
      const pause = yield* pauses(now, cause)
      const nextAttempt = pause === undefined ? undefined : now + pause
      const failure = { id: row.id, dueAt: row.dueAt, cause, attempts, nextAttempt }
      known.note(row, nextAttempt ?? Number.POSITIVE_INFINITY, { failure, pauses })
      ended.notify()
      yield* Metric.update(Metric.withAttributes(Metrics.deadlineRetries, attributes), 1)
      if (attempts !== 1 && attempts % 10 !== 0) return
      yield* Effect.logWarning(
        `deadline "${deadline}" failed ${attempts === 1 ? "once" : `${attempts} times`} on ${aggregate} "${row.id}": ${messageOf(cause)}`
      )
    })

    const decideOn = Effect.fnUntraced(function* (row: Row) {
      const now = yield* Clock.currentTimeMillis
      const exit = yield* Effect.exit(Effect.suspend(() => parts.decide(row.id, now)))
      if (Exit.isSuccess(exit)) {
        outage.count = 0
        return yield* exit.value._tag === "Recorded" ? hasRecorded(row, now, exit.value) : wasNotDue(row, exit.value)
      }
      if (Cause.hasInterruptsOnly(exit.cause)) return
      const cause = Cause.squash(exit.cause) as E
      outage.count = isTransient(cause) ? outage.count + 1 : 0
      outage.cause = cause
      yield* hasFailed(row, cause)
    })

    const begin = (row: Row): Effect.Effect<void, never, R> =>
      Effect.gen(function* () {
        yield* permits.take(1)
        running.add(row.id)
        const work = Effect.ensuring(
          decideOn(row),
          Effect.suspend(() => {
            running.delete(row.id)
            return permits.release(1)
          })
        )
        yield* Effect.asVoid(FiberSet.run(fibers, work))
      })

    const pass: Effect.Effect<Pass, unknown, R> = Effect.gen(function* () {
      known.beginPass()
      let begun = 0
      let after: Row | undefined
      let limit = FIRST_PAGE
      while (true) {
        const rows = yield* parts.page(after, limit)
        const now = yield* Clock.currentTimeMillis
        for (const row of rows) {
          if (row.dueAt > now) {
            known.sweep(Number.POSITIVE_INFINITY)
            return { begun, next: known.next(row.dueAt, running), outage: undefined }
          }
          if (running.has(row.id) || known.isWaiting(row, now)) continue
          if (outage.count >= concurrency) {
            outage.count = 0
            return { begun, next: undefined, outage: outage.cause }
          }
          yield* begin(row)
          begun++
        }
        after = rows.at(-1)
        if (rows.length < limit || after === undefined) {
          known.sweep(Number.POSITIVE_INFINITY)
          return { begun, next: known.next(undefined, running), outage: undefined }
        }
        if (begun >= MOST) {
          known.sweep(after.dueAt)
          return { begun, next: now, outage: undefined }
        }
        limit = PAGE
      }
    })

    return {
      pass,
      idle: FiberSet.awaitEmpty(fibers),
      recorded: () => recorded,
      failures: known.failures,
      ended,
      forget: known.forget
    }
  })
