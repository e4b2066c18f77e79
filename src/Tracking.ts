/** Tracking: who has processed an upstream, and up to which position. */
import type { Position } from "./Position.ts"

/** Identifies one tracking position. */
export interface Key {
  /** The name of the projection or process. */
  readonly projection: string
  /** The version of the projection, so that a new one can catch up beside the old. */
  readonly version: number
  /** What is followed: the name of a log. */
  readonly upstream: string
  /** The slice of the upstream; 0 if it is not sliced. */
  readonly slice: number
}

/**
 * Moves a tracking position from where the work started to where it ended.
 *
 * The move is a compare-and-swap: if the position is not `from`, it fails with `TrackingConflict` and nothing is done.
 * It only goes forward: a move that would stay in place or go back is refused with `RecorderFailure`.
 */
export interface Move {
  readonly key: Key
  /** `undefined` if nothing has been processed yet. */
  readonly from: Position | undefined
  readonly to: Position
  /** If it is omitted, nothing is known about the upstream from then on. */
  readonly note?: Note | undefined
}

/** What is kept of the upstream with a position, to find out later whether it is still the same log. */
export interface Note {
  /** The id of the log to which the position belongs. */
  readonly logId: string
  /** The id of the event at the position; `undefined` if there is none, or if it is not known. */
  readonly eventId: string | undefined
}

/** How far a key has come. */
export interface Progress {
  readonly position: Position
  /** `undefined` if the last move had none, or was made by an older version of the library. */
  readonly note: Note | undefined
}

/**
 * Why a move is refused, or `undefined`: events that were processed would be processed again. For backends, which must
 * refuse it before they do anything.
 */
export const refusal = ({ key, from, to }: Move): string | undefined =>
  from === undefined || to > from
    ? undefined
    : `the tracking of upstream "${key.upstream}" (slice ${key.slice}) by version ${key.version} of projection "${key.projection}" can't move from position ${from} to position ${to}: tracking only moves forward`
