/** Projections that are updated in the transactions that append. */
import { Cause, Context, Effect, Metric, Schedule } from "effect"
import type { SqlClient } from "effect/sql"
import type { ReadError, RecorderError } from "../../EventSourcingError.ts"
import { isRecorderError, RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Append } from "../../Recorder.ts"
import { Recorder } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import type * as Tracking from "../../Tracking.ts"
import { TransactionalAppend } from "../../TransactionalAppend.ts"
import type { SqlView } from "../../View.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { isLastPage, PAGE_BYTES } from "../backend/pageSize.ts"
import { explain, isTransient, wasRolledBack } from "../errors/transient.ts"
import { reconnect } from "../following/reconnect.ts"
import * as Metrics from "../observability/metrics.ts"
import * as BatchSize from "./batchSize.ts"
import { openView } from "./openView.ts"
import { trackingKey } from "./trackingKey.ts"

/** What a database does for the inline projections of its log. */
export interface InlineDatabase {
  readonly store: ViewStore<SqlView, SqlClient.SqlClient>
  /**
   * Switches a projection from catching up to being updated inline, in a transaction in which nobody appends. If the
   * effect returns true, the database refuses, once the transaction has ended, every append to these categories that
   * does not update the projection; if it returns false, another process has already switched.
   */
  readonly switchOver: <E>(
    key: Tracking.Key,
    categories: ReadonlyArray<string>,
    self: Effect.Effect<boolean, E>
  ) => Effect.Effect<boolean, E | RecorderError>
  /** Declares, within the transaction, which projections the next append has updated. */
  readonly declare: (keys: ReadonlyArray<Tracking.Key>) => Effect.Effect<void, RecorderError>
}

/** The database's error for an append that does not update an inline projection; without quotes, for SQL. */
export const refusal = ({ projection, version }: Tracking.Key): string =>
  `version ${version} of projection ${projection} is maintained inline, but this writer does not maintain it; pass the projection in the option inline of the layer of the log`

type AnyRecorded = Positioned<string, { readonly _tag: string }>
type Decode = (page: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<AnyRecorded>, ReadError>

/** A running inline projection. */
interface Inline {
  readonly key: Tracking.Key
  readonly categories: ReadonlySet<string>
  /** Returns how many of the events the projection handles. */
  readonly handle: (events: ReadonlyArray<Notification>, view: SqlView) => Effect.Effect<number, RecorderError>
  /** Counts events whose transaction was committed. */
  readonly count: (events: number) => Effect.Effect<void>
}

/**
 * When to retry an append that was rolled back in favour of another. An append that has waited for a deadlock is slow
 * already.
 */
const deadlocks = Schedule.exponential("20 millis", 1.5).pipe(Schedule.jittered, Schedule.upTo({ times: 20 }))

/** How many events a transaction handles while a view catches up. */
const PAGE = 512

const make = (projection: Projection.Inline, decode: Decode, context: Context.Context<never>): Inline => {
  const { name, aggregates, compiled } = projection
  const byName = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]))
  const projected = Metric.withAttributes(Metrics.projected, Metrics.attributesOf(projection))
  const isWanted = ({ stream, type }: Notification): boolean => {
    const aggregate = byName.get(StreamName.category(stream))
    if (aggregate === undefined) return false
    const event = aggregate.compiled.byType.get(type)
    return event === undefined || compiled.handles(aggregate.name, event.tag)
  }
  const failed = (cause: unknown): RecorderError => {
    const failure = { operation: `update inline projection "${name}"`, reason: explain(cause), cause }
    return isTransient(cause) ? new RecorderUnavailable(failure) : new RecorderFailure(failure)
  }
  return {
    key: trackingKey(projection),
    categories: new Set(byName.keys()),
    handle: (events, view) => {
      const wanted = events.filter(isWanted)
      if (wanted.length === 0) return Effect.succeed(0)
      return decode(wanted).pipe(
        Effect.flatMap(
          (decoded) => compiled.handle(decoded.map(withoutPosition), view) as Effect.Effect<unknown, unknown>
        ),
        Effect.as(wanted.length),
        // including what a handler throws
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.failCause(cause as Cause.Cause<never>)
            : Effect.fail(failed(Cause.squash(cause)))
        )
      )
    },
    count: (events) => Effect.provide(Metric.update(projected, events), context)
  }
}

