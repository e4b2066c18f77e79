/**
 * Where views are kept, and with them how far each has come: a view and its tracking position change together or not at all
 * (G6).
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
import type { Local } from "./internal/projection/localProgress.ts"
import type { WorkAborted } from "./internal/projection/workAborted.ts"
import type { Position } from "./Position.ts"
import type * as Tracking from "./Tracking.ts"
import type { MemoryView, SqlView } from "./View.ts"

export type { WorkAborted } from "./internal/projection/workAborted.ts"

/** How a view is kept up: behind the log by a runner, or in the transactions that append. */
export type Mode = "followed" | "inline"

/** Which of the versions of a projection its readers get. */
export type Status =
  /** It catches up beside the one that is read. */
  | "building"
  /** It is the one that is read. */
  | "current"
  /** Another is the current one. If it is `ready`, those who are defined with it read it on, and its runners keep it up. */
  | "retired"

/** How far a version of a projection has come. */
export interface Progress {
  readonly version: number
  readonly position: Position | undefined
  readonly status: Status
  /** Whether it has been level, so that those who are defined with it read it. */
  readonly ready: boolean
  readonly mode: Mode
  /** The log that the position is of; `undefined` before the first run. */
  readonly logId: string | undefined
  /** The names of the aggregates that the view is made from; none before the first run. */
  readonly aggregates: ReadonlyArray<string>
}

/** An event that a view has seen, whether or not it handles it. */
export interface SeenEvent {
  readonly position: Position
  readonly id: string
  readonly stream: string
}

/** What is noted of a log beside the tracking position, to tell later whether it is still the same log. */
export interface Seen {
  /** The tracking position that this belongs to. */
  readonly position: Position
  /** The names of the aggregates whose events these are. */
  readonly aggregates: ReadonlyArray<string>
  /** The newest events of those aggregates up to there, the oldest first; see `internal/upstream.ts`. */
  readonly events: ReadonlyArray<SeenEvent>
  /** When the newest of all events up to there was recorded, in milliseconds since the epoch. */
  readonly recordedAt: number
}

/** How far a version of a projection has come, and what it has seen of its log. */
export interface Opened extends Progress {
  /** `undefined` before the first move, and if an older version of the library made the last one. */
  readonly seen: Seen | undefined
  /** The types of events that it has ignored, before this opening; `undefined` if nothing was noted of that. */
  readonly ignored?: ReadonlyArray<string> | undefined
}

/** Where a version begins that makes no view: a side effect. */
export interface Beginning {
  /** As it is defined, in text; `undefined` if it is not. */
  readonly from: string | undefined
  /** The position that it comes to; `undefined` is the start. */
  readonly position: Position | undefined
  readonly seen: Seen | undefined
}

/** A move of a view's tracking, with what the view has seen of the log then. */
export interface Move extends Tracking.Move {
  /** If it is left out, nothing is known from then on of what was seen. */
  readonly seen?: Seen | undefined
}

/** An event that was set aside, because a handler failed on it or because it is behind such a one in its stream. */
export interface DeadLetter {
  readonly position: Position
  readonly stream: string
  /** The event's place in its stream. */
  readonly streamVersion: number
  readonly eventId: string
  readonly type: string
  /** What the handler failed with, as text; for one that waits behind another, which that is. */
  readonly cause: string
  /** How often it was tried; 0 for one that waits behind another. */
  readonly attempts: number
  /** In milliseconds since the epoch. */
  readonly setAsideAt: number
}

/** What can be done within the transaction of a batch besides writing to the view. */
export interface Transaction {
  readonly setAside: (letter: DeadLetter) => Effect.Effect<void, RecorderError>
  /** Whether events of a stream are set aside. */
  readonly isSetAside: (stream: string) => Effect.Effect<boolean, RecorderError>
  /** Removes what is set aside of a stream; returns how many events that were. */
  readonly discard: (stream: string) => Effect.Effect<number, RecorderError>
  /**
   * For how many milliseconds the work may go on, so that others do not wait for long; when there are none left, it ends with
   * {@link endAt} if it can.
   */
  readonly left: () => number
  /** Has the transaction move the tracking to an earlier position than it was to, since the work has come no further. */
  readonly endAt: (position: Position, seen: Seen | undefined) => Effect.Effect<void, RecorderError>
}

/** What moving a tracking position fails with. */
export type MoveError = TrackingConflict | ProjectionSuperseded | RecorderError

