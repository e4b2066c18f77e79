import { Effect, Option, Stream } from "effect"
import type { FollowError, RecorderError } from "../../EventSourcingError.ts"
import { PositionBeyondHead } from "../../EventSourcingError.ts"
import type { Follow, FollowBatch, FollowState, LogReader, Scanned } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import { isLastPage, PAGE_BYTES } from "../backend/pageSize.ts"
import type { ChangeSignal } from "./changeSignal.ts"
import { waitForLog } from "./reconnect.ts"

/** How many events a follower holds at once. */
const PAGE = 512

/** Refuses to start after a position that the log has not reached: the events up to it would be skipped. */
export const requireReached = (
  head: Effect.Effect<Position | undefined, RecorderError>,
  { after, onState }: Follow
): Effect.Effect<void, FollowError> =>
  after === undefined
    ? Effect.void
    : Effect.flatMap(
        waitForLog(head, after, (state) => onState?.(state) ?? Effect.void),
        (end) =>
          end === undefined || end < after
            ? Effect.fail(new PositionBeyondHead({ from: after, head: end }))
            : Effect.void
      )

/** Follows a log as a recorder does: from a position that the log has reached, in pages. */
export const followLog =
  (recorder: Pick<LogReader["Service"], "readAll" | "scan" | "head">, changes: ChangeSignal) =>
  (follow: Follow): Stream.Stream<FollowBatch, FollowError> =>
    Stream.unwrap(Effect.as(requireReached(recorder.head, follow), followPages(recorder, changes)(follow)))

/**
 * Follows a log whose pages can be read and whose changes are notified.
 *
 * The signal is read before a page is, so that events that arrive between the read and the wait are not missed.
 */
export const followPages =
  (recorder: Pick<LogReader["Service"], "readAll" | "scan" | "head">, changes: ChangeSignal) =>
  ({ after, filter, onState, maxBytes = PAGE_BYTES }: Follow): Stream.Stream<FollowBatch, RecorderError> => {
    interface Progress {
      readonly position: Position | undefined
      /** The value of the signal when the end was reached; `undefined` while catching up. */
      readonly waitFrom: number | undefined
    }
    const bounds = { limit: PAGE, maxBytes }
    const report = (state: FollowState) => onState?.(state) ?? Effect.void
    const read = (position: Position | undefined): Effect.Effect<Scanned, RecorderError> => {
      const page = { after: position, filter, ...bounds }
      return filter === undefined || recorder.scan === undefined
        ? Effect.map(recorder.readAll(page), (notifications) => ({ notifications, reached: undefined }))
        : recorder.scan(page)
    }
    const next = Effect.fnUntraced(function* ({ position, waitFrom }: Progress) {
      if (waitFrom !== undefined) yield* changes.after(waitFrom)
      const seen = changes.current()
      // everything up to here has been searched if a page is short, including what the filter leaves out
      const head = filter === undefined ? undefined : yield* recorder.head
      const { notifications, reached: scanned } = yield* read(position)
      const caughtUp = scanned === undefined && isLastPage(notifications, bounds)
      const last = notifications[notifications.length - 1]?.position
      const reached = furthest(position, last, scanned, caughtUp ? head : undefined)
      const batch: FollowBatch = { notifications, position: reached, caughtUp }
      const progress: Progress = { position: reached, waitFrom: caughtUp ? seen : undefined }
      const nothingNew = waitFrom !== undefined && reached === position
      yield* report({ _tag: caughtUp ? "Live" : "CatchingUp", position: reached })
      return [nothingNew ? [] : [batch], Option.some(progress)] as const
    })
    const start: Progress = { position: after, waitFrom: undefined }
    const pages = Stream.paginate(start, (progress) => waitForLog(next(progress), progress.position, report))
    return Stream.unwrap(Effect.as(report({ _tag: "CatchingUp", position: after }), pages))
  }

export const furthest = (...positions: ReadonlyArray<Position | undefined>): Position | undefined =>
  positions.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a), undefined)
