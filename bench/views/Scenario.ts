import type { Effect } from "effect"
import type { Comparison, Rounds } from "../compare.ts"
import type { Place } from "./Site.ts"

/** A row of what is measured. */
export interface Measured {
  /** The name of the scenario, and what is measured of it. */
  readonly name: string
  readonly unit: string
  readonly comparison: Comparison
}

/** One thing that is measured of views, wherever they are: several rows. */
export interface ViewScenario {
  readonly name: string
  readonly measure: (place: Place, rounds: Rounds) => Effect.Effect<ReadonlyArray<Measured>, unknown>
}