/** An inline projection's events have no position, even while the view is built from events that have one. */
const withoutPosition = ({ position: _, ...event }: AnyRecorded): AnyRecorded => event as AnyRecorded

/** The events of appends in their future places. Their positions are not known yet. */
const notificationsOf = (appends: ReadonlyArray<Append>): ReadonlyArray<Notification> =>
  appends.flatMap(({ stream, expected, events }) => {
    const first = expected === "NoStream" ? 0 : expected + 1
    return events.map((event, i) => ({ ...event, stream, version: first + i, position: 0n as Position }))
  })

/** Brings a view to the end of the log, and switches it to being updated inline from there. */
const goLive = Effect.fnUntraced(function* (
  projection: Projection.Inline,
  { key, handle, count, categories }: Inline,
  recorder: Recorder["Service"],
  { store, switchOver }: InlineDatabase,
  maxBytes: number
) {
  const opened = yield* openView(store, projection, "inline", recorder)
  if (opened.status === "current") return
  let position = opened.position
  const names = [...categories]
  const size = BatchSize.make(PAGE)
  const page = Effect.fnUntraced(function* () {
    const head = yield* recorder.head
    const filter = { categories: names }
    const bounds = { limit: size.next(), maxBytes }
    // up to the head, to which the tracking moves: later events belong to the next page
    const events = yield* recorder.readAll({ after: position, upTo: head, filter, ...bounds })
    const isLast = isLastPage(events, bounds)
    const last = isLast ? head : events[events.length - 1]?.position
    // the newest events may have been erased: the log then ends before the position
    if (last === undefined || (position !== undefined && last <= position)) return false
    const handled = yield* store.transact({ key, from: position, to: last }, (view, { left }) => {
      const before = left()
      return Effect.tap(handle(events, view), () =>
        Effect.sync(() => size.adapt(events.length, before - left(), left()))
      )
    })
    yield* count(handled)
    position = last
    return !isLast
  })
  while (yield* page()) yield* Effect.yieldNow
  const isNew = yield* switchOver(
    key,
    names,
    Effect.gen(function* () {
      const versions = yield* store.versions(key)
      if (versions.some(({ version, status }) => version === key.version && status === "current")) return false
      while (yield* page()) yield* Effect.yieldNow
      if (!(yield* store.promote(key, { keep: true }))) {
        return yield* new RecorderFailure({
          operation: `promote inline projection "${projection.name}"`,
          reason: `version ${key.version} lags behind the current one, or is lower; give it a higher version`
        })
      }
      return true
    })
  )
  if (!isNew) return
  yield* Effect.logInfo(`version ${key.version} of inline projection "${projection.name}" is now the current one`)
})

const toRecorderError =
  (name: string) =>
  (error: RecorderError | { readonly message: string }): RecorderError =>
    isRecorderError(error)
      ? error
      : new RecorderFailure({ operation: `open inline projection "${name}"`, reason: error.message, cause: error })

/** The services that append to a log. */
export type InlineServices = Recorder | MultiStreamAppend | TrackedAppend | TransactionalAppend

