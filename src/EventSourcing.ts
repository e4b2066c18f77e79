/**
 * Everything above a backend's recorders, as one layer: mapper, event store, snapshot store, repositories,
 * subscriptions.
 */
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import type { RecorderError } from "./EventSourcingError.ts"
import * as EventStore from "./EventStore.ts"
import type { InlineServices } from "./internal/projection/inlineAppends.ts"
import { withInline } from "./internal/projection/inlineAppends.ts"
import type { InlineDatabase } from "./internal/projection/inlineDatabase.ts"
import { LogReader } from "./LogReader.ts"
import * as Mapper from "./Mapper.ts"
import type * as Projection from "./Projection.ts"
import { Recorder } from "./Recorder.ts"
import * as Repository from "./Repository.ts"
import type { SnapshotRecorder } from "./SnapshotRecorder.ts"
import * as SnapshotStore from "./SnapshotStore.ts"
import * as Subscription from "./Subscription.ts"

/** The services that an application works with. */
export type EventSourcing =
  | Mapper.Mapper
  | EventStore.EventStore
  | SnapshotStore.SnapshotStore
  | Repository.Repository
  | Subscription.Subscription
  | LogReader

/** The services of a program that only reads a log. */
export type Reader = Mapper.Mapper | Subscription.Subscription

/** How a log is read. */
export interface ReaderOptions<E = never, R = never> {
  /** How payloads are encoded. Default: `Mapper.layerJson`, plain JSON. */
  readonly mapper?: Layer.Layer<Mapper.Mapper, E, R>
  /**
   * The bytes of stored events that each reader reads at once: a page ends with the event that brings it to this size.
   * In any case it has at most 512 events (4,096 on KurrentDB). Default 8 MiB.
   */
  readonly pageBytes?: number | undefined
  /** The bytes of the newest events that are kept for all subscriptions of the process together. Default 32 MiB. */
  readonly tailBytes?: number | undefined
}

/** The options that all backend layers have. */
export interface Options<E = never, R = never> extends Repository.Options, SnapshotStore.Options, ReaderOptions<E, R> {}

/**
 * Everything above the recorders of a backend: the event store, snapshots, repositories and subscriptions.
 *
 * **When to use**
 *
 * Use this with a backend of your own, or with the recorders of a backend (`layerRecorders`). The layers of the
 * backends (such as `SqliteLayer`) include it.
 *
 * **Example** (On the recorders of the memory backend)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { Cipher, Compressor, EventSourcing, KeyService, Mapper, Transcoder } from "effect-eventsourcing"
 * import * as Memory from "effect-eventsourcing/memory"
 *
 * const mapper = Mapper.layer.pipe(
 *   Layer.provide([Transcoder.layerJson, Compressor.layerZstd, Cipher.layerNone])
 * )
 * const layer = EventSourcing.layer({ mapper, cacheCapacity: 0 }).pipe(Layer.provideMerge(Memory.layerRecorders))
 * console.log(Layer.isLayer(layer)) // prints: true
 * ```
 */
export const layer = <E = never, R = never>(
  options: Options<E, R> = {}
): Layer.Layer<EventSourcing, E, R | Recorder | SnapshotRecorder> =>
  Layer.mergeAll(Repository.layer(options), Layer.fresh(Subscription.layerWith(options))).pipe(
    // each log has its own: a layer that is one constant would be built once, even in a program with several logs
    Layer.provideMerge(
      Layer.fresh(
        Layer.mergeAll(
          EventStore.layerWith(options),
          SnapshotStore.layerWith(options),
          Layer.effect(LogReader, Recorder)
        )
      )
    ),
    Layer.provideMerge(options.mapper ?? (Mapper.layerJson as Layer.Layer<Mapper.Mapper, E, R>))
  )

/**
 * Everything that follows a log without appending to it: subscriptions, on which projections run.
 *
 * **When to use**
 *
 * Use this to follow a log of which the program has only the `LogReader`. The layers of the backends, and {@link layer},
 * include it.
 *
 * **Example** (The read half of a log in memory)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { EventSourcing, LogReader, Recorder } from "effect-eventsourcing"
 * import * as Memory from "effect-eventsourcing/memory"
 *
 * const reader = Layer.effect(LogReader.LogReader, Recorder.Recorder).pipe(Layer.provide(Memory.layerRecorders))
 * const program = LogReader.LogReader.use(({ head }) => head)
 *
 * Effect.runPromise(
 *   program.pipe(Effect.provide(EventSourcing.layerReader().pipe(Layer.provideMerge(reader))))
 * ).then((head) => {
 *   console.log(head) // prints: undefined
 * })
 * ```
 */
export const layerReader = <E = never, R = never>(
  options: ReaderOptions<E, R> = {}
): Layer.Layer<Reader, E, R | LogReader> =>
  Layer.fresh(Subscription.layerWith(options)).pipe(
    Layer.provideMerge(options.mapper ?? (Mapper.layerJson as Layer.Layer<Mapper.Mapper, E, R>))
  )

/** The recorders of a log whose appends maintain inline projections. @internal */
export const layerInline = <S, E, R, E2>(
  projections: ReadonlyArray<Projection.Inline>,
  database: Effect.Effect<InlineDatabase, E2, Scope.Scope>,
  options: Options<E, R>
): Layer.Layer<S, E | E2 | RecorderError, R | S | InlineServices> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const services = yield* Effect.context<S | InlineServices>()
      const store = yield* EventStore.EventStore
      const decodeOf = ({ aggregates }: Projection.Inline) => store.decode(aggregates)
      return yield* withInline<S>(services, projections, decodeOf, yield* database, options.pageBytes)
    })
  ).pipe(
    // of these recorders, and not of those that are built here
    Layer.provide(Layer.fresh(EventStore.layerWith(options))),
    Layer.provide(options.mapper ?? (Mapper.layerJson as Layer.Layer<Mapper.Mapper, E, R>))
  )
