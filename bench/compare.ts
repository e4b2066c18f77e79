/** Several ways to do the same, measured in one run. */
import type { Scope } from "effect"
import { Clock, Effect } from "effect"
import { progress } from "./progress.ts"
import type { Timed } from "./timing.ts"
import { median, rate } from "./timing.ts"

/** The two that are compared: the library, and what it is compared with. Each run is one round. */
export interface Sides<A = Timed> {
  readonly ours: Effect.Effect<A, unknown>
  readonly other: Effect.Effect<A, unknown>
  /** What it is compared with besides, in the same rounds. */
  readonly third?: Effect.Effect<A, unknown> | undefined
}

/** What a round has measured. */
export type Round<A> = { readonly [Side in keyof Sides]: A }

/** How much of something each has, operations in a second where nothing else is said. */
export interface Comparison {
  /** The median of the rounds. */
  readonly ours: number
  readonly other: number
  /** `ours / other`: how much of the other we reach. */
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

/** All sides in turn, the one that begins changing each time: whatever disturbs the machine disturbs them all. */
const inTurn = Effect.fnUntraced(function* <A>({ ours, other, third }: Sides<A>, round: number) {
  const sides = [["ours", ours] as const, ["other", other] as const, ...(third ? [["third", third] as const] : [])]
  const order = round % 2 === 0 ? sides : sides.reverse()
  const measured: { -readonly [Side in keyof Sides]?: A } = {}
  for (const [name, side] of order) measured[name] = yield* side
  return measured as Round<A>
})

/** Measures all sides: a round to warm up, then the others. */
export const takeTurns = Effect.fnUntraced(function* <A>(
  title: string,
  prepare: Effect.Effect<Sides<A>, unknown, Scope.Scope>,
  { rounds, seconds }: Rounds
) {
  const began = yield* Clock.currentTimeMillis
  yield* progress(title, "preparing")
  const sides = yield* prepare
  yield* progress(title, "warming up")
  yield* inTurn(sides, 0)
  const measured: Array<Round<A>> = []
  for (let round = 1; round <= rounds; round++) {
    if (round > LEAST && (yield* Clock.currentTimeMillis) - began > seconds * 1000) break
    yield* progress(title, `round ${round} of ${rounds}`)
    measured.push(yield* inTurn(sides, round))
  }
  return measured
}, Effect.scoped)

/** Compares the library with one of the other sides, by a number of what was measured. */
export const comparisonOf = <A>(
  rounds: ReadonlyArray<Round<A>>,
  numberOf: (measured: A) => number,
  side: "other" | "third" = "other"
): Comparison => {
  const measured = rounds.flatMap((round) => {
    const other = round[side]
    return other === undefined ? [] : [[numberOf(round.ours), numberOf(other)] as const]
  })
  const ours = median(measured.map(([numberOfOurs]) => numberOfOurs))
  const other = median(measured.map(([, numberOfOther]) => numberOfOther))
  const ratios = measured.map(([numberOfOurs, numberOfOther]) => numberOfOurs / numberOfOther)
  return { ours, other, ratio: ours / other, range: [Math.min(...ratios), Math.max(...ratios)] }
}

/** Compares the rate of the library with the other side's, or with the faster of the two others: by the medians of all rounds. */
export const compare = (title: string, prepare: Effect.Effect<Sides, unknown, Scope.Scope>, rounds: Rounds) =>
  Effect.map(takeTurns(title, prepare, rounds), (measured) => {
    const other = comparisonOf(measured, rate)
    if (measured.some(({ third }) => third === undefined)) return other
    const third = comparisonOf(measured, rate, "third")
    return third.other > other.other ? third : other
  })
