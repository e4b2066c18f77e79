/** Stretches of the total order in which a filter matches nothing, so that they are searched only once. */
import type { Position } from "../../Position.ts"
import type { AllFilter } from "../client/filters.ts"

/** No event after `after` matches, up to the event `at`, which may match. */
export interface Gap {
  readonly after: Position | undefined
  readonly at: Position
}

export interface Gaps {
  /** Where a forward read may begin (inclusive) instead of after a position; `undefined` if that is not known. */
  readonly past: (filters: ReadonlyArray<AllFilter>, after: Position | undefined) => Position | undefined
  readonly note: (filter: AllFilter, gap: Gap) => void
}

/** How many filters are remembered. */
const CAPACITY = 64

const isBefore = (a: Position | undefined, b: Position | undefined): boolean =>
  a === undefined || (b !== undefined && a <= b)

/** Keeps one gap for each filter, the widest that was searched: new events are appended after all of them (G3). */
export const make = (): Gaps => {
  const gaps = new Map<string, Gap>()
  return {
    past: (filters, after) => {
      if (gaps.size === 0) return undefined
      let past: Position | undefined
      for (const filter of filters) {
        const gap = gaps.get(JSON.stringify(filter))
        if (gap === undefined || !isBefore(gap.after, after) || isBefore(gap.at, after)) continue
        if (past === undefined || gap.at > past) past = gap.at
      }
      return past
    },
    note: (filter, gap) => {
      const key = JSON.stringify(filter)
      const known = gaps.get(key)
      if (known !== undefined && isBefore(known.after, gap.after) && gap.at <= known.at) return
      gaps.delete(key)
      gaps.set(key, gap)
      const [oldest] = gaps.keys()
      if (gaps.size > CAPACITY && oldest !== undefined) gaps.delete(oldest)
    }
  }
}
