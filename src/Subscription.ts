/**
 * Subscriptions: the events of a log as a stream, first the existing ones, then new ones as they arrive.
 *
 * @example
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Aggregate, Repository, Subscription } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.Int,
 *   creation: { Started: {} },
 *   events: { Increased: { by: Schema.Int } },
 *   reduce: { Started: () => 0, Increased: (count, { by }) => count + by }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Repository.of(Counter)
 *   const id = yield* Counter.randomId
 *   yield* counters.execute(id, Counter.Started())
 *   yield* counters.execute(id, Counter.Increased({ by: 2 }))
 *   // never ends on its own
 *   yield* Subscription.all([Counter]).pipe(
 *     Stream.take(2),
 *     Stream.runForEach(({ version, event }) => Effect.sync(() => console.log(version, event._tag)))
 *   )
 *   // prints: 0 Started
 *   // prints: 1 Increased
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer())))
 * ```
 */
import { Context, Effect, Layer, RcRef, Stream } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Aggregate from "./Aggregate.ts"
import type { FollowError, RecorderError, SubscriptionError } from "./EventSourcingError.ts"
import type { PositionedOf } from "./EventStore.ts"
import type { Bounds } from "./internal/backend/pageSize.ts"
import { checkBytes, isLastPage, makePage, PAGE_BYTES } from "./internal/backend/pageSize.ts"
import { makeDecoder } from "./internal/eventStore/decodeEvents.ts"
import { decodeUpToFailure, mapUpToFailure } from "./internal/eventStore/decodeUpToFailure.ts"
import { followPages, furthest, requireReached } from "./internal/following/followPages.ts"
import { waitForLog } from "./internal/following/reconnect.ts"
import type { Selection, StoredBatch } from "./internal/following/selection.ts"
import * as Tail from "./internal/following/tail.ts"
import type { FollowBatch, FollowState, ReadAll } from "./LogReader.ts"
import { LogReader } from "./LogReader.ts"
import { Mapper } from "./Mapper.ts"
import type { Position } from "./Position.ts"
import type { Positioned } from "./RecordedEvent.ts"
import type { Notification } from "./StoredEvent.ts"
import * as StreamName from "./StreamName.ts"

/** Where a subscription starts, and what is notified of its state. */
export interface Options {
  /**
   * Where to start: after a position, with the first event (`start`), or with new events only (`end`). Default `start`.
   * A position that the log has not reached is refused with `PositionBeyondHead`.
   */
  readonly from?: Position | "start" | "end" | undefined
  /** Called with each state that the subscription enters (G12): write it to a `SubscriptionRef`, a metric or a log. */
  readonly onState?: ((state: FollowState) => Effect.Effect<void>) | undefined
}

/** Events that arrived together, and how far the subscription has come with them. */
export interface Batch<out E> {
  /** The events in the total order; empty if none of the new ones were selected. */
  readonly events: ReadonlyArray<E>
  /**
   * Everything up to this position has been read, including events that were not selected. To resume, start after it.
   */
  readonly position: Position | undefined
  /** Whether this batch reached the end of the log. */
  readonly caughtUp: boolean
}

/**
 * Follows a log for any number of subscriptions.
 *
 * Each subscription reads existing events in pages, filtered by the database or server. New events are read once per
 * process and kept for a while (some thousand events): a subscription that is too slow for that reads pages again. No
 * subscription slows another down, and none holds more than a page.
 */
export class Subscription extends Context.Service<Subscription, Service>()("effect-eventsourcing/Subscription") {}

/** What the service can do: only the functions of this module and projections use it. */
export interface Service {
  /** @internal The selected events in batches. */
  readonly batches: <A extends Aggregate.Any>(
    selection: Selection<A>,
    options: Options
  ) => Stream.Stream<Batch<PositionedOf<A>>, SubscriptionError>
  /** @internal The selected events as they are stored. */
  readonly follow: (selection: Selection<Aggregate.Any>, options: Options) => Stream.Stream<StoredBatch, FollowError>
}

/** How much subscriptions keep in memory. */
export interface LayerOptions {
  /**
   * The bytes of stored events that each subscription reads at once: a page ends with the event that brings it to this
   * size. Default 8 MiB.
   */
  readonly pageBytes?: number | undefined
  /** The bytes of the newest events that are kept for all subscriptions of the process together. Default 32 MiB. */
  readonly tailBytes?: number | undefined
}

