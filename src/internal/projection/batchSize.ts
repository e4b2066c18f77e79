/** How many events are handled in a transaction next, where that has to be known before they are. */

/** How many are handled first, before it is known how long they take. */
export const FIRST = 4

/** Sizes from one to a limit: as many as are handled in the time that there is. */
export interface BatchSize {
  readonly next: () => number
  /** So many were handled, which took a time, and left another of what there was; both in milliseconds. */
  readonly adapt: (size: number, took: number, left: number) => void
}

export const make = (limit: number): BatchSize => {
  let next = Math.min(FIRST, limit)
  return {
    next: () => next,
    adapt: (size, took, left) => {
      const fitting = Math.floor((size * (took + left)) / Math.max(took, 1))
      // fewer, because there were no more, say nothing of more
      if (size < next && fitting >= size) return
      next = Math.max(1, Math.min(2 * size, fitting, limit))
    }
  }
}
