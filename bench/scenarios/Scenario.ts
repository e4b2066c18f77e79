import type { Effect, Scope } from "effect"
import type { Backend } from "../backends/Backend.ts"
import type { Sides } from "../compare.ts"

/** One thing that is measured, on any backend. */
export interface Scenario {
  readonly name: string
  readonly unit: string
  /** Makes what the rounds share, if anything. */
  readonly sides: (backend: Backend) => Effect.Effect<Sides, unknown, Scope.Scope>
}

/** About what a command costs us without its commit, in seconds. */
const COMMAND = 10e-6

/** How long a side should take in a round, in seconds: short, so that a disturbance seldom hits one side alone. */
const ROUND = 0.4

/** How many operations fill a round, if each waits for one commit on either side. */
export const commandsPerRound = ({ commit }: Backend): number =>
  Math.min(Math.max(Math.round(ROUND / (commit + COMMAND)), 100), 20_000)
