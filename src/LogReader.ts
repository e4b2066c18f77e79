/**
 * The read half of {@link Recorder}: all that a reader or follower of a log requires. A log that others append to, such
 * as that of another service, can be read and followed through it alone.
 */
import type { Effect, Stream } from "effect"
import { Context } from "effect"
import type { FollowError, RecorderError, RecorderUnavailable } from "./EventSourcingError.ts"
import type { Position } from "./Position.ts"
import type { Notification } from "./StoredEvent.ts"
import type { StreamName } from "./StreamName.ts"

/** The direction of a read. */
export type Direction = "forward" | "backward"

/** One page of a stream. */
export interface ReadStream {
  readonly stream: StreamName
  /** Default `forward`. */
  readonly direction?: Direction | undefined
  /**
   * Start after this version, in reading direction (exclusive). Default: the start of the stream, or its end when
   * reading backward.
   */
  readonly after?: number | undefined
  /** End with this version (inclusive). Default: the last one in reading direction. */
  readonly upTo?: number | undefined
  /** The most events of the page; 0 reads nothing. A page with fewer is the last one, unless its size ended it. */
  readonly limit: number
  /**
   * The page ends with the event that brings it to this size, so it has at least one event, however large. Default: no
   * limit. The size is that of payloads and metadata in bytes; text counts as UTF-8, or in UTF-16 units if these are
   * cheaper to count.
   */
  readonly maxBytes?: number | undefined
}

/** Which events of the total order; an event must meet all conditions that are given. */
export interface Filter {
  /** Only streams of these categories (aggregate names). */
  readonly categories?: ReadonlyArray<string> | undefined
  /** Only events of these stored types. */
  readonly types?: ReadonlyArray<string> | undefined
}

/** One page of the total order. */
export interface ReadAll {
  /** Default `forward`. */
  readonly direction?: Direction | undefined
  /**
   * Start after this position, in reading direction (exclusive). Default: the start of the log, or its end when reading
   * backward.
   */
  readonly after?: Position | undefined
  /** End with this position (inclusive). Default: the last one in reading direction. */
  readonly upTo?: Position | undefined
  readonly filter?: Filter | undefined
  /** The most events of the page; 0 reads nothing. A page with fewer is the last one, unless its size ended it. */
  readonly limit: number
  /**
   * The page ends with the event that brings it to this size, so it has at least one event, however large. Default: no
   * limit. The size is that of payloads and metadata in bytes; text counts as UTF-8, or in UTF-16 units if these are
   * cheaper to count.
   */
  readonly maxBytes?: number | undefined
}

/** A page that may have ended before it was full, because many other events had to be looked through. */
export interface Scanned {
  readonly notifications: ReadonlyArray<Notification>
  /** Everything up to here was looked through, and more follows; `undefined` if the page ended like any other. */
  readonly reached: Position | undefined
}

/** How pages are best requested by those who read many events. */
export interface Paging {
  /** The events in a page. Default 512. */
  readonly size: number
  /**
   * Whether to request the next page while the last one is decoded. This pays if reading is mostly waiting; two pages
   * are in memory then. Default: false.
   */
  readonly ahead: boolean
}

/** What a follower is doing. */
export type FollowState =
  /** It reads existing events; `position` is how far it has come. */
  | { readonly _tag: "CatchingUp"; readonly position: Position | undefined }
  /** It has reached the end of the log and waits for new events. */
  | { readonly _tag: "Live"; readonly position: Position | undefined }
  /**
   * It can't read at the moment, and will retry; since when (in milliseconds since the epoch), and how often it has
   * tried.
   */
  | {
      readonly _tag: "Retrying"
      readonly position: Position | undefined
      readonly since: number
      readonly attempts: number
      readonly error: RecorderUnavailable
    }

/** What to follow. */
export interface Follow {
  /** Start after this position, which the log must have reached. Default: the start of the log. */
  readonly after?: Position | undefined
  readonly filter?: Filter | undefined
  /** Called with each state that the follower enters (G12): write it to a `SubscriptionRef`, a metric or a log. */
  readonly onState?: ((state: FollowState) => Effect.Effect<void>) | undefined
  /** The size at which a batch ends, as in {@link ReadAll}. Default 8 MiB. */
  readonly maxBytes?: number | undefined
}

/** What a follower receives: the next notifications, and how far it has come. */
export interface FollowBatch {
  /** In order; empty if the filter left nothing. */
  readonly notifications: ReadonlyArray<Notification>
  /**
   * Everything up to here has been read, including what the filter left out; `undefined` in an empty log. If several
   * logs share a server, it may be after this log's last event, at a record of another log.
   */
  readonly position: Position | undefined
  /** Whether the follower reached the end of the log with this batch. */
  readonly caughtUp: boolean
}

/**
 * Reads and follows a log.
 *
 * **When to use**
 *
 * Use this for programs that read a log and never append to it. The layers of all backends provide it, and
 * `EventSourcing.layerReader` builds subscriptions on it alone.
 *
 * **Details**
 *
 * Guarantees: G3, G4, G8 and G10. It is the recorder of the same log, without `append`.
 */
export class LogReader extends Context.Service<
  LogReader,
  {
    /** Reads a page of one stream; empty if the stream does not exist. */
    readonly readStream: (read: ReadStream) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
    /** Reads a page of the total order (G3, G4). */
    readonly readAll: (read: ReadAll) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
    /**
     * Reads a page of the total order forward, as `readAll` does, but also ends it after looking through about as much
     * as is possible in a moment: a follower of few events among many others learns meanwhile how far it has come.
     * Omitted if a page of few events takes no longer than one of many.
     */
    readonly scan?: ((read: Omit<ReadAll, "direction">) => Effect.Effect<Scanned, RecorderError>) | undefined
    /**
     * Reads the total order from a position to its end and then continues with new events: no gap, no duplicate,
     * bounded memory.
     *
     * Resumes on its own after the backend was unavailable. Fails with `RecorderFailure` when the layer of the recorder
     * is closed, and with `PositionBeyondHead` if it is to start after a position that the log has not reached.
     */
    readonly follow: (follow: Follow) => Stream.Stream<FollowBatch, FollowError>
    /** The position of the last event; `undefined` if the log is empty. */
    readonly head: Effect.Effect<Position | undefined, RecorderError>
    /**
     * Whether the holder of this context reads and appends within a transaction of its own. Nobody else sees what it
     * appends before the commit, which may never happen: nothing of it may be kept, or continued in the background.
     * Omitted if the backend has no such transactions.
     */
    readonly inTransaction?: ((context: Context.Context<never>) => boolean) | undefined
    /** How pages of this log are best read; see {@link Paging}. */
    readonly paging?: Paging | undefined
    /** Identifies the log: assigned when it is created, never changed. Two copies of a log share it. */
    readonly logId: string
  }
>()("effect-eventsourcing/LogReader") {}
