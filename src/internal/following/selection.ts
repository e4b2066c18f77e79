/** What a subscription requests, and what it receives, before its events are decoded. */
import type * as Aggregate from "../../Aggregate.ts"
import type { FollowBatch } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type * as StreamName from "../../StreamName.ts"

/** Which events. */
export interface Selection<out A extends Aggregate.Any> {
  readonly aggregates: ReadonlyArray<A>
  readonly types?: ReadonlyArray<string> | undefined
  readonly stream?: StreamName.StreamName | undefined
}

/** A batch that is not decoded yet. */
export interface StoredBatch extends FollowBatch {
  /** The last known end of the log. */
  readonly head: Position | undefined
  /** How often the log could not be reached before it was read; see `tail.ts`. */
  readonly outages: number
}
