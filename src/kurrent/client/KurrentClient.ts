/** A KurrentDB server itself, for those who want more of it, or less, than event sourcing. */
import type { Stream } from "effect"
import { Context, Effect, Layer } from "effect"
import { withSpan } from "../../internal/observability/tracing.ts"
import type {
  KurrentError,
  StreamError,
  StreamTombstoned,
  Unsupported,
  WrongExpectedRevision
} from "../connection/KurrentError.ts"
import { Connected, layerConnected } from "./Connected.ts"
import type { AllItem, StreamItem, SubscribeToAllOptions, SubscribeToStreamOptions } from "./catchUp.ts"
import { subscribeToAll, subscribeToStream } from "./catchUp.ts"
import type { ConnectionOptions } from "./connect.ts"
import type { EventToAppend, ReadEvent } from "./events.ts"
import type { AllFilter } from "./filters.ts"
import type { StreamMetadata, StreamMetadataRead } from "./metadata.ts"
import { getStreamMetadata, setStreamMetadata, updateStreamMetadata } from "./metadata.ts"
import type { PersistentSubscriptions } from "./persistentSubscriptions.ts"
import * as Persistent from "./persistentSubscriptions.ts"
import type { ReadAllOptions, ReadStreamOptions } from "./reads.ts"
import { commitPosition, currentRevision, readAll, readStream } from "./reads.ts"
import { makeRegistry } from "./reconnecting.ts"
import type { ExpectedRevision } from "./values.ts"
import type {
  AppendError,
  Appended,
  AppendedToStreams,
  Check,
  Deleted,
  DeleteError,
  DeleteOptions,
  RecordToAppend,
  StreamAppend
} from "./writes.ts"
import { append, appendRecords, appendToStreams, deleteStream, tombstoneStream } from "./writes.ts"

/**
 * A client of a KurrentDB server, on the official one, without its traps.
 *
 * Every call has the deadline of the connection (`ConnectionOptions.deadline`), and every failure is one of `KurrentError`.
 * `KurrentUnavailable` is worth another attempt; reads have made some by then, for about two seconds, and subscriptions go
 * on without end. A change that is under way is waited for, for a second also where its fiber is interrupted (G10).
 *
 * Revisions (places in a stream) and positions (places in the total order, `$all`) are bigints from 0 on. Revisions have no
 * holes but where events were truncated; positions do.
 *
 * @example
 * ```ts no-run
 * import { Effect, Stream } from "effect"
 * import { KurrentClient } from "effect-eventsourcing/kurrent"
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* KurrentClient
 *   yield* client.append("order-1", [{ type: "Placed", data: { item: "tea" } }], { expected: "NoStream" })
 *   yield* Stream.runForEach(client.readStream("order-1"), ({ type, data }) => Effect.log(type, data))
 * })
 *
 * Effect.runPromise(
 *   Effect.provide(program, KurrentClient.layer({ connectionString: "kurrentdb://localhost:2113?tls=false" }))
 * )
 * ```
 */
