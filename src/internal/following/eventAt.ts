import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"

/** The event at a position, if there is one: it may have been erased, and positions have gaps. */
export const eventAt = Effect.fnUntraced(function* (
  reader: Pick<LogReader["Service"], "readAll">,
  position: Position
): Effect.fn.Return<Notification | undefined, RecorderError> {
  // pages start after a position, and it is not known which position precedes this one
  const [before] = yield* reader.readAll({ direction: "backward", after: position, limit: 1 })
  const [at] = yield* reader.readAll({ after: before?.position, upTo: position, limit: 1 })
  return at
})
