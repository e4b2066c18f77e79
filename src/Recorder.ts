/**
 * The narrow waist: everything that a backend does, and everything that the rest of the library requires of one.
 *
 * Everything above is written once against this port. Its read half is a service of its own, {@link LogReader}. So are
 * optional capabilities, which not every backend has: {@link MultiStreamAppend}, {@link TrackedAppend}, {@link
 * StreamCatalog}.
 */
import type { Effect } from "effect"
import { Context } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { RecorderError, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { LogReader } from "./LogReader.ts"
import type { Position } from "./Position.ts"
import type { StoredEvent } from "./StoredEvent.ts"
import type { StreamName } from "./StreamName.ts"

export type {
  Direction,
  Filter,
  Follow,
  FollowBatch,
  FollowState,
  Paging,
  ReadAll,
  ReadStream,
  Scanned
} from "./LogReader.ts"

/** What a stream must be at for an append to be accepted: without an event, or exactly at this last version. */
export type ExpectedVersion = "NoStream" | number

/** Events to append to one stream at an expected version. */
export interface Append {
  readonly stream: StreamName
  readonly expected: ExpectedVersion
  readonly events: NonEmptyReadonlyArray<StoredEvent>
}

/** What an append returns on every backend. */
export interface Appended {
  /** The version of the last event. */
  readonly version: number
  /** The position of the last event. */
  readonly position: Position
  /**
   * The position of each event, in their order, as every reader will get it. Omitted if the backend knows only that of
   * the last one: KurrentDB does for several events.
   */
  readonly positions?: ReadonlyArray<Position> | undefined
}

/**
 * The port that a backend implements.
 *
 * Guarantees, which `effect-eventsourcing/testing/backend` checks: G1 to G5, G7, G8 and G10.
 */
export class Recorder extends Context.Service<
  Recorder,
  LogReader["Service"] & {
    /**
     * Appends events to one stream: all of them or none (G1), if the stream is at the expected version (G2).
     *
     * Appending the same events (by id) at the same expected version again returns the same result and records nothing
     * twice (G7), even after later events. When it returns, the events are durable (G5).
     */
    readonly append: (append: Append) => Effect.Effect<Appended, WrongExpectedVersion | RecorderError>
  }
>()("effect-eventsourcing/Recorder") {}
