import type { Effect, Schedule } from "effect"
import type { EventStore } from "../../EventStore.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import type * as KeyedLock from "../concurrency/keyedLock.ts"
import type { States } from "./states.ts"

/** What repositories are built from. */
export interface Parts {
  readonly store: EventStore["Service"]
  readonly snapshots: SnapshotStore["Service"]
  readonly states: States
  readonly schedule: Schedule.Schedule<unknown>
  readonly withLock: KeyedLock.KeyedLock["withLock"]
  /** Runs an effect in the background. */
  readonly runInBackground: (save: Effect.Effect<void>) => Effect.Effect<unknown>
}
