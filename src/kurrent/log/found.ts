/** Interprets the events of the server as those of a log. */
import { Effect } from "effect"
import { isRecorderFailure, RecorderFailure } from "../../EventSourcingError.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Received, RecordedEvent, ResolvedEvent } from "../client/events.ts"
import type { Place } from "./codec.ts"
import { fromEvent, fromReceived } from "./codec.ts"
import type { Names } from "./names.ts"

/**
 * The meaning of an event of the server for the log: a notification, or an event that does not belong to the log, of
 * which only the position is kept.
 */
export type Found = Notification | { readonly stream: undefined; readonly position: Position }

/** An event that can't be read is kept until it would be delivered. */
export type Unreadable = RecorderFailure

const unreadable = (stream: string, revision: bigint, cause: unknown): Unreadable => {
  const reason = `event ${revision} of stream "${stream}" can't be read: ${messageOf(cause)}`
  return new RecorderFailure({ operation: "read the log", reason, cause })
}

/**
 * Whether it is the event with which the server ends a stream that was deleted for good. It is not an event of the
 * stream and has no version in it.
 */
export const isTombstone = ({ type, revision }: Pick<RecordedEvent, "type" | "revision">): boolean =>
  type === "$streamDeleted" && revision === TOMBSTONE

const TOMBSTONE = 2n ** 63n - 1n

const interpret = <E extends Pick<RecordedEvent, "type" | "revision">>(
  names: Names,
  event: E,
  serverStream: string,
  commit: bigint | undefined,
  decode: (event: E, place: Place) => Notification
): Found | Unreadable => {
  try {
    if (commit === undefined) throw new Error("the server does not report its position; it is older than 22.6")
    const position = fromStorage(commit)
    const stream = names.fromServer(serverStream)
    return stream === undefined || isTombstone(event)
      ? { stream: undefined, position }
      : decode(event, { stream, version: Number(event.revision), position })
  } catch (cause) {
    return unreadable(serverStream, event.revision, cause)
  }
}

/** Converts each event while the client receives the next; `undefined` for a link that leads nowhere. */
export const toFoundOf =
  (names: Names) =>
  ({ event, commitPosition }: Received): Found | Unreadable | undefined =>
    event === undefined
      ? undefined
      : interpret(names, event, event.streamId, event.position?.commit ?? commitPosition, fromReceived)

/** The notifications among the events of a subscription. */
export const toNotifications = (
  names: Names,
  events: ReadonlyArray<ResolvedEvent>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> =>
  ofLog(
    events.map(({ event }) =>
      event === undefined ? undefined : interpret(names, event, event.stream, event.position, fromEvent)
    )
  )

/** The notifications among what was found. An event that can't be read is a failure. */
export const ofLog = (
  found: ReadonlyArray<Found | Unreadable | undefined>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> => {
  const notifications: Array<Notification> = []
  for (const event of found) {
    if (isRecorderFailure(event)) return Effect.fail(event)
    if (event?.stream !== undefined) notifications.push(event)
  }
  return Effect.succeed(notifications)
}
