/** What the project set out to reach, as ratios to the raw driver in the same run. */
import type { Comparison } from "./compare.ts"
import { microseconds } from "./report.ts"

interface Target {
  readonly backend: string
  readonly scenario: string
  readonly ratio: number
  /** Where one of raw's operations, each of them a commit, takes less, in seconds, the target says nothing. */
  readonly ifCommitCosts?: number
}

const targets: ReadonlyArray<Target> = [
  { backend: "memory", scenario: "catch-up", ratio: 0.5 },
  { backend: "memory", scenario: "catch-up-batched", ratio: 0.5 },
  { backend: "sqlite", scenario: "sequential", ratio: 0.75 },
  { backend: "sqlite", scenario: "concurrent-64", ratio: 6, ifCommitCosts: 100e-6 },
  { backend: "sqlite", scenario: "concurrent-64-batched", ratio: 0.4 },
  { backend: "sqlite", scenario: "append-100", ratio: 0.6 },
  { backend: "sqlite", scenario: "rehydrate-10000", ratio: 0.5 },
  { backend: "sqlite", scenario: "read-all", ratio: 0.5 },
  { backend: "sqlite", scenario: "catch-up", ratio: 0.5 },
  { backend: "sqlite", scenario: "catch-up-batched", ratio: 0.5 },
  { backend: "postgres", scenario: "sequential", ratio: 0.6 },
  { backend: "postgres", scenario: "concurrent-64", ratio: 2 },
  { backend: "postgres", scenario: "append-100", ratio: 0.5 },
  { backend: "postgres", scenario: "read-all", ratio: 0.4 },
  { backend: "postgres", scenario: "catch-up", ratio: 0.5 },
  { backend: "postgres", scenario: "catch-up-batched", ratio: 0.5 },
  { backend: "kurrent", scenario: "sequential", ratio: 0.8 },
  { backend: "kurrent", scenario: "concurrent-64", ratio: 0.8 },
  { backend: "kurrent", scenario: "append-100", ratio: 0.8 },
  { backend: "kurrent", scenario: "rehydrate-10000", ratio: 0.7 },
  { backend: "kurrent", scenario: "read-all", ratio: 0.7 }
]

/** What the project set out to stay below, in microseconds. */
const latencies: ReadonlyArray<Omit<Target, "ratio"> & { readonly below: number }> = [
  { backend: "sqlite", scenario: "live-latency p50", below: 5000 },
  { backend: "postgres", scenario: "live-latency p50", below: 5000 }
]

/** Says whether a ratio is what was aimed at. */
export const verdict = (ratio: number, aim: number): string => `≥ ${aim}: ${ratio >= aim ? "met" : "NOT MET"}`

/** Says of a scenario whether its ratio is what was aimed at; nothing where nothing was. */
export const verdictOf = (backend: string, scenario: string, { other, ours, ratio }: Comparison): string => {
  const latency = latencies.find((one) => one.backend === backend && one.scenario === scenario)
  if (latency !== undefined)
    return `< ${microseconds(latency.below / 1e6)}: ${ours < latency.below ? "met" : "NOT MET"}`
  const target = targets.find((one) => one.backend === backend && one.scenario === scenario)
  if (target === undefined) return ""
  if (target.ifCommitCosts !== undefined && 1 / other < target.ifCommitCosts) {
    return `≥ ${target.ratio} where a commit costs ${microseconds(target.ifCommitCosts)} or more, here ${microseconds(1 / other)}`
  }
  return verdict(ratio, target.ratio)
}
