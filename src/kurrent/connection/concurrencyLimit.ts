/** Bounds how many calls are under way at once; who comes later waits in order. */
export interface Turns {
  /** Begins now, or when it is its turn; answers how to give up waiting. Whoever has begun says when it is done. */
  readonly begin: (call: () => void) => () => void
  readonly done: () => void
}

export const make = (most: number): Turns => {
  let underWay = 0
  const waiting = new Set<() => void>()
  return {
    begin: (call) => {
      if (underWay < most) {
        underWay++
        call()
        return () => {}
      }
      // a function of its own, also for a call that is there already
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
