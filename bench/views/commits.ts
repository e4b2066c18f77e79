import { Effect } from "effect"

/** When a view had come to which position. */
export interface Commits {
  /** Notes that a transaction was committed just now. */
  readonly note: (position: number) => void
  /** Waits until a position is in the view; answers when that was, in milliseconds. */
  readonly reached: (position: number) => Effect.Effect<number>
}

export const makeCommits = (): Commits => {
  const all: Array<{ readonly position: number; readonly at: number }> = []
  const waiting = new Set<() => void>()
  const find = (position: number) => {
    // positions only grow
    let low = 0
    let high = all.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((all[middle]?.position ?? 0) < position) low = middle + 1
      else high = middle
    }
    return all[low]?.at
  }
  return {
    note: (position) => {
      all.push({ position, at: performance.now() })
      for (const look of waiting) look()
    },
    reached: (position) =>
      Effect.callback((resume) => {
        const look = () => {
          const at = find(position)
          if (at === undefined) return
          waiting.delete(look)
          resume(Effect.succeed(at))
        }
        waiting.add(look)
        look()
        return Effect.sync(() => waiting.delete(look))
      })
  }
}
