/** Everything above a backend's recorders, as one layer: mapper, event store, snapshot store, repository, subscriptions. */
import { Layer } from "effect"
import * as EventStore from "./EventStore.ts"
import * as Mapper from "./Mapper.ts"
import type { Recorder } from "./Recorder.ts"
import * as Repository from "./Repository.ts"
import type { SnapshotRecorder } from "./SnapshotRecorder.ts"
import * as SnapshotStore from "./SnapshotStore.ts"
import * as Subscription from "./Subscription.ts"

/** What an application works with. */
export type EventSourcing =
  | Mapper.Mapper
  | EventStore.EventStore
  | SnapshotStore.SnapshotStore
  | Repository.Repository
  | Subscription.Subscription

/** The options that all backend layers have. */
export interface Options<E = never, R = never> extends Repository.Options {
  /** How payloads are encoded. Default: `Mapper.layerJson`, plain JSON. */
  readonly mapper?: Layer.Layer<Mapper.Mapper, E, R>
}

/**
 * Everything above the recorders of a backend.
 *
 * @example
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
  Layer.mergeAll(Repository.layer(options), Subscription.layer).pipe(
    Layer.provideMerge(Layer.mergeAll(EventStore.layer, SnapshotStore.layer)),
    Layer.provideMerge(options.mapper ?? (Mapper.layerJson as Layer.Layer<Mapper.Mapper, E, R>))
  )
