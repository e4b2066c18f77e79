import type { Metric, Schedule } from "effect"
import { Effect } from "effect"
import type { LogReader } from "../../LogReader.ts"
import type { Ownership } from "../../Ownership.ts"
import type * as Projection from "../../Projection.ts"
import type { Subscription } from "../../Subscription.ts"
import type * as Tracking from "../../Tracking.ts"
import type { Progress, ViewStore } from "../../ViewStore.ts"
import { nextTick } from "../concurrency/ticks.ts"
import type { LocalProgress } from "./localProgress.ts"
import type { Processing } from "./processing.ts"
import type { Processor } from "./projectionProcessor.ts"
import type { RunnerStatus } from "./runnerStatus.ts"

/** The shared parts of a runner. */
export interface RunnerContext {
  readonly projection: Projection.Any
  readonly key: Tracking.Key
  /** The names of the projection's aggregates. */
  readonly aggregates: ReadonlyArray<string>
  readonly store: ViewStore<unknown, never>
  readonly local: LocalProgress
  readonly recorder: LogReader["Service"]
  readonly subscription: Subscription["Service"]
  readonly decode: Processing["decode"]
  readonly ownership: Ownership
  readonly settings: Settings
  /** The attributes of this runner's metrics. */
  readonly attributes: Metric.Metric.AttributeSet
  readonly status: RunnerStatus
  /** The processor of the batches, while this runner is the owner. */
  processor: Processor | undefined
}

/** The options of a runner, checked and with their defaults. */
export interface Settings {
  readonly maxBatch: number
  readonly onFailure: "stop" | "set-aside"
  readonly retry: Schedule.Schedule<unknown>
  readonly leaseMillis: number
  /** `Infinity`: slow handlers are not reported. */
  readonly slowAfterMillis: number
}

/** How often a runner checks that its view is still as it left it, in milliseconds. */
export const CHECK_INTERVAL = 1000

/**
 * Waits until the next check, which happens immediately when a version is reset, switched or removed in this process.
 */
export const nextCheck = ({ local: { versionChanges }, store }: RunnerContext): Effect.Effect<void> =>
  Effect.suspend(() => {
    const seen = versionChanges.current()
    return Effect.raceFirst(nextTick(store, CHECK_INTERVAL), Effect.ignore(versionChanges.after(seen)))
  })

/** Finds the version of a runner among all versions. */
export const ownVersion = ({ key }: Pick<RunnerContext, "key">, versions: ReadonlyArray<Progress>) =>
  versions.find(({ version }) => version === key.version)

/** Several versions of a view are maintained beside each other; only one version of a side effect may work. */
export const keepsOtherVersions = ({ projection }: Pick<RunnerContext, "projection">): boolean =>
  projection.delivery === "exactly-once"
