/** A domain event together with what was added when it was recorded. */
import type { DateTime } from "effect"
import type { Id } from "./Aggregate.ts"
import type { Metadata } from "./Metadata.ts"
import type { Position } from "./Position.ts"
import type { StreamName } from "./StreamName.ts"

/** A domain event as it was recorded. */
export interface RecordedEvent<Name extends string, out Event> {
  /** Identifies the event everywhere (a UUID). */
  readonly id: string
  readonly stream: StreamName
  /** The name of the aggregate to which the event belongs. */
  readonly aggregate: Name
  /** The id of that aggregate. */
  readonly aggregateId: Id<Name>
  /** The event's place in its stream: 0, 1, 2… */
  readonly version: number
  readonly recordedAt: DateTime.Utc
  readonly metadata: Metadata
  /** The event, upcast to its newest schema version. */
  readonly event: Event
}

/** A recorded event that was read back, and so has its place in the total order. */
export interface Positioned<Name extends string, out Event> extends RecordedEvent<Name, Event> {
  readonly position: Position
}