/** The recorders of a log, with projections that every append updates. */
export const withInline = Effect.fnUntraced(function* <S>(
  services: Context.Context<S | InlineServices>,
  projections: ReadonlyArray<Projection.Inline>,
  decodeOf: (projection: Projection.Inline) => Decode,
  database: InlineDatabase,
  pageBytes: number = PAGE_BYTES
): Effect.fn.Return<Context.Context<S>, RecorderError> {
  const recorder = Context.get(services, Recorder)
  const tracked = Context.get(services, TrackedAppend)
  const transactional = Context.get(services, TransactionalAppend)
  // the metrics belong to the scope that builds the layer
  const context = yield* Effect.context<never>()
  const twice = projections.find(({ name }, i) => projections.findIndex((one) => one.name === name) < i)
  if (twice !== undefined) {
    const reason = "two inline projections have this name"
    return yield* new RecorderFailure({ operation: `open inline projection "${twice.name}"`, reason })
  }
  const inlines: Array<Inline> = []
  for (const projection of projections) {
    const inline = make(projection, decodeOf(projection), context)
    yield* goLive(projection, inline, recorder, database, pageBytes).pipe(
      // other processes that start now may be building the same view
      Effect.retry({ schedule: reconnect, while: ({ _tag }) => _tag === "TrackingConflict" }),
      Effect.mapError(toRecorderError(projection.name))
    )
    inlines.push(inline)
  }

  const concerned = (appends: ReadonlyArray<Append>): ReadonlyArray<Inline> =>
    inlines.filter(({ categories }) => appends.some(({ stream }) => categories.has(StreamName.category(stream))))

  /** Runs the handlers first, and then the append. */
  const append: TransactionalAppend["Service"]["append"] = (request, work) =>
    Effect.suspend(() => {
      const found = concerned(request.appends)
      if (found.length === 0) return transactional.append(request, work)
      const events = notificationsOf(request.appends)
      /** The counts of the projections; empty if the append was recorded before. */
      let counts: ReadonlyArray<number> = []
      const handled = Effect.forEach(found, ({ key, handle }) =>
        database.store.read(key, (view) => handle(events, view))
      )
      const appended = transactional.append(
        request,
        work.pipe(
          Effect.andThen(handled),
          Effect.tap((all) =>
            Effect.sync(() => {
              counts = all
            })
          ),
          Effect.andThen(database.declare(found.map(({ key }) => key)))
        )
      )
      return Effect.tap(appended, () => Effect.forEach(counts, (count, i) => found[i]?.count(count) ?? Effect.void))
    })

  /**
   * An append in a transaction of its own, with no other work in it. The handlers of concurrent appends may need the
   * same rows in a different order, and the database then aborts one of them, which is retried.
   */
  const appendAlone = (request: Parameters<typeof append>[0]) =>
    Effect.contextWith((context: Context.Context<never>) => {
      const once = append(request, Effect.void)
      return recorder.inTransaction?.(context) === true
        ? once
        : Effect.retry(once, { schedule: deadlocks, while: wasRolledBack })
    })

  return Context.mergeAll(
    services,
    Context.make(
      Recorder,
      Recorder.of({
        ...recorder,
        append: (one) =>
          concerned([one]).length === 0
            ? recorder.append(one)
            : (Effect.map(appendAlone({ appends: [one] }), ({ versions, position, positions }) => ({
                version: versions[0],
                position,
                positions: positions?.[0]
              })) as ReturnType<Recorder["Service"]["append"]>)
      })
    ),
    Context.make(
      MultiStreamAppend,
      MultiStreamAppend.of({
        append: (appends, checks) =>
          concerned(appends).length === 0
            ? Context.get(services, MultiStreamAppend).append(appends, checks)
            : (appendAlone({ appends, checks }) as ReturnType<MultiStreamAppend["Service"]["append"]>)
      })
    ),
    Context.make(
      TrackedAppend,
      TrackedAppend.of({
        ...tracked,
        append: (appends, move, checks) =>
          concerned(appends).length === 0
            ? tracked.append(appends, move, checks)
            : (appendAlone({ appends, checks, move }) as ReturnType<TrackedAppend["Service"]["append"]>)
      })
    ),
    Context.make(TransactionalAppend, TransactionalAppend.of({ append }))
  ) as Context.Context<S>
})
