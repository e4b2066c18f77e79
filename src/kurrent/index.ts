/** KurrentDB, by its official client: event sourcing on a server, and the server itself. */

export type { Connected } from "./Connected.ts"
export { layerConnected } from "./Connected.ts"
export type {
  AllItem,
  StreamItem,
  SubscribeOptions,
  SubscribeToAllOptions,
  SubscribeToStreamOptions,
  SubscriptionState
} from "./catchUp.ts"
export type { ConnectionOptions } from "./connect.ts"
export type { Consumed, ConsumeOptions, NackAction } from "./consume.ts"
export type { EventToAppend, ReadEvent, RecordedEvent } from "./events.ts"
export type { AllFilter, PatternFilter, PrefixFilter } from "./filters.ts"
export { escape as escapePattern, withoutSystemEvents } from "./filters.ts"
export { KurrentClient } from "./KurrentClient.ts"
export * as KurrentError from "./KurrentError.ts"
export type { KurrentOptions, KurrentServices, LogOptions } from "./KurrentLayer.ts"
export { KurrentLayer } from "./KurrentLayer.ts"
export type { Options as RecorderOptions, Services } from "./KurrentRecorder.ts"
export { layer as layerRecorders, layerMultiStream } from "./KurrentRecorder.ts"
export type { Acl, StreamMetadata, StreamMetadataRead } from "./metadata.ts"
export type {
  ConsumerInfo,
  ConsumerStrategy,
  PersistentSubscriptionInfo,
  PersistentSubscriptionSettings,
  PersistentSubscriptionToAllSettings
} from "./persistentSettings.ts"
export type { PersistentSubscriptions } from "./persistentSubscriptions.ts"
export type { ReadAllOptions, ReadOptions, ReadStreamOptions } from "./reads.ts"
export type { Retry } from "./reconnecting.ts"
export type { Checkpoint } from "./subscription.ts"
export type { ExpectedRevision } from "./values.ts"
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
} from "./writes.ts"
