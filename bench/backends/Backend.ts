import type { Effect, Layer, Scope } from "effect"
import type { EventSourcing, Recorder, Repository } from "effect-eventsourcing"
import type { RawLog } from "../raw/RawLog.ts"

/** What the scenarios use of the library. */
export type Services = EventSourcing.EventSourcing | Recorder.Recorder

/** A log that both sides of a comparison can open. */
export interface Log {
  /** The library on it, with the layer that users provide. */
  readonly layer: (options?: Repository.Options) => Layer.Layer<Services, unknown>
  /** The raw driver on what the library has recorded there. */
  readonly raw: Effect.Effect<RawLog, unknown, Recorder.Recorder | Scope.Scope>
}

/** Where the scenarios run. */
export interface Backend {
  readonly name: string
  /** What a transaction of one row takes, in seconds; 0 where there are no transactions. */
  readonly commit: number
  /** An empty log, removed with its scope. */
  readonly newLog: Effect.Effect<Log, unknown, Scope.Scope>
}
