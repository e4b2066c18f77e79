/** A general-purpose KurrentDB client, for uses beyond event sourcing. */
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
import type { ConnectionOptions } from "./ConnectionOptions.ts"
import type { AllItem, StreamItem, SubscribeToAllOptions, SubscribeToStreamOptions } from "./catchUp.ts"
import { subscribeToAll, subscribeToStream } from "./catchUp.ts"
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
 * A client of a KurrentDB server, built on the official client, without its pitfalls.
 *
 * Every call has the deadline of the connection (`ConnectionOptions.deadline`), and every failure is a `KurrentError`.
 * `KurrentUnavailable` is worth a retry. Reads have already been retried by then, for about two seconds, and
 * subscriptions retry indefinitely. If a fiber is interrupted during a change, it waits up to a second for the change
 * to complete (G10).
 *
 * Revisions (places in a stream) and positions (places in the total order, `$all`) are bigints from 0 on. Revisions
 * have no gaps, except where events were truncated; positions do.
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
     * Appends events to a stream: all of them or none (G1), if the stream is at the expected revision (G2).
     *
     * With an exact revision or `NoStream`, appending the same events (by id) again always returns the same result and
     * records nothing twice (G7). With `Any` and `StreamExists` the server remembers only recent ids, and none after a
     * restart: a repeated append may then be recorded twice.
     *
     * An event without an id gets one when this function is called, so running the Effect again (as `Effect.retry`
     * does) repeats the same append. Appending no events is a `KurrentFailure`.
     */
    readonly append: (
      stream: string,
      events: ReadonlyArray<EventToAppend>,
      options: { readonly expected: ExpectedRevision }
    ) => Effect.Effect<Appended, AppendError>
    /**
     * Appends to several streams at once: to all or to none (G1), if each is at its expected revision (G2). A repeated
     * call behaves like a repeated {@link append}. Each stream is named once; metadata is flat, with strings as values.
     *
     * Servers before 25.1 are `Unsupported`.
     */
    readonly appendToStreams: (
      appends: ReadonlyArray<StreamAppend>
    ) => Effect.Effect<AppendedToStreams, AppendError | Unsupported>
    /**
     * Appends events to any streams, all or none; `$all` keeps them in this order, across streams too. Every stream
     * that is checked must be at its expected revision, whether it is appended to or not. Streams that are not checked
     * may be at any.
     *
     * Fails with the first check that does not hold. Servers before 26.1 are `Unsupported`.
     */
    readonly appendRecords: (
      records: ReadonlyArray<RecordToAppend>,
      checks?: ReadonlyArray<Check>
    ) => Effect.Effect<AppendedToStreams, AppendError | Unsupported>
    /**
     * The revision of the last event of a stream; `NoStream` if the stream does not exist, or no longer exists. (A
     * deleted stream continues counting where it ended, although it can be appended to like one that does not exist.)
     *
     * If all events are truncated or expired, it fails with `KurrentFailure`: the server does not report the revision.
     */
    readonly currentRevision: (stream: string) => Effect.Effect<bigint | "NoStream", KurrentError | StreamTombstoned>
    /** Reads a stream, in pages. Stopping early leaves nothing running in the background. */
    readonly readStream: (stream: string, options?: ReadStreamOptions) => Stream.Stream<ReadEvent, StreamError>
    /**
     * Reads all events, in pages. Stopping early leaves nothing running in the background.
     *
     * A page of which a filter leaves almost nothing may take long: the server looks through some hundred events per
     * millisecond. The read waits for it as long as the server responds to other calls. Stopping early does not stop
     * the search on the server; subscribe instead if that matters.
     */
    readonly readAll: (options?: ReadAllOptions) => Stream.Stream<ReadEvent, KurrentError>
    /**
     * The position of the last event of all (or of the last that matches a filter); `undefined` if there is none. While
     * an append to several streams is being recorded, it may be the position of an event in its middle.
     */
    readonly commitPosition: (filter?: AllFilter) => Effect.Effect<bigint | undefined, KurrentError>
    /**
     * Subscribes to a stream, which need not exist yet: first the existing events, then new ones, each once and in
     * order.
     *
     * If the server is lost, it resumes on its own from where it was, with pauses of up to five seconds; see `onState`.
     * It ends with `StreamTombstoned` when the stream is tombstoned, and with `KurrentFailure` when the server refuses
     * (the revision, for instance) or the layer of the client is closed.
     */
    readonly subscribeToStream: (
      stream: string,
      options?: SubscribeToStreamOptions
    ) => Stream.Stream<StreamItem, KurrentError | StreamTombstoned>
    /** Subscribes to all events, as {@link subscribeToStream} does to the events of one stream. */
    readonly subscribeToAll: (options?: SubscribeToAllOptions) => Stream.Stream<AllItem, KurrentError>
    /**
     * Deletes a stream. It no longer exists then, but if it is created again, its revisions continue where they ended.
     * Its events stay in `$all` until the server is scavenged.
     */
    readonly deleteStream: (stream: string, options?: DeleteOptions) => Effect.Effect<Deleted, DeleteError>
    /** Deletes a stream permanently: its name can't be used again. */
    readonly tombstoneStream: (stream: string, options?: DeleteOptions) => Effect.Effect<Deleted, DeleteError>
    /** The settings of a stream, and its other metadata; also of a stream that does not exist. */
    readonly getStreamMetadata: (stream: string) => Effect.Effect<StreamMetadataRead, KurrentError | StreamTombstoned>
    /**
     * Sets all metadata of a stream; fields that are left out are removed. `expected` is the revision of the metadata,
     * not of the stream: the one that {@link getStreamMetadata} returns.
     *
     * A deleted stream exists again afterwards, with all its events truncated.
     */
    readonly setStreamMetadata: (
      stream: string,
      metadata: StreamMetadata,
      options: { readonly expected: ExpectedRevision }
    ) => Effect.Effect<Appended, KurrentError | WrongExpectedRevision | StreamTombstoned>
    /**
     * Changes the metadata of a stream. If others have set them meanwhile, the change is applied again to the new
     * metadata, up to fifteen times. Fields that the change keeps (`{ ...metadata, maxCount: 10 }`) stay as they are.
     */
    readonly updateStreamMetadata: (
      stream: string,
      change: (metadata: StreamMetadata) => StreamMetadata
    ) => Effect.Effect<StreamMetadata, KurrentError | WrongExpectedRevision | StreamTombstoned>
    readonly persistentSubscriptions: PersistentSubscriptions
  }
>()("effect-eventsourcing/kurrent/KurrentClient") {
  /** A client on an existing connection, which may be shared with a recorder. */
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
   * Invalid options fail with `KurrentFailure` when the layer is built; a server that can't be reached then fails it
   * with `KurrentUnavailable`.
   */
  static layer(options: ConnectionOptions): Layer.Layer<KurrentClient, KurrentError> {
    return Layer.provide(KurrentClient.layerNoDeps, layerConnected(options))
  }
}

const span = (name: string, attributes: Record<string, unknown>) => withSpan(`KurrentClient.${name}`, attributes)
