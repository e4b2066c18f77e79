/** A capability: listing the streams of a log. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { RecorderError } from "./EventSourcingError.ts"
import type { StreamName } from "./StreamName.ts"

/** A page of streams, in the order of their names (by code point). */
export interface ListStreams {
  /** Only streams of this category (an aggregate's name). */
  readonly category?: string | undefined
  /** Begin behind this name. */
  readonly after?: StreamName | undefined
  /** How many at the most; a page that has fewer is the last. */
  readonly limit: number
}

/** A stream and where it stands. */
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
