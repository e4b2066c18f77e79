import { Effect, Fiber } from "effect"
import { resumeSafely } from "./resumeSafely.ts"

/** The intervals that have been requested, by the object to which they belong. */
const intervals = new WeakMap<object, Map<number, Effect.Effect<void>>>()

/**
 * Waits for the next tick of an interval, in milliseconds: for at most that long. All callers that wait for the same
 * tick are woken at once, so that their next queries can be combined. Nothing ticks while nobody waits.
 */
export const nextTick = (of: object, interval: number): Effect.Effect<void> => {
  const known = intervals.get(of) ?? new Map<number, Effect.Effect<void>>()
  intervals.set(of, known)
  const tick = known.get(interval) ?? makeTick(interval)
  known.set(interval, tick)
  return tick
}

const makeTick = (interval: number): Effect.Effect<void> => {
  const waiting = new Set<() => void>()
  let timer: Fiber.Fiber<void> | undefined
  const wakeAll = Effect.sync(() => {
    timer = undefined
    const woken = [...waiting]
    waiting.clear()
    for (const wake of woken) resumeSafely(wake)
  })
  return Effect.withFiber((fiber) =>
    Effect.callback((resume) => {
      const wake = () => resume(Effect.void)
      waiting.add(wake)
      timer ??= Effect.runForkWith(fiber.context)(Effect.andThen(Effect.sleep(interval), wakeAll))
      return Effect.suspend(() => {
        waiting.delete(wake)
        const left = waiting.size === 0 ? timer : undefined
        if (left === undefined) return Effect.void
        timer = undefined
        return Fiber.interrupt(left)
      })
    })
  )
}
