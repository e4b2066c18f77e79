/** A capability: listing the streams of a log. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { RecorderError } from "./EventSourcingError.ts"
import type { StreamName } from "./StreamName.ts"

/** A page of streams, in the order of their names (by code point). */
export interface ListStreams {
  /** Only streams of this category (an aggregate's name). */
  readonly category?: string | undefined
  /** Start after this name (exclusive). */
  readonly after?: StreamName | undefined
  /** The most streams to return; a page with fewer is the last one. */
  readonly limit: number
}

/** A stream and its last version. */
export interface StreamHead {
  readonly stream: StreamName
  /** The version of its last event. */
  readonly version: number
}

/** Lists the streams of a log. */
export class StreamCatalog extends Context.Service<
  StreamCatalog,
  {
    readonly list: (list: ListStreams) => Effect.Effect<ReadonlyArray<StreamHead>, RecorderError>
  }
>()("effect-eventsourcing/StreamCatalog") {}
