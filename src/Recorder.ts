/**
 * The narrow waist: what a backend does, and all that the rest of the library asks of one.
 *
 * Everything above is written once against this port. What not every backend can do is a service of its own, asked for
 * in `R`: {@link MultiStreamAppend}, {@link TrackedAppend}, {@link StreamCatalog}.
 */
import type { Effect, Stream } from "effect"
import { Context } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { FollowError, RecorderError, RecorderUnavailable, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { Position } from "./Position.ts"
import type { Notification, StoredEvent } from "./StoredEvent.ts"
import type { StreamName } from "./StreamName.ts"

/** Where a stream has to stand for an append to be accepted: no event yet, or exactly this last version. */
export type ExpectedVersion = "NoStream" | number

/** Events to append to one stream at an expected version. */
export interface Append {
  readonly stream: StreamName
  readonly expected: ExpectedVersion
  readonly events: NonEmptyReadonlyArray<StoredEvent>
}

/** What an append answers: all that every backend can say. */
export interface Appended {
  /** The version of the last event. */
  readonly version: number
  /** The position of the last event. */
  readonly position: Position
}

/** Which way a read goes. */
export type Direction = "forward" | "backward"

/** One page of a stream. */
export interface ReadStream {
  readonly stream: StreamName
  /** Default `forward`. */
  readonly direction?: Direction | undefined
  /** Begin behind this version, in the direction of the read (exclusive). Default: the start, or backward the end. */
  readonly after?: number | undefined
  /** End with this version (inclusive). Default: as far as there is. */
  readonly upTo?: number | undefined
  /** The most events of the page; 0 reads nothing. A page with fewer is the last one, unless it ended for its size. */
  readonly limit: number
  /**
   * The page ends with the event that brings it to this size, so that it has at least one event whatever its size.
   * Default: no bound. The size is the bytes of payloads and metadata; of text those of UTF-8, or the UTF-16 units where
   * these are cheaper to count.
   */
  readonly maxBytes?: number | undefined
}

/** Which events of the total order; an event has to meet all that are given. */
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
  /** Begin behind this position, in the direction of the read (exclusive). Default: the start, or backward the end. */
  readonly after?: Position | undefined
  /** End with this position (inclusive). Default: as far as there is. */
  readonly upTo?: Position | undefined
  readonly filter?: Filter | undefined
  /** The most events of the page; 0 reads nothing. A page with fewer is the last one, unless it ended for its size. */
  readonly limit: number
  /**
   * The page ends with the event that brings it to this size, so that it has at least one event whatever its size.
   * Default: no bound. The size is the bytes of payloads and metadata; of text those of UTF-8, or the UTF-16 units where
   * these are cheaper to count.
   */
  readonly maxBytes?: number | undefined
}

/** A page that may have ended before it was full, because much was looked through for it. */
export interface Scanned {
  readonly notifications: ReadonlyArray<Notification>
  /** Everything up to here was looked through, and there is more after it; `undefined` if the page ended as any other. */
  readonly reached: Position | undefined
}

/** How those who read many events ask for them. */
export interface Paging {
  /** Events of a page. Default 512. */
  readonly size: number
  /**
   * Whether the next page is asked for while the last one is decoded, which pays where reading is mostly waiting: two pages
   * are in memory then. Default: it is not.
   */
  readonly ahead: boolean
}

/** What a follower is doing. */
export type FollowState =
  /** It reads what is there; `position` is how far it has come. */
  | { readonly _tag: "CatchingUp"; readonly position: Position | undefined }
  /** It has come to the end and waits for more. */
  | { readonly _tag: "Live"; readonly position: Position | undefined }
  /** It can't read for now, and will try again; since when (in milliseconds since the epoch), how often it has tried. */
  | {
      readonly _tag: "Retrying"
      readonly position: Position | undefined
      readonly since: number
      readonly attempts: number
      readonly error: RecorderUnavailable
    }

/** What to follow. */
export interface Follow {
  /** Begin after this position, which the log has to have come to. Default: the start. */
  readonly after?: Position | undefined
  readonly filter?: Filter | undefined
  /** Is told of each state as the follower comes to it (G12): write it to a `SubscriptionRef`, a metric, a log. */
  readonly onState?: ((state: FollowState) => Effect.Effect<void>) | undefined
  /** The size at which a batch ends, as in {@link ReadAll}. Default 8 MiB. */
  readonly maxBytes?: number | undefined
}

/** What a follower gets: the next notifications, and how far it has come. */
export interface FollowBatch {
  /** In order; empty where the filter left nothing. */
  readonly notifications: ReadonlyArray<Notification>
  /**
   * Everything up to here has been seen, also what the filter left out; `undefined` in an empty log. Where logs share a
   * server it may be after the log's last event: the position of a record of others.
   */
  readonly position: Position | undefined
  /** Whether the follower had reached the end of the log with this batch. */
  readonly caughtUp: boolean
}

/**
 * The port that a backend implements.
 *
 * Guarantees, held by `effect-eventsourcing/testing/backend`: G1 to G5, G7, G8 and G10.
 */
export class Recorder extends Context.Service<
  Recorder,
  {
    /**
     * Appends events to one stream: all of them or none (G1), if the stream is at the expected version (G2).
     *
     * Appending the same events (by id) at the same expected version again gives the same answer and records nothing
     * twice (G7), also after later events. When it answers, the events are durable (G5).
     */
    readonly append: (append: Append) => Effect.Effect<Appended, WrongExpectedVersion | RecorderError>
    /** Reads a page of one stream; empty where there is no such stream. */
    readonly readStream: (read: ReadStream) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
    /** Reads a page of the total order (G3, G4). */
    readonly readAll: (read: ReadAll) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
    /**
     * Reads a page of the total order forward, as `readAll` does, but also ends it when it has looked through about as much
     * as can be in a moment: whoever follows few events among many of others knows meanwhile how far it has come. Left out
     * where a page of few events takes no longer than one of many.
     */
    readonly scan?: ((read: Omit<ReadAll, "direction">) => Effect.Effect<Scanned, RecorderError>) | undefined
    /**
     * Reads the total order from a position to its end and then stays: no gap, no duplicate, bounded memory.
     *
     * Goes on by itself when the backend was unavailable for a while; fails with `RecorderFailure` when the layer of the
     * recorder is closed, and with `PositionBeyondHead` if it is to begin after a position that the log has not come to.
     */
    readonly follow: (follow: Follow) => Stream.Stream<FollowBatch, FollowError>
    /** The position of the last event; `undefined` where there is none. */
    readonly head: Effect.Effect<Position | undefined, RecorderError>
    /**
     * Whether whoever has this context reads and appends within a transaction of its own. Nobody else sees what it appends
     * before the commit, which may never come: nothing of it is kept, or gone on with in the background. Left out where
     * there is no such thing.
     */
    readonly inTransaction?: ((context: Context.Context<never>) => boolean) | undefined
    /** How pages of this log are read best; see {@link Paging}. */
    readonly paging?: Paging | undefined
    /** Identifies the log: given at its creation, never changed. Two copies of a log share it. */
    readonly logId: string
  }
>()("effect-eventsourcing/Recorder") {}
