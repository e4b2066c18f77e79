/** The port for snapshots, beside {@link Recorder}: one per stream, the newest. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { RecorderError } from "./EventSourcingError.ts"
import type { StreamName } from "./StreamName.ts"

/** The recorded form of a snapshot. */
export interface StoredSnapshot {
  readonly stream: StreamName
  /** The version of the last event that the state includes. */
  readonly version: number
  /** The version of the state's schema. */
  readonly schemaVersion: number
  /** How the payload was encoded; see {@link StoredEvent}. */
  readonly encoding: string
  readonly payload: string | Uint8Array
  /** When the aggregate's first event was recorded, in milliseconds since the epoch. */
  readonly createdAt: number
  /** When the event at `version` was recorded, in milliseconds since the epoch. */
  readonly modifiedAt: number
}

/** Keeps the newest snapshot of each stream, outside the total order. */
export class SnapshotRecorder extends Context.Service<
  SnapshotRecorder,
  {
    /** Replaces the stream's snapshot, unless the existing one is newer. */
    readonly save: (snapshot: StoredSnapshot) => Effect.Effect<void, RecorderError>
    /** The stream's snapshot, if it has one. */
    readonly load: (stream: StreamName) => Effect.Effect<StoredSnapshot | undefined, RecorderError>
    /** Whether the holder of this context is within a transaction of its own; see {@link Recorder}. */
    readonly inTransaction?: ((context: Context.Context<never>) => boolean) | undefined
  }
>()("effect-eventsourcing/SnapshotRecorder") {}
