/** Who has processed an upstream, and up to which position. */
import type { Position } from "./Position.ts"

/** Identifies one tracking position. */
export interface Key {
  /** The name of the projection or process. */
  readonly projection: string
  /** The version of the projection, so that a new one can catch up beside the old. */
  readonly version: number
  /** What is followed: the name of a log. */
  readonly upstream: string
  /** The slice of the upstream; 0 where it is not sliced. */
  readonly slice: number
}

/**
 * Moves a tracking position from where the work began to where it ended.
 *
 * The move is a compare-and-swap: if the position is not `from`, it fails with `TrackingConflict` and nothing is done. It
 * goes forward: one that would stand still or go back is refused with `RecorderFailure`.
 */
export interface Move {
  readonly key: Key
  /** `undefined` where nothing has been processed yet. */
  readonly from: Position | undefined
  readonly to: Position
}

/**
 * Why a move is refused, if it is: what was processed would be processed again. For backends, which refuse it before they do
 * anything.
 */
export const refusal = ({ key, from, to }: Move): string | undefined =>
  from === undefined || to > from
    ? undefined
    : `the tracking of upstream "${key.upstream}" (slice ${key.slice}) by version ${key.version} of projection "${key.projection}" can't move from position ${from} to position ${to}: it only goes forward`