export class KurrentClient extends Context.Service<
  KurrentClient,
  {
    /**
     * Appends events to a stream: all of them or none (G1), if the stream is where it is expected to be (G2).
     *
     * With an exact revision or `NoStream`, appending the same events (by id) again gives the same answer for ever and
     * records nothing twice (G7). With `Any` and `StreamExists` the server remembers only recent ids, and none after it was
     * restarted: an append that is repeated may then be recorded twice.
     *
     * An event without an id gets one when this is called, so that to run the effect again (as `Effect.retry` does) repeats
     * the same append. To append nothing is a `KurrentFailure`.
     */
    readonly append: (
      stream: string,
      events: ReadonlyArray<EventToAppend>,
      options: { readonly expected: ExpectedRevision }
    ) => Effect.Effect<Appended, AppendError>
    /**
     * Appends to several streams at once: to all or to none (G1), if each is where it is expected to be (G2). Repeated, it
     * is as {@link append}. Each stream is named once; metadata are flat, with strings as values.
     *
     * Servers before 25.1 are `Unsupported`.
     */
    readonly appendToStreams: (
      appends: ReadonlyArray<StreamAppend>
    ) => Effect.Effect<AppendedToStreams, AppendError | Unsupported>
    /**
     * Appends events to any streams, which stay in this order also among each other in `$all`: all or none, if every stream
     * that is checked is where it is expected to be, whether it is appended to or not. What is not checked may be anywhere.
     *
     * Fails with the first check that does not hold. Servers before 26.1 are `Unsupported`.
     */
    readonly appendRecords: (
      records: ReadonlyArray<RecordToAppend>,
      checks?: ReadonlyArray<Check>
    ) => Effect.Effect<AppendedToStreams, AppendError | Unsupported>
    /**
     * The revision of the last event of a stream; `NoStream` where there is none, or no longer (a deleted stream goes on
     * counting where it ended, though it may be appended to as one that is not there).
     *
     * Where all events are truncated or too old it is a `KurrentFailure`: the server does not tell.
     */
    readonly currentRevision: (stream: string) => Effect.Effect<bigint | "NoStream", KurrentError | StreamTombstoned>
    /** Reads a stream, in pages. Whoever stops early leaves nothing behind that goes on. */
    readonly readStream: (stream: string, options?: ReadStreamOptions) => Stream.Stream<ReadEvent, StreamError>
    /**
     * Reads all events, in pages. Whoever stops early leaves nothing behind that goes on.
     *
     * A page that a filter leaves nearly nothing of may take long: the server looks through some hundred events in a
     * millisecond. It is waited for as long as the server answers other calls. Whoever stops waiting does not stop the
     * search; subscribe instead where that matters.
     */
    readonly readAll: (options?: ReadAllOptions) => Stream.Stream<ReadEvent, KurrentError>
    /**
     * The position of the last event of all (or of the last that fits a filter); `undefined` where there is none. While an
     * append to several streams is being recorded, it may be that of an event in its middle.
     */
    readonly commitPosition: (filter?: AllFilter) => Effect.Effect<bigint | undefined, KurrentError>
    /**
     * Subscribes to a stream, which need not be there yet: what is there and then what comes, each event once and in order.
     *
     * Goes on by itself from where it was, with pauses of up to five seconds, when the server was lost; see `onState`. Ends
     * with `StreamTombstoned` when the stream gets a tombstone, and with `KurrentFailure` when the server refuses (the
     * revision, for instance), or when the layer of the client is closed.
     */
    readonly subscribeToStream: (
      stream: string,
      options?: SubscribeToStreamOptions
    ) => Stream.Stream<StreamItem, KurrentError | StreamTombstoned>
    /** Subscribes to all events, as {@link subscribeToStream} does to those of one stream. */
    readonly subscribeToAll: (options?: SubscribeToAllOptions) => Stream.Stream<AllItem, KurrentError>
    /**
     * Deletes a stream: there is none by this name then, but one that is made anew goes on counting where this one ended.
     * Its events stay in `$all` until the server is scavenged.
     */
    readonly deleteStream: (stream: string, options?: DeleteOptions) => Effect.Effect<Deleted, DeleteError>
    /** Deletes a stream for ever: its name can't be used again. */
    readonly tombstoneStream: (stream: string, options?: DeleteOptions) => Effect.Effect<Deleted, DeleteError>
    /** How a stream is kept, and what else was noted of it; also of one that is not there. */
    readonly getStreamMetadata: (stream: string) => Effect.Effect<StreamMetadataRead, KurrentError | StreamTombstoned>
    /**
     * Sets all metadata of a stream; what is left out is gone. `expected` is where the metadata are, not the stream: the
     * revision that {@link getStreamMetadata} tells.
     *
     * A deleted stream becomes one that is there, with all its events truncated.
     */
    readonly setStreamMetadata: (
      stream: string,
      metadata: StreamMetadata,
      options: { readonly expected: ExpectedRevision }
    ) => Effect.Effect<Appended, KurrentError | WrongExpectedRevision | StreamTombstoned>
    /**
     * Changes the metadata of a stream, with what others set meanwhile: the change is made anew on that, up to fifteen times.
     * What the change leaves as it was (`{ ...metadata, maxCount: 10 }`) stays.
     */
    readonly updateStreamMetadata: (
      stream: string,
      change: (metadata: StreamMetadata) => StreamMetadata
    ) => Effect.Effect<StreamMetadata, KurrentError | WrongExpectedRevision | StreamTombstoned>
    readonly persistentSubscriptions: PersistentSubscriptions
  }
>()("effect-eventsourcing/kurrent/KurrentClient") {
  /** On a connection that is there already, and may be shared with a recorder. */
  static readonly layerNoDeps: Layer.Layer<KurrentClient, never, Connected> = Layer.effect(
    KurrentClient,
    Effect.gen(function* () {
      const connection = yield* Connected
      const registry = yield* makeRegistry("the client")
      return KurrentClient.of({
        append: (stream, events, options) =>
          span("append", { stream, events: events.length })(append(connection, stream, events, options)),
        appendToStreams: (appends) =>
          span("appendToStreams", { streams: appends.map(({ stream }) => stream) })(
            appendToStreams(connection, appends)
          ),
        appendRecords: (records, checks = []) =>
          span("appendRecords", { events: records.length })(appendRecords(connection, records, checks)),
        currentRevision: (stream) => span("currentRevision", { stream })(currentRevision(connection, stream)),
        readStream: (stream, options) => readStream(connection, stream, options),
        readAll: (options) => readAll(connection, options),
        commitPosition: (filter) => span("commitPosition", {})(commitPosition(connection, filter)),
        subscribeToStream: (stream, options) => subscribeToStream(connection, registry, stream, options),
        subscribeToAll: (options) => subscribeToAll(connection, registry, options),
        deleteStream: (stream, options) => span("deleteStream", { stream })(deleteStream(connection, stream, options)),
        tombstoneStream: (stream, options) =>
          span("tombstoneStream", { stream })(tombstoneStream(connection, stream, options)),
        getStreamMetadata: (stream) => span("getStreamMetadata", { stream })(getStreamMetadata(connection, stream)),
        setStreamMetadata: (stream, metadata, options) =>
          span("setStreamMetadata", { stream })(setStreamMetadata(connection, stream, metadata, options)),
        updateStreamMetadata: (stream, change) =>
          span("updateStreamMetadata", { stream })(updateStreamMetadata(connection, stream, change)),
        persistentSubscriptions: Persistent.make(connection, registry)
      })
    })
  )

  /**
   * A client with a connection of its own.
   *
   * What is wrong with the options is a `KurrentFailure` when the layer is built; a server that can't be reached then is
   * `KurrentUnavailable`.
   */
  static layer(options: ConnectionOptions): Layer.Layer<KurrentClient, KurrentError> {
    return Layer.provide(KurrentClient.layerNoDeps, layerConnected(options))
  }
}

const span = (name: string, attributes: Record<string, unknown>) => withSpan(`KurrentClient.${name}`, attributes)
