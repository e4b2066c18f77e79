/** What a subscription asks for, and what it gets, before its events are decoded. */
import type * as Aggregate from "../../Aggregate.ts"
import type { Position } from "../../Position.ts"
import type { FollowBatch } from "../../Recorder.ts"
import type * as StreamName from "../../StreamName.ts"

/** Which events. */
export interface Selection<out A extends Aggregate.Any> {
  readonly aggregates: ReadonlyArray<A>
  readonly types?: ReadonlyArray<string> | undefined
  readonly stream?: StreamName.StreamName | undefined
}

/** A batch that is not decoded. */
export interface StoredBatch extends FollowBatch {
  /** The end of the log, as far as it is known. */
  readonly head: Position | undefined
  /** How often the log could not be reached until it was read; see `tail.ts`. */
  readonly outages: number
}
