import { Duration } from "effect"
import type { Position } from "../../Position.ts"

/** How fast a follower catches up, and how long that will take. */
export const makePace = (start: Position | undefined, began: number) => {
  let events = 0
  return (position: Position | undefined, head: Position | undefined, more: number, now: number) => {
    events += more
    const elapsed = Math.max(now - began, 1)
    const done = Number((position ?? 0n) - (start ?? 0n))
    const left = Number((head ?? 0n) - (position ?? 0n))
    return {
      eventsPerSecond: Math.round((events * 1000) / elapsed),
      remaining: done > 0 ? Duration.millis(Math.round((elapsed * Math.max(left, 0)) / done)) : undefined
    }
  }
}
