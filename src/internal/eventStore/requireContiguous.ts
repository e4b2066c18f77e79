import { Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"
import type { ReadStream } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import { isLastPage } from "../backend/pageSize.ts"

/**
 * Passes on a page of a stream whose versions are contiguous. A gap is a failure, not a shorter history (G8).
 *
 * `isFirst`: whether the read began with this page. In a backward read, its caller may have named a place after the
 * last event.
 */
export const requireContiguous = (
  { stream, direction, after, upTo, limit, maxBytes }: ReadStream,
  page: ReadonlyArray<Notification>,
  isFirst: boolean
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> => {
  const missing = (version: number, found: string) => {
    const reason = `stream "${stream}" is incomplete: event ${version} is missing, ${found} was found in its place; restore the log from a backup`
    return Effect.fail(new RecorderFailure({ operation: "read a stream", reason }))
  }
  const isBackward = direction === "backward"
  const step = isBackward ? -1 : 1
  let expected = isBackward ? (isFirst || after === undefined ? page[0]?.version : after - 1) : (after ?? -1) + 1
  for (const { version } of page) {
    if (version !== expected) return missing(expected ?? 0, `${version}`)
    expected += step
  }
  // backward, the last page has to reach down to where the read was to end
  const end = Math.max(upTo ?? 0, 0)
  const isLast = isLastPage(page, { limit, maxBytes })
  if (isBackward && isLast && expected !== undefined && expected >= end) return missing(expected, "the end")
  return Effect.succeed(page)
}
