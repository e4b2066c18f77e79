/**
 * A capability: an append together with work of the caller's in one transaction, both recorded or neither. Inline
 * projections are built on it.
 */
import type { Effect } from "effect"
import { Context } from "effect"
import type { SqlClient } from "effect/sql"
import type { RecorderError, TrackingConflict, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { Check } from "./MultiStreamAppend.ts"
import type { Append } from "./Recorder.ts"
import type { Tracked } from "./TrackedAppend.ts"
import type * as Tracking from "./Tracking.ts"

/** What is appended. */
export interface Request {
  /** Appends to none, one or several streams, each named once. */
  readonly appends: ReadonlyArray<Append>
  readonly checks?: ReadonlyArray<Check> | undefined
  readonly move?: Tracking.Move | undefined
}

/** Appends within a transaction that does other work first. */
export class TransactionalAppend extends Context.Service<
  TransactionalAppend,
  {
    /**
     * Does the work and then appends, immediately before the commit, so that no work is done while positions are
     * locked.
     *
     * Appending the same events again returns the same result (G7), and nothing of the work is kept: it was done with
     * the events the first time. If the append is refused by its versions, or already recorded, before the work begins,
     * the result is returned at once, without the work. If another writer appends while the work is running and the
     * work then fails, the conflict is reported, not the failure of the work.
     */
    readonly append: <R>(
      request: Request,
      work: Effect.Effect<unknown, RecorderError, R>
    ) => Effect.Effect<
      Tracked,
      WrongExpectedVersion | TrackingConflict | RecorderError,
      Exclude<R, SqlClient.SqlClient>
    >
  }
>()("effect-eventsourcing/TransactionalAppend") {}
