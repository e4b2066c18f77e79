/**
 * Converts between domain events and stored events: encodes and appends, reads and decodes.
 *
 * @example
 * ```ts
 * import { Effect, Schema, Stream } from "effect"
 * import { Aggregate, EventStore } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: Schema.Struct({ name: Schema.String }),
 *   creation: { Registered: { name: Schema.String } },
 *   events: {},
 *   reduce: { Registered: ({ name }) => ({ name }) }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const store = yield* EventStore.EventStore
 *   yield* store.append(Dog, Dog.id("Fido"), { expected: "NoStream", events: [Dog.Registered({ name: "Fido" })] })
 *   return yield* Stream.runCollect(store.readAll([Dog]))
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer()))).then((events) => {
 *   console.log(events[0]?.event) // prints: { name: 'Fido', _tag: 'Registered' }
 * })
 * ```
 */
import type { Stream } from "effect"
import { Clock, Context, Effect, Layer } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { isReadonlyArrayNonEmpty, map } from "effect/Array"
import type * as Aggregate from "./Aggregate.ts"
import type {
  AppendError,
  EventNotEncodable,
  ReadError,
  RecorderError,
  WrongExpectedVersion
} from "./EventSourcingError.ts"
import { RecorderFailure } from "./EventSourcingError.ts"
import { expectedProblem } from "./internal/backend/options.ts"
import { checkBytes, PAGE_BYTES } from "./internal/backend/pageSize.ts"
import * as Uuid from "./internal/encoding/uuid.ts"
import { notEncodable } from "./internal/eventStore/codecs.ts"
import { makeDecoder } from "./internal/eventStore/decodeEvents.ts"
import { makePages } from "./internal/eventStore/pages.ts"
import { makePrepare } from "./internal/eventStore/prepare.ts"
import { sendAppend } from "./internal/eventStore/sendAppend.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import { withSpan } from "./internal/observability/tracing.ts"
import { Mapper } from "./Mapper.ts"
import type { AppendedToStreams, Check } from "./MultiStreamAppend.ts"
import { MultiStreamAppend } from "./MultiStreamAppend.ts"
import type { Position } from "./Position.ts"
import type { Positioned, RecordedEvent } from "./RecordedEvent.ts"
import type { Appended, Direction, ExpectedVersion } from "./Recorder.ts"
import { Recorder } from "./Recorder.ts"
import type { Notification, StoredEvent } from "./StoredEvent.ts"
import * as StreamName from "./StreamName.ts"

/** Prepared events of any aggregate, as they are sent to the recorder. */
export interface AnyPrepared {
  readonly stream: StreamName.StreamName
  readonly expected: ExpectedVersion
  readonly stored: NonEmptyReadonlyArray<StoredEvent>
}

/** Events that are encoded for their place and ready to be appended; appending them twice records them once (G7). */
export interface Prepared<Name extends string, out Event> extends AnyPrepared {
  /** The events as every later reader will see them. */
  readonly events: ReadonlyArray<RecordedEvent<Name, Event>>
}

/** What an append returns. */
export interface Recorded<Name extends string, out Event> extends Appended {
  readonly events: ReadonlyArray<RecordedEvent<Name, Event>>
}

/** Which events of a stream to read. */
export interface ReadOptions {
  readonly direction?: Direction
  /**
   * Start after this version, in reading direction (exclusive). Default: the stream's start, or its end if backward.
   */
  readonly after?: number
  /** End with this version (inclusive). */
  readonly upTo?: number
}

/** Which events of the total order to read. */
export interface ReadAllOptions {
  readonly direction?: Direction
  /** Start after this position, in reading direction (exclusive). Default: the log's start, or its end if backward. */
  readonly after?: Position
  /** End with this position (inclusive). */
  readonly upTo?: Position
}

/** The recorded events of several kinds of aggregates; their field `aggregate` distinguishes them. */
export type PositionedOf<A extends Aggregate.Any> = A extends Aggregate.Any
  ? Positioned<Aggregate.NameOf<A>, Aggregate.Event<A>>
  : never

/**
 * Records domain events and reads them back, without deciding anything.
 *
 * **When to use**
 *
 * Use this to import events, to read a log, or to append events that no decision has to check. Use `Repository` for
 * commands.
 *
 * **Details**
 *
 * `append` encodes and records in one step. `prepare` and `commit` are its two halves: a prepared append can be
 * committed again safely (G7). `read` and `readAll` return streams that are read in pages.
 *
 * **Gotchas**
 *
 * An event that can't be decoded, or whose type is unknown, fails the read (G8). It is never skipped.
 */
