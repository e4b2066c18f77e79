import * as V8 from "node:v8"
import * as Vm from "node:vm"
import { Clock, Effect } from "effect"

/** How many operations took how long. */
export interface Timed {
  readonly count: number
  readonly seconds: number
}

V8.setFlagsFromString("--expose-gc")
const gc: () => void = Vm.runInNewContext("gc")

/** Collects the garbage, so that nobody's time goes into clearing up behind somebody else. */
export const collectGarbage: Effect.Effect<void> = Effect.sync(() => gc())

/** The time an effect takes, in seconds. */
export const secondsOf = <E, R>(self: Effect.Effect<unknown, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeNanos
    yield* self
    return Number((yield* Clock.currentTimeNanos) - began) / 1e9
  })

/** Runs so many operations, from a clean heap, and says how long they took. */
export const timed = <E, R>(count: number, self: Effect.Effect<unknown, E, R>): Effect.Effect<Timed, E, R> =>
  collectGarbage.pipe(
    Effect.andThen(secondsOf(self)),
    Effect.map((seconds) => ({ count, seconds }))
  )

export const rate = ({ count, seconds }: Timed): number => count / seconds

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length / 2
  const at = (index: number): number => sorted[index] as number
  return Number.isInteger(middle) ? (at(middle - 1) + at(middle)) / 2 : at(Math.floor(middle))
}
