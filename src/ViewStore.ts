/**
 * Where views are stored, together with how far each has come: a view and its tracking position change together or not
 * at all (G6).
 */
import type { Effect } from "effect"
import { Context } from "effect"
import type { SqlClient } from "effect/sql"
import type {
  ProjectionHasDependents,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  RecorderError,
  TrackingConflict
} from "./EventSourcingError.ts"
import type { LocalProgress } from "./internal/projection/localProgress.ts"
import type { WorkAborted } from "./internal/projection/workAborted.ts"
import type { Position } from "./Position.ts"
import type * as Tracking from "./Tracking.ts"
import type { MemoryView, SqlView } from "./View.ts"

export type { WorkAborted } from "./internal/projection/workAborted.ts"

/** How a view is maintained: by a runner that follows the log, or in the transactions that append. */
export type Mode = "followed" | "inline"

/** Whether readers of a projection get this version. */
export type Status =
  /** It catches up beside the version that is read. */
  | "building"
  /** It is the version that is read. */
  | "current"
  /**
   * Another version is the current one. If it is `ready`, programs that define this version continue to read it, and
   * its runners keep it up to date.
   */
  | "retired"

/** How far a version of a projection has come. */
export interface Progress {
  readonly version: number
  readonly position: Position | undefined
  readonly status: Status
  /** Whether it has caught up once, so that programs that define this version read it. */
  readonly ready: boolean
  readonly mode: Mode
  /** The log to which the position belongs; `undefined` before the first run. */
  readonly logId: string | undefined
  /** The names of the aggregates from which the view is built; none before the first run. */
  readonly aggregates: ReadonlyArray<string>
}

/** An event that a view has seen, whether or not it handles it. */
export interface SeenEvent {
  readonly position: Position
  readonly id: string
  readonly stream: string
}

/** What is stored about a log beside the tracking position, to find out later whether it is still the same log. */
export interface Seen {
  /** The tracking position to which this belongs. */
  readonly position: Position
  /** The names of the aggregates whose events these are. */
  readonly aggregates: ReadonlyArray<string>
  /**
   * The newest events of those aggregates up to that position, the oldest first; see `internal/projection/upstream.ts`.
   */
  readonly events: ReadonlyArray<SeenEvent>
  /** When the newest of all events up to that position was recorded, in milliseconds since the epoch. */
  readonly recordedAt: number
}

/** How far a version of a projection has come, and what it has seen of its log. */
export interface Opened extends Progress {
  /** `undefined` before the first move, and if an older version of the library made the last move. */
  readonly seen: Seen | undefined
  /** The types of events that it ignored before it was opened now; `undefined` if they were not stored. */
  readonly ignored?: ReadonlyArray<string> | undefined
}

/** Where a version starts that builds no view, because it is a side effect. */
export interface Beginning {
  /** The start as it is defined, as text; `undefined` if it is not defined. */
  readonly from: string | undefined
  /** The resulting position; `undefined` is the start of the log. */
  readonly position: Position | undefined
  readonly seen: Seen | undefined
}

/** A move of a view's tracking, with what the view has seen of the log by then. */
export interface Move extends Tracking.Move {
  /** If it is omitted, nothing is known from then on about what was seen. */
  readonly seen?: Seen | undefined
}

/** An event that was dead-lettered, because a handler failed on it or because an earlier event of its stream was. */
export interface DeadLetter {
  readonly position: Position
  readonly stream: string
  /** The event's place in its stream. */
  readonly streamVersion: number
  readonly eventId: string
  readonly type: string
  /** The handler's error as text; for an event that waits for an earlier one, which event that is. */
  readonly cause: string
  /** The number of attempts; 0 for an event that waits for an earlier one. */
  readonly attempts: number
  /** When it was dead-lettered, in milliseconds since the epoch. */
  readonly setAsideAt: number
}

/** What can be done in the transaction of a batch besides writing to the view. */
export interface Transaction {
  readonly setAside: (letter: DeadLetter) => Effect.Effect<void, RecorderError>
  /** Whether a stream has dead letters. */
  readonly isSetAside: (stream: string) => Effect.Effect<boolean, RecorderError>
  /** Removes the dead letters of a stream; returns how many there were. */
  readonly discard: (stream: string) => Effect.Effect<number, RecorderError>
  /**
   * For how many more milliseconds the work may run, so that others do not wait for long. When none are left, it should
   * end with {@link endAt} if it can.
   */
  readonly left: () => number
  /**
   * Makes the transaction move the tracking to an earlier position than planned, because the work has come no further.
   */
  readonly endAt: (position: Position, seen: Seen | undefined) => Effect.Effect<void, RecorderError>
}

/** The errors that moving a tracking position can fail with. */
export type MoveError = TrackingConflict | ProjectionSuperseded | RecorderError