export class EventStore extends Context.Service<
  EventStore,
  {
    /**
     * Appends events to an aggregate's stream: all of them or none (G1).
     *
     * With `expected: "Any"`, appends after whatever is there. With no events, does nothing and returns `undefined`.
     */
    readonly append: <A extends Aggregate.Any>(
      aggregate: A,
      id: Aggregate.Id<Aggregate.NameOf<A>>,
      append: {
        readonly expected: ExpectedVersion | "Any"
        readonly events: ReadonlyArray<Aggregate.Event<A>>
      }
    ) => Effect.Effect<Recorded<Aggregate.NameOf<A>, Aggregate.Event<A>> | undefined, AppendError>

    /** Encodes events for a place in a stream, with ids, time and metadata, without recording them. */
    readonly prepare: <A extends Aggregate.Any>(
      aggregate: A,
      id: Aggregate.Id<Aggregate.NameOf<A>>,
      expected: ExpectedVersion,
      events: NonEmptyReadonlyArray<Aggregate.Event<A>>
    ) => Effect.Effect<Prepared<Aggregate.NameOf<A>, Aggregate.Event<A>>, EventNotEncodable>

    /**
     * Records prepared events. If the response is lost, the same stored events are sent again, for about two seconds.
     * After that it fails with `RecorderUnavailable`, and committing the same value again is safe (G7).
     */
    readonly commit: (prepared: AnyPrepared) => Effect.Effect<Appended, WrongExpectedVersion | RecorderError>

    /** Records prepared events of several streams, all or none (G1), provided that the checks hold too. */
    readonly commitAll: (
      prepared: NonEmptyReadonlyArray<AnyPrepared>,
      checks?: ReadonlyArray<Check>
    ) => Effect.Effect<AppendedToStreams, WrongExpectedVersion | RecorderError, MultiStreamAppend>

    /** Reads the events of an aggregate, in pages. */
    readonly read: <A extends Aggregate.Any>(
      aggregate: A,
      id: Aggregate.Id<Aggregate.NameOf<A>>,
      options?: ReadOptions
    ) => Stream.Stream<Positioned<Aggregate.NameOf<A>, Aggregate.Event<A>>, ReadError>

    /**
     * Reads one page of stored events of a stream and decodes only the events, which is all that rebuilding a state
     * needs.
     *
     * With `known`, the events start after that version. The event at that version is read too, to check that it is
     * there.
     */
    readonly readPage: (
      aggregate: Aggregate.Any,
      stream: StreamName.StreamName,
      options: { readonly known: number | undefined; readonly upTo: number | undefined }
    ) => Effect.Effect<Page, ReadError>

    /** Reads the events of these aggregates in the total order, in pages. */
    readonly readAll: <const As extends ReadonlyArray<Aggregate.Any>>(
      aggregates: As,
      options?: ReadAllOptions
    ) => Stream.Stream<PositionedOf<As[number]>, ReadError>

    /** Decodes events of these aggregates that were read from the recorder. */
    readonly decode: <A extends Aggregate.Any>(
      aggregates: ReadonlyArray<A>
    ) => (notifications: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<PositionedOf<A>>, ReadError>

    /** The version of the last event of a stream; `undefined` if there is none. */
    readonly version: (stream: StreamName.StreamName) => Effect.Effect<number | undefined, RecorderError>

    /** The position of the last event of the log. */
    readonly head: Effect.Effect<Position | undefined, RecorderError>

    /**
     * Whether the holder of this context is within a transaction of its own, if the backend has transactions; see
     * {@link Recorder}.
     */
    readonly inTransaction: ((context: Context.Context<never>) => boolean) | undefined

    /** For how many milliseconds decrypted values may be kept; `undefined` if nothing is encrypted. */
    readonly keysTrustedFor: number | undefined
  }
>()("effect-eventsourcing/EventStore") {}

/** A page of a stream: its events, with the notifications that a state's version and times are taken from. */
export interface Page {
  /** The event at the version `known`, if it exists; only on the first page. */
  readonly known: Notification | undefined
  readonly notifications: ReadonlyArray<Notification>
  readonly events: ReadonlyArray<Aggregate.AnyEvent>
  /** The page after this one; `undefined` on the last page. */
  readonly next: Effect.Effect<Page, ReadError> | undefined
}

/** How an event store reads. */
export interface Options {
  /**
   * The bytes of stored events that are read at once: a page ends with the event that brings it to this size. Default 8
   * MiB.
   *
   * In any case a page has at most 512 events (4,096 on KurrentDB). While a page is decoded, its events are in memory
   * too.
   */
  readonly pageBytes?: number | undefined
}

const make = ({ pageBytes: maxBytes = PAGE_BYTES }: Options) =>
  Effect.gen(function* () {
    yield* checkBytes("pageBytes", maxBytes)
    const recorder = yield* Recorder
    const mapper = yield* Mapper
    const counts = yield* Metrics.counts

    const prepare = makePrepare(mapper, recorder)
    const { decodePage, withEnvelope, decodeOf } = makeDecoder(mapper, recorder)
    const pages = makePages(recorder, decodePage, maxBytes)

    const commit = ({ stream, expected, stored }: AnyPrepared) =>
      sendAppend(counts, stored.length, recorder.append({ stream, expected, events: stored }))

    const version = (stream: StreamName.StreamName) =>
      Effect.map(recorder.readStream({ stream, direction: "backward", limit: 1 }), ([last]) => last?.version)

    const append = Effect.fnUntraced(function* <A extends Aggregate.Any>(
      aggregate: A,
      id: Aggregate.Id<Aggregate.NameOf<A>>,
      stream: StreamName.StreamName,
      expected: ExpectedVersion | "Any",
      events: ReadonlyArray<Aggregate.Event<A>>
    ) {
      if (!isReadonlyArrayNonEmpty(events)) return undefined
      if (expected !== "Any") {
        const reason = expectedProblem(expected)
        if (reason !== undefined) return yield* new RecorderFailure({ operation: "append", reason })
        const prepared = yield* prepare(aggregate, id, stream, expected, events)
        return { ...(yield* commit(prepared)), events: prepared.events }
      }
      // the same ids at each attempt: if one was recorded after all, it is recognised at its version
      const now = yield* Clock.currentTimeMillis
      const ids = events.map(() => Uuid.v7(now))
      return yield* Effect.gen(function* () {
        const prepared = yield* prepare(aggregate, id, stream, (yield* version(stream)) ?? "NoStream", events, ids)
        return { ...(yield* commit(prepared)), events: prepared.events }
      }).pipe(Effect.retry({ while: (error) => error._tag === "WrongExpectedVersion" }))
    })

    const read = <A extends Aggregate.Any>(aggregate: A, stream: StreamName.StreamName, options: ReadOptions) =>
      pages.paginate(
        options.after,
        (after) =>
          pages.streamPage(
            { stream, direction: options.direction, after, upTo: options.upTo },
            after === options.after
          ),
        (last) => last.version,
        (page) => withEnvelope(() => aggregate, page)
      )

    const readAll = <A extends Aggregate.Any>(aggregates: ReadonlyArray<A>, options: ReadAllOptions) => {
      const filter = { categories: aggregates.map(({ name }) => name) }
      return pages.paginate(
        options.after,
        (after) =>
          recorder.readAll({ direction: options.direction, after, upTo: options.upTo, filter, ...pages.bounds }),
        (last) => last.position,
        decodeOf(aggregates)
      )
    }

    return EventStore.of({
      append: (aggregate, id, { expected, events }) => {
        const stream = StreamName.of(aggregate.name, id)
        return withSpan("EventStore.append", { stream, events: events.length })(
          append(aggregate, id, stream, expected, events)
        )
      },
      prepare: (aggregate, id, expected, events) => {
        const stream = StreamName.of(aggregate.name, id)
        const reason = expectedProblem(expected)
        return reason === undefined
          ? prepare(aggregate, id, stream, expected, events)
          : Effect.fail(notEncodable(stream, Number.NaN, events[0]._tag, new Error(reason)))
      },
      commit: (prepared) => {
        const { stream, stored } = prepared
        // events that were prepared in no span are not committed in one either: nothing is looked up if nobody traces
        return stored[0].metadata === "{}"
          ? commit(prepared)
          : withSpan("EventStore.append", { stream, events: stored.length })(commit(prepared))
      },
      commitAll: Effect.fnUntraced(function* (prepared, checks) {
        const { append } = yield* MultiStreamAppend
        const appends = map(prepared, ({ stream, expected, stored }) => ({ stream, expected, events: stored }))
        const events = appends.reduce((sum, { events }) => sum + events.length, 0)
        const appended = sendAppend(counts, events, append(appends, checks))
        return yield* withSpan("EventStore.append", { streams: appends.map(({ stream }) => stream), events })(appended)
      }),
      read: (aggregate, id, options = {}) => read(aggregate, StreamName.of(aggregate.name, id), options),
      readPage: pages.readPage,
      readAll: (aggregates, options = {}) => readAll<(typeof aggregates)[number]>(aggregates, options),
      decode: decodeOf,
      version,
      head: recorder.head,
      inTransaction: recorder.inTransaction,
      keysTrustedFor: mapper.keysTrustedFor
    })
  })

/** The event store on a recorder and a mapper, with options. */
export const layerWith = (options: Options): Layer.Layer<EventStore, never, Recorder | Mapper> =>
  Layer.effect(EventStore, make(options))

/** The event store on a recorder and a mapper. */
export const layer: Layer.Layer<EventStore, never, Recorder | Mapper> = layerWith({})