const make = ({ pageBytes = PAGE_BYTES, tailBytes = Tail.TAIL_BYTES }: LayerOptions) =>
  Effect.gen(function* () {
    yield* checkBytes("pageBytes", pageBytes)
    yield* checkBytes("tailBytes", tailBytes)
    const reader = yield* LogReader
    const { decodeOf } = makeDecoder(yield* Mapper, reader)
    const shared: RcRef.RcRef<Tail.Tail, RecorderError> = yield* RcRef.make({
      acquire: Effect.suspend(() => Tail.make(reader, { pageBytes, tailBytes }, forgetTail)),
      idleTimeToLive: "1 second"
    })
    /** After a failure, the next subscriber gets a new tail. Not awaited, since the failed tail itself runs this. */
    const forgetTail = Effect.suspend(() => Effect.asVoid(Effect.forkDetach(RcRef.invalidate(shared))))

    const follow = Effect.fnUntraced(function* (
      selection: Selection<Aggregate.Any>,
      { from = "start", onState }: Options
    ) {
      const reached = <A, R>(self: Effect.Effect<A, RecorderError, R>) =>
        waitForLog(self, typeof from === "string" ? undefined : from, onState ?? (() => Effect.void))
      const { aggregates, stream, types } = selection
      const categories = aggregates.map(({ name }) => name)
      const filter = { categories, types }
      const matches = matcher(selection)
      const tail = yield* reached(RcRef.get(shared))
      if (typeof from !== "string") {
        const known = tail.position()
        // the tail may not have read the newest events yet
        if (known === undefined || known < from) yield* requireReached(reader.head, { after: from, onState })
      }
      const member = yield* tail.join({ categories, matches })
      const after = from === "end" ? yield* reached(reader.head) : from === "start" ? undefined : from
      if (onState !== undefined) {
        let isRetrying = false
        yield* tail.watch((state) => {
          const wasRetrying = isRetrying
          isRetrying = state._tag === "Retrying"
          return isRetrying || wasRetrying ? onState(state) : Effect.void
        })
      }
      const pages = stream === undefined ? reader.readAll : streamPages(reader, stream)
      const readAll = (read: ReadAll) => {
        const kept = member.eventsAfter(read.after)
        return kept === undefined ? pages(read) : Effect.succeed(pageOf(kept, matches, read))
      }
      const { scan } = reader
      const scanning = (read: ReadAll) => {
        const kept = member.eventsAfter(read.after)
        return kept === undefined && scan !== undefined
          ? scan(read)
          : Effect.map(readAll(read), (notifications) => ({ notifications, reached: undefined }))
      }
      const reading = { readAll, head: Effect.sync(tail.position), scan: stream === undefined ? scanning : undefined }
      const pagesOf = followPages(reading, tail.changes)
      return Stream.map(
        pagesOf({ after, filter, onState, maxBytes: pageBytes }),
        (batch: FollowBatch): StoredBatch => ({
          ...batch,
          head: furthest(tail.position(), batch.position),
          outages: tail.outages()
        })
      )
    })

    return Subscription.of({
      follow: (selection, options) => Stream.unwrap(follow(selection, options)),
      batches: (selection, options) => {
        const decode = decodeUpToFailure(decodeOf(selection.aggregates))
        return mapUpToFailure(
          Stream.unwrap(follow(selection, options)),
          ({ notifications, position, caughtUp }: StoredBatch) =>
            Effect.map(decode(notifications), ({ events, failure }) => {
              if (failure === undefined) return { value: { events, position, caughtUp }, failure }
              const last = notifications[events.length - 1]
              const value = last === undefined ? undefined : { events, position: last.position, caughtUp: false }
              return { value, failure }
            })
        )
      }
    })
  })

/** The subscriptions on a log, with options. */
export const layerWith = (options: LayerOptions): Layer.Layer<Subscription, never, LogReader | Mapper> =>
  Layer.effect(Subscription, make(options))

/** The subscriptions on a log. */
export const layer: Layer.Layer<Subscription, never, LogReader | Mapper> = layerWith({})

/**
 * All events of these aggregates, in batches with their positions.
 *
 * **When to use**
 *
 * Use this for throughput, or to store how far a consumer has come. Use {@link all} if single events are enough.
 *
 * **Details**
 *
 * Each batch has the position up to which the log has been read: pass it as `from` to resume after it. `caughtUp` says
 * whether the batch reached the end of the log.
 */
export const batches = <const As extends ReadonlyArray<Aggregate.Any>>(
  aggregates: As,
  options: Options = {}
): Stream.Stream<Batch<PositionedOf<As[number]>>, SubscriptionError, Subscription> =>
  Stream.unwrap(Subscription.useSync((subscription) => subscription.batches<As[number]>({ aggregates }, options)))

const events = <A extends Aggregate.Any>(
  selection: Selection<A>,
  options: Options
): Stream.Stream<PositionedOf<A>, SubscriptionError, Subscription> =>
  Stream.unwrap(
    Subscription.useSync((subscription) =>
      Stream.flatMap(subscription.batches(selection, options), ({ events }) => Stream.fromIterable(events))
    )
  )

