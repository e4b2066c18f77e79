import { Effect } from "effect"
import { RecorderFailure } from "../EventSourcingError.ts"
import type { ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"

/** Passes on a page of a stream whose versions follow one another; a gap is a failure, not a shorter history (G8). */
export const contiguous = (
  { direction, after }: Pick<ReadStream, "direction" | "after">,
  page: ReadonlyArray<Notification>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> => {
  const step = direction === "backward" ? -1 : 1
  // backward, a page may begin anywhere before the place it was asked for
  let expected = direction === "backward" ? page[0]?.version : (after ?? -1) + 1
  for (const { stream, version } of page) {
    if (version !== expected) {
      const reason = `stream "${stream}" is incomplete: event ${expected} is missing where ${version} was found; restore the log from a backup`
      return Effect.fail(new RecorderFailure({ operation: "read a stream", reason }))
    }
    expected += step
  }
  return Effect.succeed(page)
}
