import type { Effect } from "effect"
import type { SqlError } from "effect/sql"
import type { ProjectionHasDependents, RecorderError, RecorderFailure } from "../../EventSourcingError.ts"
import type * as Tracking from "../../Tracking.ts"

/**
 * The differences between databases. The _place_ of a version contains its tables: it is a schema in PostgreSQL, and
 * the beginning of their names in SQLite.
 */
export interface Dialect {
  /** What precedes the names of the library's own tables: their schema, or nothing. */
  readonly own: string
  /** The place of a version whose row names none, as in all rows of earlier versions of the library. */
  readonly defaultPlace: (key: Tracking.Key) => string
  /** The names of the tables and indexes of a place, quoted. */
  readonly table: (place: string, name: string) => string
  readonly index: (place: string, name: string) => string
  /** Waits until no other transaction creates or removes versions of this projection. */
  readonly lock: (key: Omit<Tracking.Key, "version">) => Effect.Effect<void, SqlError.SqlError>
  /** Creates a place for the tables of a new version that no other view has, and returns its name. */
  readonly makePlace: (key: Tracking.Key) => Effect.Effect<string, SqlError.SqlError | RecorderFailure>
  /** Fails if another view owns a place; records the owner if none is recorded. */
  readonly claimPlace: (key: Tracking.Key, place: string) => Effect.Effect<void, SqlError.SqlError | RecorderFailure>
  /**
   * Removes the tables of a version; with `keep` their place remains, empty. Fails if another view owns the place, or if
   * something outside of it depends on what is in it.
   */
  readonly removePlace: (
    key: Tracking.Key,
    place: string,
    options: { readonly keep: boolean }
  ) => Effect.Effect<void, SqlError.SqlError | RecorderFailure | ProjectionHasDependents>
  /** Allows appends that do not update an inline version. */
  readonly dropInlineGuard: (key: Tracking.Key, place: string) => Effect.Effect<void, SqlError.SqlError>
  /** The clause after a SELECT of rows that are about to be changed. */
  readonly forUpdate: string
  /** The time of day by which leases expire, in milliseconds since the epoch. */
  readonly now: Effect.Effect<bigint, SqlError.SqlError>
  /**
   * Makes the transaction of the calling fiber, if it is in one, refuse fibers whose handler has ended; see
   * `handling.ts`.
   */
  readonly guard: Effect.Effect<void>
  /** Fails short work to which the database does not respond in time; if it is omitted, it always responds. */
  readonly runShort?: <A, R>(
    operation: string,
    work: Effect.Effect<A, SqlError.SqlError, R>
  ) => Effect.Effect<A, SqlError.SqlError | RecorderError, R>
  /** Runs a transaction that fails if its BEGIN gets no response in time; if it is omitted, it always gets one. */
  readonly transaction?: <A, E, R>(
    operation: string,
    transaction: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError.SqlError | RecorderError, R>
  /** The first statement of a transaction: it bounds how long later ones wait for a lock. */
  readonly boundWaits: Effect.Effect<void, SqlError.SqlError>
  /** Describes the holder of the row of a version, if the database can tell. */
  readonly holder?: (key: Tracking.Key) => Effect.Effect<string | undefined, SqlError.SqlError>
  /** The statement that begins a transaction. */
  readonly begin: string
  /**
   * Runs a move of tracking in its turn, which bounds for how long moves hold up other writers; if it is omitted, they
   * hold up none. The move runs `begun` when its transaction has begun: it returns how long it may take.
   */
  readonly moveInTurn?: <A, E, R>(
    operation: string,
    move: (begun: Effect.Effect<number>) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError, R>
  readonly toRecorderError: (operation: string, error: SqlError.SqlError) => RecorderError
}
