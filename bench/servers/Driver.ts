/** What a program without the library would do to keep and read the same log. */
import type { Effect } from "effect"
import type { Item } from "../order.ts"

/** An event to append. */
export interface Insert {
  readonly stream: string
  readonly version: number
  readonly item: Item
}

/** A driver on a log. */
export interface Driver {
  readonly name: string
  /** Appends an event. */
  readonly insert: (event: Insert) => Effect.Effect<unknown, unknown>
  /** Appends many events of one stream, in one go. */
  readonly insertMany: (events: ReadonlyArray<Insert>) => Effect.Effect<unknown, unknown>
  /** Reads and parses the events of a stream; answers how many there were. */
  readonly readStream: (stream: string) => Effect.Effect<number, unknown>
  /** Reads and parses all events; answers how many there were. */
  readonly readAll: Effect.Effect<number, unknown>
}
