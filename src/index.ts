/**
 * Event sourcing for TypeScript, as Effect layers.
 *
 * Each module is a namespace: `import { Aggregate, Repository } from "effect-eventsourcing"`. Backends are subpaths:
 * `effect-eventsourcing/memory`, `effect-eventsourcing/sqlite`, `effect-eventsourcing/postgres`,
 * `effect-eventsourcing/kurrent`; `effect-eventsourcing/config` chooses one by the environment.
 */

// For applications: the domain, commands, and the consumers of events.

export * as Aggregate from "./Aggregate.ts"
export * as Deadline from "./Deadline.ts"
export * as Decision from "./Decision.ts"
export * as DomainEvent from "./DomainEvent.ts"
export * as EventSourcingError from "./EventSourcingError.ts"
export * as EventStore from "./EventStore.ts"
export * as Evolution from "./Evolution.ts"
export * as Metadata from "./Metadata.ts"
export * as Position from "./Position.ts"
export * as Process from "./Process.ts"
export * as Projection from "./Projection.ts"
export * as RecordedEvent from "./RecordedEvent.ts"
export * as Repository from "./Repository.ts"
export * as StreamName from "./StreamName.ts"
export * as Subscription from "./Subscription.ts"
export * as View from "./View.ts"

// For operators: how events are encoded, what runs, and who owns it.

export * as Cipher from "./Cipher.ts"
export * as Compressor from "./Compressor.ts"
export * as EventSourcing from "./EventSourcing.ts"
export * as KeyService from "./KeyService.ts"
export * as Mapper from "./Mapper.ts"
export * as Ownership from "./Ownership.ts"
export * as ProjectionRunner from "./ProjectionRunner.ts"
export * as SnapshotStore from "./SnapshotStore.ts"
export * as StreamCatalog from "./StreamCatalog.ts"
export * as Transcoder from "./Transcoder.ts"

// For authors of backends: the ports, and what passes through them.

export * as LogReader from "./LogReader.ts"
export * as MultiStreamAppend from "./MultiStreamAppend.ts"
export * as Recorder from "./Recorder.ts"
export * as SnapshotRecorder from "./SnapshotRecorder.ts"
export * as StoredEvent from "./StoredEvent.ts"
export * as TrackedAppend from "./TrackedAppend.ts"
export * as Tracking from "./Tracking.ts"
export * as TransactionalAppend from "./TransactionalAppend.ts"
export * as ViewStore from "./ViewStore.ts"
