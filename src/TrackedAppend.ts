/**
 * A capability: an append together with a move of the tracking, both recorded or neither. Event-driven processes are
 * built on it: their results and their progress change together.
 */
import type { Effect } from "effect"
import { Context } from "effect"
import type { RecorderError, TrackingConflict, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { Check } from "./MultiStreamAppend.ts"
import type { Position } from "./Position.ts"
import type { Append } from "./Recorder.ts"
import type * as Tracking from "./Tracking.ts"

/** What a tracked append returns. */
export interface Tracked {
  /** The version of the last event of each stream, in the order of the appends. */
  readonly versions: ReadonlyArray<number>
  /** The position of the last event; `undefined` if nothing was appended. */
  readonly position: Position | undefined
  /** The positions of the events of each append, as in `Recorder.Appended`; omitted if the backend does not know them. */
  readonly positions?: ReadonlyArray<ReadonlyArray<Position>> | undefined
}

/** Appends, to none, one or several streams, together with a tracking move. */
export class TrackedAppend extends Context.Service<
  TrackedAppend,
  {
    /**
     * Records the events and moves the tracking, or does neither: if a stream that is appended to or only checked is
     * not at its expected version, and if the tracking is not where the move starts.
     *
     * Each stream may be named only once, among the appends and the checks together; naming one twice is a defect.
     *
     * Sending the same events with the same move again returns the same result (G7). A move without events can't be
     * distinguished from that of another, so sending it again is a `TrackingConflict`.
     */
    readonly append: (
      appends: ReadonlyArray<Append>,
      move: Tracking.Move,
      checks?: ReadonlyArray<Check>
    ) => Effect.Effect<Tracked, WrongExpectedVersion | TrackingConflict | RecorderError>
    /** How far the key has come; `undefined` if it has not started. */
    readonly position: (key: Tracking.Key) => Effect.Effect<Position | undefined, RecorderError>
    /** How far the key has come, with the note of the last move. */
    readonly progress: (key: Tracking.Key) => Effect.Effect<Tracking.Progress | undefined, RecorderError>
  }
>()("effect-eventsourcing/TrackedAppend") {}
