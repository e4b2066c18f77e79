/** Appends whose transactions also update inline projections. */
import { Context, Effect, Schedule } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderError, RecorderFailure } from "../../EventSourcingError.ts"
import { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Append } from "../../Recorder.ts"
import { Recorder } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import type { Request } from "../../TransactionalAppend.ts"
import { TransactionalAppend } from "../../TransactionalAppend.ts"
import { PAGE_BYTES } from "../backend/pageSize.ts"
import { wasRolledBack } from "../errors/transient.ts"
import { reconnect } from "../following/reconnect.ts"
import type { InlineDatabase } from "./inlineDatabase.ts"
import type { Decode, Inline } from "./inlineProjection.ts"
import { makeInline } from "./inlineProjection.ts"
import { startInline } from "./startInline.ts"

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
  // the metrics belong to the scope that builds the layer
  const context = yield* Effect.context<never>()
  const duplicate = projections.find(({ name }, i) => projections.findIndex((other) => other.name === name) < i)
  if (duplicate !== undefined) {
    const reason = "two inline projections have this name"
    return yield* new RecorderFailure({ operation: `open inline projection "${duplicate.name}"`, reason })
  }
  const inlines: Array<Inline> = []
  for (const projection of projections) {
    const inline = makeInline(projection, decodeOf(projection), context)
    yield* startInline(projection, inline, Context.get(services, Recorder), database, pageBytes).pipe(
      // other processes that start now may be building the same view
      Effect.retry({ schedule: reconnect, while: ({ _tag }) => _tag === "TrackingConflict" }),
      Effect.mapError(toRecorderError(projection.name))
    )
    inlines.push(inline)
  }
  return withHandlers(services, inlines, database)
})

const toRecorderError =
  (name: string) =>
  (error: RecorderError | { readonly message: string }): RecorderError =>
    isRecorderError(error)
      ? error
      : new RecorderFailure({ operation: `open inline projection "${name}"`, reason: error.message, cause: error })

/**
 * When to retry an append that was rolled back in favour of another. An append that has waited for a deadlock is slow
 * already.
 */
const deadlocks = Schedule.exponential("20 millis", 1.5).pipe(Schedule.jittered, Schedule.upTo({ times: 20 }))

/** The events of appends in their future places. Their positions are not known yet. */
const notificationsOf = (appends: ReadonlyArray<Append>): ReadonlyArray<Notification> =>
  appends.flatMap(({ stream, expected, events }) => {
    const first = expected === "NoStream" ? 0 : expected + 1
    return events.map((event, i) => ({ ...event, stream, version: first + i, position: 0n as Position }))
  })

/** The services with appends that first run the handlers of the inline projections that they affect. */
const withHandlers = <S>(
  services: Context.Context<S | InlineServices>,
  inlines: ReadonlyArray<Inline>,
  database: InlineDatabase
): Context.Context<S> => {
  const recorder = Context.get(services, Recorder)
  const multiStream = Context.get(services, MultiStreamAppend)
  const tracked = Context.get(services, TrackedAppend)
  const transactional = Context.get(services, TransactionalAppend)

  const affectedBy = (appends: ReadonlyArray<Append>): ReadonlyArray<Inline> =>
    inlines.filter(({ categories }) => appends.some(({ stream }) => categories.has(StreamName.category(stream))))

  const append: TransactionalAppend["Service"]["append"] = (request, work) =>
    Effect.suspend(() => {
      const affected = affectedBy(request.appends)
      return affected.length === 0
        ? transactional.append(request, work)
        : appendWithHandlers(transactional, affected, database, request, work)
    })

  /**
   * An append in a transaction of its own, with no other work in it. The handlers of concurrent appends may need the
   * same rows in a different order, and the database then aborts one of them, which is retried.
   */
  const appendAlone = (request: Request) =>
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
        append: (request) =>
          affectedBy([request]).length === 0
            ? recorder.append(request)
            : (Effect.map(appendAlone({ appends: [request] }), ({ versions, position, positions }) => ({
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
          affectedBy(appends).length === 0
            ? multiStream.append(appends, checks)
            : (appendAlone({ appends, checks }) as ReturnType<MultiStreamAppend["Service"]["append"]>)
      })
    ),
    Context.make(
      TrackedAppend,
      TrackedAppend.of({
        ...tracked,
        append: (appends, move, checks) =>
          affectedBy(appends).length === 0
            ? tracked.append(appends, move, checks)
            : (appendAlone({ appends, checks, move }) as ReturnType<TrackedAppend["Service"]["append"]>)
      })
    ),
    Context.make(TransactionalAppend, TransactionalAppend.of({ append }))
  ) as Context.Context<S>
}

/** Does the work, runs the handlers, and then appends: in one transaction. */
const appendWithHandlers = <R>(
  transactional: TransactionalAppend["Service"],
  affected: ReadonlyArray<Inline>,
  { declare, store }: InlineDatabase,
  request: Request,
  work: Effect.Effect<unknown, RecorderError, R>
) => {
  const events = notificationsOf(request.appends)
  /** The counts of the projections; empty if the append was recorded before. */
  let counts: ReadonlyArray<number> = []
  const handled = Effect.forEach(affected, ({ key, handle }) => store.read(key, (view) => handle(events, view)))
  const appended = transactional.append(
    request,
    work.pipe(
      Effect.andThen(handled),
      Effect.tap((all) =>
        Effect.sync(() => {
          counts = all
        })
      ),
      Effect.andThen(declare(affected.map(({ key }) => key)))
    )
  )
  return Effect.tap(appended, () => Effect.forEach(counts, (count, i) => affected[i]?.count(count) ?? Effect.void))
}