/**
 * All events of these aggregates in the total order (G3, G4): first the existing ones, then new ones as they arrive.
 *
 * **When to use**
 *
 * Use this to react to events in a stream of your own. Use `Projection` if a view or side effects should resume where
 * they left off after a restart.
 *
 * **Details**
 *
 * No event is missed or duplicated. `from` is where to start: `"start"` (the default), `"end"`, or a position, after
 * which it starts.
 *
 * **Gotchas**
 *
 * The stream never completes. It ends only with an error: an event that can't be decoded (G8), a log that was closed,
 * or a start position that the log has not reached (`PositionBeyondHead`).
 *
 * **Example** (The first event)
 *
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Aggregate, Repository, Subscription } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.Int,
 *   creation: { Started: {} },
 *   events: {},
 *   reduce: { Started: () => 0 }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Repository.of(Counter)
 *   yield* counters.execute(Counter.id("visits"), Counter.Started())
 *   const [first] = yield* Stream.runCollect(Stream.take(Subscription.all([Counter]), 1))
 *   console.log(first?.event._tag) // prints: Started
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer())))
 * ```
 */
export const all = <const As extends ReadonlyArray<Aggregate.Any>>(
  aggregates: As,
  options: Options = {}
): Stream.Stream<PositionedOf<As[number]>, SubscriptionError, Subscription> =>
  events<As[number]>({ aggregates }, options)

/**
 * All events of one kind of aggregate.
 *
 * **When to use**
 *
 * Use this to follow every aggregate of one kind; see {@link all} for the order, the options and the errors.
 */
export const category = <A extends Aggregate.Any>(
  aggregate: A,
  options: Options = {}
): Stream.Stream<PositionedOf<A>, SubscriptionError, Subscription> => events({ aggregates: [aggregate] }, options)

/**
 * The events of one aggregate.
 *
 * **When to use**
 *
 * Use this to follow one aggregate whose id is known; see {@link all} for the order, the options and the errors. Use
 * `history` of a repository to read its existing events only.
 */
export const stream = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  options: Options = {}
): Stream.Stream<PositionedOf<A>, SubscriptionError, Subscription> =>
  events({ aggregates: [aggregate], stream: StreamName.of(aggregate.name, id) }, options)

/**
 * The events of one kind of aggregate that have these types.
 *
 * **When to use**
 *
 * Use this to follow a few types of events of an aggregate; see {@link all} for the order, the options and the errors.
 *
 * **Details**
 *
 * The database or server filters existing events by type. Events that were recorded under an alias of a type are
 * included.
 */
export const types = <A extends Aggregate.Any, const Tag extends Aggregate.Event<A>["_tag"]>(
  aggregate: A,
  tags: NonEmptyReadonlyArray<Tag>,
  options: Options = {}
): Stream.Stream<
  Positioned<Aggregate.NameOf<A>, Extract<Aggregate.Event<A>, { readonly _tag: Tag }>>,
  SubscriptionError,
  Subscription
> => {
  const wanted: ReadonlySet<string> = new Set(tags)
  const stored = [...aggregate.compiled.byType].flatMap(([type, { tag }]) => (wanted.has(tag) ? [type] : []))
  // the log is queried for the types of these tags alone
  return events({ aggregates: [aggregate], types: stored }, options) as never
}

const matcher = ({ aggregates, stream, types }: Selection<Aggregate.Any>): ((event: Notification) => boolean) => {
  const categories = new Set(aggregates.map(({ name }) => name))
  const wanted = types === undefined ? undefined : new Set(types)
  return (event) =>
    stream !== undefined
      ? event.stream === stream
      : categories.has(StreamName.category(event.stream)) && (wanted === undefined || wanted.has(event.type))
}

const pageOf = (
  events: ReadonlyArray<Notification>,
  matches: (event: Notification) => boolean,
  bounds: Bounds
): ReadonlyArray<Notification> => {
  const page = makePage(bounds)
  for (const event of events) {
    if (!matches(event)) continue
    page.add(event)
    if (page.isFull()) break
  }
  return page.events
}

/** Pages of one stream by positions: read from the end of the last one, or the first time from the start. */
const streamPages = (reader: LogReader["Service"], stream: StreamName.StreamName) => {
  let last: { readonly position: Position; readonly version: number } | undefined
  return Effect.fnUntraced(function* ({
    after,
    limit,
    maxBytes
  }: ReadAll): Effect.fn.Return<ReadonlyArray<Notification>, RecorderError> {
    const bounds = { limit, maxBytes }
    const found = makePage(bounds)
    let version = last !== undefined && after !== undefined && last.position <= after ? last.version : undefined
    while (true) {
      const page = yield* reader.readStream({ stream, after: version, ...bounds })
      for (const event of page) {
        version = event.version
        last = { position: event.position, version }
        if (after === undefined || event.position > after) found.add(event)
        if (found.isFull()) return found.events
      }
      if (isLastPage(page, bounds)) return found.events
    }
  })
}
