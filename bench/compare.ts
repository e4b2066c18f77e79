/** Two ways to do the same, measured in one run. */
import type { Scope } from "effect"
import { Clock, Effect } from "effect"
import { progress } from "./progress.ts"
import type { Timed } from "./timing.ts"
import { median, rate } from "./timing.ts"

/** The two that are compared: the library, and what it is compared with. Each run is one round. */
export interface Sides {
  readonly ours: Effect.Effect<Timed, unknown>
  readonly other: Effect.Effect<Timed, unknown>
}

/** Operations in a second. */
export interface Comparison {
  /** The median of the rounds. */
  readonly ours: number
  readonly other: number
  /** How much of the other we reach: `ours / other`. */
  readonly ratio: number
  /** The lowest and the highest ratio of a round. */
  readonly range: readonly [number, number]
}

/** How often to measure. */
export interface Rounds {
  readonly rounds: number
  /** No round begins after so many seconds, but for the first three. */
  readonly seconds: number
}

const LEAST = 3

/** Both sides in turn, the one that begins changing each time: whatever disturbs the machine disturbs both. */
const inTurn = ({ ours, other }: Sides, round: number) =>
  Effect.gen(function* () {
    if (round % 2 === 0) {
      const first = rate(yield* ours)
      return [first, rate(yield* other)] as const
    }
    const first = rate(yield* other)
    return [rate(yield* ours), first] as const
  })

/** Measures both sides: a round to warm up, then the others. */
export const compare = Effect.fnUntraced(function* (
  title: string,
  prepare: Effect.Effect<Sides, unknown, Scope.Scope>,
  { rounds, seconds }: Rounds
) {
  const began = yield* Clock.currentTimeMillis
  yield* progress(title, "preparing")
  const sides = yield* prepare
  yield* progress(title, "warming up")
  yield* inTurn(sides, 0)
  const measured: Array<readonly [ours: number, other: number]> = []
  for (let round = 1; round <= rounds; round++) {
    if (round > LEAST && (yield* Clock.currentTimeMillis) - began > seconds * 1000) break
    yield* progress(title, `round ${round} of ${rounds}`)
    measured.push(yield* inTurn(sides, round))
  }
  const ours = median(measured.map(([rateOfOurs]) => rateOfOurs))
  const other = median(measured.map(([, rateOfOther]) => rateOfOther))
  const ratios = measured.map(([rateOfOurs, rateOfOther]) => rateOfOurs / rateOfOther)
  const comparison: Comparison = { ours, other, ratio: ours / other, range: [Math.min(...ratios), Math.max(...ratios)] }
  return comparison
}, Effect.scoped)
