/** The note of a tracking as text, for backends that store it beside the position. */
import type { Position } from "../../Position.ts"
import type * as Tracking from "../../Tracking.ts"

/**
 * The note of a move as a text; `null` if it has none. It names the position that it belongs to: an older version of
 * the library moves the position and leaves the text as it is.
 */
export const encodeNote = ({ note, to }: Tracking.Move): string | null =>
  note === undefined ? null : JSON.stringify({ position: `${to}`, logId: note.logId, eventId: note.eventId })

/** The note that belongs to a position; `undefined` if the text has none, or is not one that was encoded here. */
export const decodeNote = (text: unknown, position: Position): Tracking.Note | undefined => {
  if (typeof text !== "string") return undefined
  try {
    const stored: { readonly position?: unknown; readonly logId?: unknown; readonly eventId?: unknown } =
      JSON.parse(text)
    return stored.position === `${position}` ? noteOf(stored) : undefined
  } catch {
    return undefined
  }
}

/** The note in the stored fields. */
export const noteOf = ({
  logId,
  eventId
}: {
  readonly logId?: unknown
  readonly eventId?: unknown
}): Tracking.Note | undefined =>
  typeof logId === "string" ? { logId, eventId: typeof eventId === "string" ? eventId : undefined } : undefined
