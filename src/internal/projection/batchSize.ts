/** How many events the next transaction handles, if that has to be known beforehand. */

/** How many events are handled first, before it is known how long they take. */
export const FIRST = 4

/** How many times as large as the last one a batch may be: how long it takes is estimated from that. */
const MAX_FACTOR = 16

/** Sizes from one to a limit: as many events as can be handled in the available time. */
export interface BatchSize {
  readonly next: () => number
  /**
   * Reports how many events were handled, how long that took, and how much of the available time was left, both in
   * milliseconds.
   */
  readonly adapt: (size: number, took: number, left: number) => void
}

export const make = (limit: number): BatchSize => {
  let next = Math.min(FIRST, limit)
  return {
    next: () => next,
    adapt: (size, took, left) => {
      const fitting = Math.floor((size * (took + left)) / Math.max(took, 1))
      // a batch that was small because there were no more events tells nothing about larger ones
      if (size < next && fitting >= size) return
      next = Math.max(1, Math.min(MAX_FACTOR * size, fitting, limit))
    }
  }
}
