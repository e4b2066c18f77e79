/** The shared parts of processing a projection's batches. */
import type { Cause, Metric, Schedule } from "effect"
import { Effect } from "effect"
import type {
  ProjectionFailed,
  ProjectionSuperseded,
  ReadError,
  RecorderError,
  TrackingConflict
} from "../../EventSourcingError.ts"
import { RecorderUnavailable } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Notification } from "../../StoredEvent.ts"
import type * as Tracking from "../../Tracking.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { explain } from "../errors/transient.ts"
import type { BatchSize } from "./batchSize.ts"
import type { Tracker } from "./tracker.ts"

/** How a projection's batches are processed. */
export interface Processing {
  readonly projection: Projection.Any
  readonly key: Tracking.Key
  /** The attributes of its runner's metrics. */
  readonly attributes: Metric.Metric.AttributeSet
  readonly store: ViewStore<unknown, never>
  readonly decode: (page: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<AnyRecorded>, ReadError>
  /** The most events in a transaction. */
  readonly maxBatch: number
  readonly retry: Schedule.Schedule<unknown>
  readonly onFailure: "stop" | "set-aside"
  readonly onBlocked: (event: BlockedOn, cause: unknown, attempts: number, nextAttempt: number) => Effect.Effect<void>
}

export type AnyRecorded = Positioned<string, { readonly _tag: string }>

/** The shared state of a processor's steps. */
export interface ProcessorContext extends Processing {
  readonly tracker: Tracker
  /** Whether the projection handles an event, or its type is unknown: then it has to fail. */
  readonly isWanted: (event: Notification) => boolean
  /** Whether this program knows the type and the schema version of an event. */
  readonly isKnown: (event: Notification) => boolean
  /** The most events that a handler of batches gets at once. */
  readonly batchSize: BatchSize
  /** Streams that have dead letters, as far as is known. */
  readonly failedStreams: Set<string>
  readonly counters: Readonly<Record<"projected" | "retries" | "setAside", Metric.Counter<number>>>
  /** The events in the handlers, if any. */
  inHand: InHand | undefined
}

/** Events that the handlers have received and not yet finished. */
export interface InHand {
  /** In milliseconds since the epoch. */
  readonly since: number
  /** The first of them. */
  readonly event: BlockedOn
  /** How many there are. */
  readonly events: number
}

/** An event on which a handler fails. */
export interface BlockedOn {
  readonly position: Position
  readonly stream: string
  readonly version: number
  readonly type: string
}

export const toBlockedOn = ({ position, stream, version, type }: Notification): BlockedOn => ({
  position,
  stream,
  version,
  type
})

/** What ends the processing of a batch. */
export type ProcessError = FromNewerProgram | ProjectionFailed | ProjectionSuperseded | TrackingConflict | RecorderError

/**
 * An event whose type or schema version this program does not know: a newer program wrote it, and has to handle it. The
 * event is valid, so it is never dead-lettered for that.
 */
export class FromNewerProgram {
  readonly event: BlockedOn
  readonly cause: unknown
  constructor(event: BlockedOn, cause: unknown) {
    this.event = event
    this.cause = cause
  }
}

/** A failure of a handler, or of decoding for it, told apart from failures of the view's database. */
export class HandlerFailed {
  readonly cause: Cause.Cause<unknown>
  constructor(cause: Cause.Cause<unknown>) {
    this.cause = cause
  }
}

/** Turns failures into those of a handler. */
export const asHandler = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, HandlerFailed, R> =>
  Effect.catchCause(self, (cause) => Effect.fail(new HandlerFailed(cause)))

/** A transient failure in a handler: the event is not to blame. */
export const unavailable = ({ projection }: Processing, cause: unknown): RecorderUnavailable =>
  new RecorderUnavailable({ operation: `run projection "${projection.name}"`, reason: explain(cause), cause })