/** The port that a place for views implements: in memory, in a SQLite file, in a PostgreSQL database. */
export interface ViewStore<out View, out Provided> {
  /**
   * Finds a version of a projection, or makes its place with `setup` in one transaction. The first one that is made is the
   * current one; the next ones catch up beside it.
   */
  readonly open: <E, R>(
    key: Tracking.Key,
    options: {
      readonly mode: Mode
      readonly logId: string
      /** The names of the aggregates that the view is made from. */
      readonly aggregates: ReadonlyArray<string>
      readonly setup: (view: View) => Effect.Effect<unknown, E, R>
      /** The types of events of those aggregates that it ignores: noted, and what was noted before is kept. Default none. */
      readonly ignored?: ReadonlyArray<string>
      /** Whether the version was there before: if it is no longer, it is not made again. Default false. */
      readonly existing?: boolean
      /**
       * Whether a version is opened that is there though a higher one is the current one; one that is not ready catches up
       * then. Default false: it fails with `ProjectionSuperseded`.
       */
      readonly beside?: boolean
      /**
       * Of a side effect. It takes the place of the current version at once, and continues where that is, with its log and
       * what was seen of it; if it is defined with another `from` than that, or there is none, it begins where this says.
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
   * Moves the tracking and does the work in one transaction, the move first: where the position is another than `from`, or
   * the version is retired and not ready, it fails and nothing is done. The work can end the move at an earlier position. Work
   * that went on after one of its SQL statements had failed fails with `WorkAborted` in a database that gives such a
   * transaction up.
   */
  readonly transact: <A, E, R>(
    move: Move,
    work: (view: View, transaction: Transaction) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | MoveError | WorkAborted, Exclude<R, Provided>>
  /** Notes what was seen of the log without a move, if the tracking is still at that position. */
  readonly note: (key: Tracking.Key, seen: Seen) => Effect.Effect<void, RecorderError>
  /** Gives a view to a reader. */
  readonly read: <A, E, R>(
    key: Tracking.Key,
    read: (view: View) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | RecorderError, Exclude<R, Provided>>
  /**
   * Makes a version that has come at least as far as the current one the current one; returns whether it is that now. One that
   * is below the current one is ready from then on.
   *
   * With `keep` lower versions can go on beside it, those that runners keep up. Default false: they move no more.
   */
  readonly promote: (key: Tracking.Key, options?: { readonly keep?: boolean }) => Effect.Effect<boolean, RecorderError>
  /**
   * Empties a version: its tables are made anew, its tracking begins at the start, nothing is set aside. Returns whether
   * there is one.
   */
  readonly reset: <E, R>(
    key: Tracking.Key,
    setup: (view: View) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<boolean, E | ProjectionHasDependents | RecorderError, Exclude<R, Provided>>
  /**
   * Removes a version that is not the current one, with its tables, or without `version` all versions, in one transaction;
   * returns whether there was one. With `current` it removes the current one, too, and the highest that is ready and left takes
   * its place.
   */
  readonly remove: (
    key: Omit<Tracking.Key, "version"> & { readonly version?: number | undefined },
    options?: { readonly current?: boolean }
  ) => Effect.Effect<boolean, ProjectionHasDependents | RecorderError>
  /** What is set aside, in the order of the log; of one stream, or of all. */
  readonly deadLetters: (key: Tracking.Key, stream?: string) => Effect.Effect<ReadonlyArray<DeadLetter>, RecorderError>
  /**
   * Does the work for an event that is set aside, and sets it aside no longer, in one transaction; false: it was not, or one
   * before it in its stream is.
   */
  readonly takeBack: <E, R>(
    key: Tracking.Key,
    position: Position,
    work: (view: View) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<boolean, E | RecorderError | WorkAborted, Exclude<R, Provided>>
  /** Removes what is set aside of a stream, or one event, by its id; returns how many events that were. */
  readonly discard: (
    key: Tracking.Key,
    what: { readonly stream: string } | { readonly eventId: string }
  ) => Effect.Effect<number, RecorderError>
  /** Notes that an event that is set aside was tried again in vain. */
  readonly triedAgain: (key: Tracking.Key, position: Position, cause: string) => Effect.Effect<void, RecorderError>
  /**
   * Takes the lease of a version, or holds on to it, for some milliseconds; answers whether the holder has it. With 0 it is
   * given back.
   */
  readonly lease: (key: Tracking.Key, holder: string, milliseconds: number) => Effect.Effect<boolean, RecorderError>
  /** What is known in this process without asking. @internal */
  readonly local: (projection: string) => Local
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
