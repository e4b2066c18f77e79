/** Limits how many calls run at once; further calls wait in order. */
export interface ConcurrencyLimit {
  /**
   * Begins a call now or when its turn comes. Returns how to stop waiting. A call that has begun must report `done`.
   */
  readonly begin: (call: () => void) => () => void
  readonly done: () => void
}

export const make = (most: number): ConcurrencyLimit => {
  let underWay = 0
  const waiting = new Set<() => void>()
  return {
    begin: (call) => {
      if (underWay < most) {
        underWay++
        call()
        return () => {}
      }
      // a new function each time: the same call may be waiting already
      const next = () => call()
      waiting.add(next)
      return () => {
        waiting.delete(next)
      }
    },
    done: () => {
      const [next] = waiting
      if (next === undefined) {
        underWay--
        return
      }
      waiting.delete(next)
      next()
    }
  }
}
