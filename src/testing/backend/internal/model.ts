import type { Check } from "../../../MultiStreamAppend.ts"
import type { Append, Direction, ExpectedVersion, Filter } from "../../../Recorder.ts"
import type { StoredEvent } from "../../../StoredEvent.ts"
import * as StreamName from "../../../StreamName.ts"
import { nextVersion } from "./reading.ts"

/** Appends and checks that belong together: all or nothing. */
export interface Batch {
  readonly appends: ReadonlyArray<Append>
  readonly checks: ReadonlyArray<Check>
}

/** An event in its place, as the model stores it: its place in the total order is its index. */
export interface Placed {
  readonly stream: StreamName.StreamName
  readonly version: number
  readonly event: StoredEvent
}

/** The model's result of a batch. */
export type Answer =
  | { readonly _tag: "Recorded"; readonly versions: ReadonlyArray<number>; readonly lastId: string }
  /** Any of these may be the one that is reported. */
  | { readonly _tag: "Refused"; readonly wrong: ReadonlyArray<Check & { readonly actual: ExpectedVersion }> }

/** A log as a list: every recorder has to be equivalent to it. */
export class Model {
  readonly log: Array<Placed> = []

  stream(name: string): ReadonlyArray<Placed> {
    return this.log.filter(({ stream }) => stream === name)
  }

  lastVersion(name: string): ExpectedVersion {
    return this.stream(name).at(-1)?.version ?? "NoStream"
  }

  send({ appends, checks }: Batch): Answer {
    const wrong = [...appends, ...checks].flatMap(({ stream, expected }) => {
      const actual = this.lastVersion(stream)
      return actual === expected ? [] : [{ stream, expected, actual }]
    })
    if (wrong.length > 0 && !appends.every((append) => this.#isThere(append))) return { _tag: "Refused", wrong }
    if (wrong.length === 0) {
      for (const { stream, expected, events } of appends) {
        const first = nextVersion(expected)
        this.log.push(...events.map((event, i) => ({ stream, version: first + i, event })))
      }
    }
    const ids = new Set(appends.flatMap(({ events }) => events.map(({ id }) => id)))
    return {
      _tag: "Recorded",
      versions: appends.map(({ expected, events }) => nextVersion(expected) + events.length - 1),
      lastId: this.log.findLast(({ event }) => ids.has(event.id))?.event.id ?? ""
    }
  }

  #isThere({ stream, expected, events }: Append): boolean {
    const there = this.stream(stream).slice(nextVersion(expected))
    return events.every(({ id }, i) => there[i]?.event.id === id)
  }

  readStream(name: string, range: Range): ReadonlyArray<Placed> {
    return inRange(this.stream(name), ({ version }) => version, range)
  }

  /** `after` and `upTo` are indexes into the log. */
  readAll(range: Range, filter: Filter): ReadonlyArray<Placed> {
    const indexes = new Map(this.log.map((placed, i) => [placed, i]))
    const matching = this.log.filter(
      ({ stream, event }) =>
        (filter.types === undefined || filter.types.includes(event.type)) &&
        (filter.categories === undefined || filter.categories.includes(StreamName.category(stream)))
    )
    return inRange(matching, (placed) => indexes.get(placed) ?? -1, range)
  }
}

/** The bounds of a page. */
export interface Range {
  readonly direction: Direction
  readonly after: number | undefined
  readonly upTo: number | undefined
  readonly limit: number
}

const inRange = <A>(
  ascending: ReadonlyArray<A>,
  place: (a: A) => number,
  { direction, after, upTo, limit }: Range
): ReadonlyArray<A> => {
  const sign = direction === "forward" ? 1 : -1
  const inDirection = direction === "forward" ? ascending : ascending.toReversed()
  return inDirection
    .filter(
      (a) =>
        (after === undefined || (place(a) - after) * sign > 0) && (upTo === undefined || (place(a) - upTo) * sign <= 0)
    )
    .slice(0, limit)
}
