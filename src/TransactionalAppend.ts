/**
 * A capability: an append with work of the caller's in its transaction, both recorded or neither. What inline projections
 * stand on.
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
  /** To none, one or several streams, each named once. */
  readonly appends: ReadonlyArray<Append>
  readonly checks?: ReadonlyArray<Check> | undefined
  readonly move?: Tracking.Move | undefined
}

/** Appends within a transaction that does other things before. */
export class TransactionalAppend extends Context.Service<
  TransactionalAppend,
  {
    /**
     * Does the work and then appends, last of all before the commit, so that no work is done under the lock of positions.
     *
     * Appending the same events again gives the same answer (G7), and nothing of the work is kept: it was done with them.
     * What is refused by its versions, or recorded, before the work begins is answered at once, without it. Where another
     * appends while the work is under way and the work fails, that is the answer too, and not the work's failure.
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