/** The port that a store of views implements: in memory, in a SQLite file, in a PostgreSQL database. */
export interface ViewStore<out View, out Provided> {
  /**
   * Finds a version of a projection, or creates it with `setup` in one transaction. The first version that is created
   * is the current one; later ones catch up beside it.
   */
  readonly open: <E, R>(
    key: Tracking.Key,
    options: {
      readonly mode: Mode
      readonly logId: string
      /** The names of the aggregates from which the view is built. */
      readonly aggregates: ReadonlyArray<string>
      readonly setup: (view: View) => Effect.Effect<unknown, E, R>
      /**
       * The types of events of those aggregates that it ignores: stored, in addition to those stored before. Default
       * none.
       */
      readonly ignored?: ReadonlyArray<string>
      /** Whether the version existed before: if it no longer does, it is not created again. Default false. */
      readonly existing?: boolean
      /**
       * Whether an existing version is opened even though a higher one is the current one; if it is not ready, it
       * catches up. Default false: opening it fails with `ProjectionSuperseded`.
       */
      readonly beside?: boolean
      /**
       * Set for a side effect, which replaces the current version immediately. It continues after the position of that
       * version, with its log and what was seen of it. If it is defined with a different `from`, or there is no current
       * version, it starts where `beginning` says.
       */
      readonly beginning?: Beginning | undefined
    }
  ) => Effect.Effect<
    Opened,
    E | ProjectionSuperseded | ProjectionModeChanged | ProjectionRemoved | RecorderError,
    Exclude<R, Provided>
  >
  /** The versions of a projection, the lowest first. */
  readonly versions: (key: Omit<Tracking.Key, "version">) => Effect.Effect<ReadonlyArray<Progress>, RecorderError>
  /**
   * Moves the tracking and does the work in one transaction, the move first. If the position is not `from`, or the
   * version is retired and not ready, it fails and nothing is done. The work can end the move at an earlier position.
   * If the work continues after one of its SQL statements has failed, it fails with `WorkAborted` in a database that
   * aborts such a transaction.
   */
  readonly transact: <A, E, R>(
    move: Move,
    work: (view: View, transaction: Transaction) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | MoveError | WorkAborted, Exclude<R, Provided>>
  /** Stores what was seen of the log without a move, if the tracking is still at that position. */
  readonly note: (key: Tracking.Key, seen: Seen) => Effect.Effect<void, RecorderError>
  /** Passes a view to a reader. */
  readonly read: <A, E, R>(
    key: Tracking.Key,
    read: (view: View) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError, Exclude<R, Provided>>
  /**
   * Makes a version the current one if it has come at least as far as the current one; returns whether it is the
   * current one now. A version below the current one becomes ready instead.
   *
   * With `keep`, lower versions whose runners keep them up to date may continue beside it. Default false: they are not
   * moved any more.
   */
  readonly promote: (key: Tracking.Key, options?: { readonly keep?: boolean }) => Effect.Effect<boolean, RecorderError>
  /**
   * Empties a version: its tables are created again, its tracking is at the start, and it has no dead letters. Returns
   * whether the version exists.
   */
  readonly reset: <E, R>(
    key: Tracking.Key,
    setup: (view: View) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<boolean, E | ProjectionHasDependents | RecorderError, Exclude<R, Provided>>
  /**
   * Removes a version that is not the current one, with its tables, or without `version` all versions, in one
   * transaction. Returns whether it existed. With `current` it also removes the current version, and the highest
   * remaining version that is ready takes its place.
   */
  readonly remove: (
    key: Omit<Tracking.Key, "version"> & { readonly version?: number | undefined },
    options?: { readonly current?: boolean }
  ) => Effect.Effect<boolean, ProjectionHasDependents | RecorderError>
  /** The dead letters in the order of the log; those of one stream, or of all. */
  readonly deadLetters: (key: Tracking.Key, stream?: string) => Effect.Effect<ReadonlyArray<DeadLetter>, RecorderError>
  /**
   * Does the work for a dead letter and removes it, in one transaction. Returns false if it is not dead-lettered, or if
   * an earlier event of its stream still is.
   */
  readonly takeBack: <E, R>(
    key: Tracking.Key,
    position: Position,
    work: (view: View) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<boolean, E | RecorderError | WorkAborted, Exclude<R, Provided>>
  /** Removes the dead letters of a stream, or one by its event id; returns how many there were. */
  readonly discard: (
    key: Tracking.Key,
    what: { readonly stream: string } | { readonly eventId: string }
  ) => Effect.Effect<number, RecorderError>
  /** Stores that another attempt at a dead letter has failed. */
  readonly triedAgain: (key: Tracking.Key, position: Position, cause: string) => Effect.Effect<void, RecorderError>
  /**
   * Takes or renews the lease of a version for some milliseconds; returns whether the holder has it. With 0 it is
   * released.
   */
  readonly lease: (key: Tracking.Key, holder: string, milliseconds: number) => Effect.Effect<boolean, RecorderError>
  /** What is known in this process without a query. @internal */
  readonly localProgress: (projection: string) => LocalProgress
}

/** Views that are tables: provided by `SqliteViews` and `PostgresViews`. */
export class SqlViewStore extends Context.Service<SqlViewStore, ViewStore<SqlView, SqlClient.SqlClient>>()(
  "effect-eventsourcing/SqlViewStore"
) {}

/** Views that are values in memory: provided by `MemoryViews`. */
export class MemoryViewStore extends Context.Service<MemoryViewStore, ViewStore<MemoryView<unknown>, never>>()(
  "effect-eventsourcing/MemoryViewStore"
) {}

/** The store of a kind of view. */
export type Of<K> = K extends { readonly _tag: "Memory" } ? MemoryViewStore : SqlViewStore

/** What the store of a kind of view provides to handlers. */
export type ProvidedOf<K> = K extends { readonly _tag: "Memory" } ? never : SqlClient.SqlClient
