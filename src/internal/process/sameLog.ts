/** Whether the log is still the one in which a process has reached its position. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { PositionBeyondHead, UpstreamChanged } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type * as Tracking from "../../Tracking.ts"
import { eventAt } from "../following/eventAt.ts"
import { otherLog } from "../projection/upstream.ts"
import type { Definition } from "./compiled.ts"
import { readAfter, trackingOf } from "./trackingOf.ts"

/**
 * Compares the log with what was stored of it. Fails with `PositionBeyondHead` if the log ends before the position:
 * whether it is the same log is known once it has reached that position.
 */
export const verifyLog = Effect.fnUntraced(function* (
  process: Definition<unknown, unknown>,
  reader: Pick<LogReader["Service"], "head" | "logId" | "readAll">,
  progress: Tracking.Progress | undefined
): Effect.fn.Return<void, UpstreamChanged | PositionBeyondHead | RecorderError> {
  const note = progress?.note
  const position = readAfter(progress?.position)
  const changed = (reason: string) =>
    new UpstreamChanged({
      projection: process.name,
      upstream: trackingOf(process).upstream,
      position,
      reason,
      agreed: undefined,
      delivery: "process"
    })
  if (note !== undefined && note.logId !== reader.logId) return yield* changed(otherLog(reader.logId, note.logId))
  if (position === undefined) return
  const head = yield* reader.head
  if (head === undefined || head < position) return yield* new PositionBeyondHead({ from: position, head })
  if (note?.eventId === undefined) return
  const found = yield* eventAt(reader, position)
  // an event that was erased leaves nothing at its position
  if (found === undefined || found.id === note.eventId) return
  return yield* changed(
    `this log has event "${found.id}" of stream "${found.stream}" at position ${position}, and not event "${note.eventId}"`
  )
})
