/** The KurrentDB backend, on the official client: event sourcing on a server, and a general-purpose client. */

export type { Connected } from "./client/Connected.ts"
export { layerConnected } from "./client/Connected.ts"
export type { ConnectionOptions } from "./client/ConnectionOptions.ts"
export type {
  AllItem,
  StreamItem,
  SubscribeOptions,
  SubscribeToAllOptions,
  SubscribeToStreamOptions,
  SubscriptionState
} from "./client/catchUp.ts"
export type { Consumed, ConsumeOptions, NackAction } from "./client/consume.ts"
export type { EventToAppend, ReadEvent, RecordedEvent } from "./client/events.ts"
export type { AllFilter, PatternFilter, PrefixFilter } from "./client/filters.ts"
export { escape as escapePattern, withoutSystemEvents } from "./client/filters.ts"
export { KurrentClient } from "./client/KurrentClient.ts"
export type { Acl, StreamMetadata, StreamMetadataRead } from "./client/metadata.ts"
export type {
  ConsumerInfo,
  ConsumerStrategy,
  PersistentSubscriptionInfo,
  PersistentSubscriptionSettings,
  PersistentSubscriptionToAllSettings
} from "./client/persistentSettings.ts"
export type { PersistentSubscriptions } from "./client/persistentSubscriptions.ts"
export type { ReadAllOptions, ReadOptions, ReadStreamOptions } from "./client/reads.ts"
export type { Retry } from "./client/reconnecting.ts"
export type { Checkpoint } from "./client/subscription.ts"
export type { ExpectedRevision } from "./client/values.ts"
export type {
  AppendError,
  Appended,
  AppendedToStreams,
  Check,
  Deleted,
  DeleteError,
  DeleteOptions,
  RecordToAppend,
  StreamAppend
} from "./client/writes.ts"
export * as KurrentError from "./connection/KurrentError.ts"
export type { KurrentOptions, KurrentServices, LogOptions } from "./log/KurrentLayer.ts"
export { KurrentLayer } from "./log/KurrentLayer.ts"
export type { MultiStreamServices, Options as RecorderOptions, Services } from "./log/KurrentRecorder.ts"
export { layer as layerRecorders, layerMultiStream } from "./log/KurrentRecorder.ts"
