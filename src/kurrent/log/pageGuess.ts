import type { Bounds, Page } from "../../internal/backend/pageSize.ts"

/** The fewest events that are first requested, unless the page has fewer. */
const FIRST = 16

/**
 * How many events to request at a time. The server sends every event that was requested, even after a page has reached
 * its size: a few are requested at first, then as many as the page is likely to hold.
 */
export const makePageGuess = () => {
  /** The estimated size of an event: quick to grow, slow to shrink. */
  let perEvent = 2 ** 17
  return {
    learn: ({ events, size }: Page) => {
      if (events.length > 0) perEvent = Math.max(size() / events.length, perEvent / 4)
    },
    next: ({ limit, maxBytes = Number.POSITIVE_INFINITY }: Bounds, { events, size }: Page): number => {
      const count = events.length
      const likely =
        count === 0
          ? Math.max(Math.ceil(maxBytes / perEvent), FIRST)
          : Math.ceil((1.5 * (maxBytes - size())) / Math.max(size() / count, 1))
      return Math.min(Math.max(likely, 4), limit - count)
    }
  }
}
