/**
 * A capability: an append that carries a tracking move, both recorded or neither. What an event-driven process stands
 * on: its results and how far it has come change together.
 */
import type { Effect } from "effect"
import { Context } from "effect"
import type { RecorderError, TrackingConflict, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { Position } from "./Position.ts"
import type { Append } from "./Recorder.ts"
import type * as Tracking from "./Tracking.ts"

/** What a tracked append answers. */
export interface Tracked {
  /** The version of the last event of each stream, in the order of the appends. */
  readonly versions: ReadonlyArray<number>
  /** The position of the last event; `undefined` where nothing was appended. */
  readonly position: Position | undefined
}

/** Appends, to none, one or several streams, together with a tracking move. */
export class TrackedAppend extends Context.Service<
  TrackedAppend,
  {
    /**
     * Records the events and moves the tracking, or does neither.
     *
     * Sending the same events with the same move again gives the same answer (G7). A move without events can't be told
     * from another's, so sending it again is a `TrackingConflict`.
     */
    readonly append: (
      appends: ReadonlyArray<Append>,
      move: Tracking.Move
    ) => Effect.Effect<Tracked, WrongExpectedVersion | TrackingConflict | RecorderError>
    /** How far the key has come; `undefined` where it has not begun. */
    readonly position: (key: Tracking.Key) => Effect.Effect<Position | undefined, RecorderError>
  }
>()("effect-eventsourcing/TrackedAppend") {}
