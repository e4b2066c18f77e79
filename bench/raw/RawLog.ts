/**
 * What a program without the library would do to keep and read the same log.
 *
 * On either side an event is a row of the same ten columns, encoded with `JSON.stringify` when it is written; payload and
 * metadata are parsed when it is read.
 */
import type { Item } from "../order.ts"

export interface RawLog {
  /** Runs inserts as one transaction. */
  readonly transaction: (inserts: () => void) => void
  readonly insert: (stream: string, version: number, item: Item) => void
  /** Reads and parses the events of a stream; answers how many there were. */
  readonly readStream: (stream: string) => number
  /** Reads and parses all events; answers how many there were. */
  readonly readAll: () => number
}
