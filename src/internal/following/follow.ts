import { Clock, Effect, Option, Schedule, Stream } from "effect"
import type { FollowError, RecorderError } from "../../EventSourcingError.ts"
import { PositionBeyondHead, RecorderFailure } from "../../EventSourcingError.ts"
import type { Follow, FollowBatch, FollowState, LogReader, Scanned } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import { isLastPage, PAGE_BYTES } from "../backend/pageSize.ts"
import { resumeSafely } from "../concurrency/resumeSafely.ts"

/** Notifies followers in this process that a log has grown, or was closed. */
export interface Growth {
  /** Changes with each growth. */
  readonly current: () => number
  /** Waits until it differs from the given value. Fails once the log is closed. */
  readonly after: (seen: number) => Effect.Effect<void, RecorderFailure>
  readonly notify: () => void
  readonly close: () => void
}

export const makeGrowth = (): Growth => {
  let count = 0
  let isClosed = false
  const waiting = new Set<() => void>()
  const wakeAll = () => {
    const woken = [...waiting]
    waiting.clear()
    for (const wake of woken) resumeSafely(wake)
  }
  const closed = Effect.suspend(() =>
    Effect.fail(new RecorderFailure({ operation: "follow the log", reason: "the log was closed" }))
  )
  return {
    current: () => count,
    after: (seen) =>
      Effect.callback<void, RecorderFailure>((resume) => {
        const wake = () => resume(isClosed ? closed : Effect.void)
        if (isClosed || seen !== count) return wake()
        waiting.add(wake)
        return Effect.sync(() => {
          waiting.delete(wake)
        })
      }),
    notify: () => {
      count++
      if (waiting.size > 0) wakeAll()
    },
    close: () => {
      isClosed = true
      wakeAll()
    }
  }
}

/** How many events a follower holds at once. */
const PAGE = 512

/** How to continue if the log can't be read for a while: without end, with pauses of up to 5 s. */
export const reconnect = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("5 seconds")]).pipe(
  Schedule.jittered
)

/** Retries without end while the log can't be reached, and reports it. */
export const waitForLog = <A, R>(
  self: Effect.Effect<A, RecorderError, R>,
  position: Position | undefined,
  told: (state: FollowState) => Effect.Effect<void>
): Effect.Effect<A, RecorderError, R> =>
  Effect.suspend(() => {
    let since: number | undefined
    let attempts = 0
    return self.pipe(
      Effect.tapError((error) =>
        error._tag !== "RecorderUnavailable"
          ? Effect.void
          : Effect.flatMap(Clock.currentTimeMillis, (now) => {
              since ??= now
              attempts++
              return Effect.andThen(
                Effect.logWarning(`a follower waits for its log: ${error.message}`),
                told({ _tag: "Retrying", position, since, attempts, error })
              )
            })
      ),
      Effect.retry({ schedule: reconnect, while: (error) => error._tag === "RecorderUnavailable" })
    )
  })

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
  (recorder: Pick<LogReader["Service"], "readAll" | "scan" | "head">, growth: Growth) =>
  (follow: Follow): Stream.Stream<FollowBatch, FollowError> =>
    Stream.unwrap(Effect.as(requireReached(recorder.head, follow), followPages(recorder, growth)(follow)))

/**
 * Follows a log whose pages can be read and whose growth is notified.
 *
 * The growth is read before a page is, so that events that arrive between the read and the wait are not missed.
 */
export const followPages =
  (recorder: Pick<LogReader["Service"], "readAll" | "scan" | "head">, growth: Growth) =>
  ({ after, filter, onState, maxBytes = PAGE_BYTES }: Follow): Stream.Stream<FollowBatch, RecorderError> => {
    interface Place {
      readonly position: Position | undefined
      /** The growth at which the end was reached; `undefined` while catching up. */
      readonly waitFrom: number | undefined
    }
    const bounds = { limit: PAGE, maxBytes }
    const told = (state: FollowState) => onState?.(state) ?? Effect.void
    const read = (position: Position | undefined): Effect.Effect<Scanned, RecorderError> => {
      const page = { after: position, filter, ...bounds }
      return filter === undefined || recorder.scan === undefined
        ? Effect.map(recorder.readAll(page), (notifications) => ({ notifications, reached: undefined }))
        : recorder.scan(page)
    }
    const next = Effect.fnUntraced(function* ({ position, waitFrom }: Place) {
      if (waitFrom !== undefined) yield* growth.after(waitFrom)
      const seen = growth.current()
      // everything up to here has been searched if a page is short, including what the filter leaves out
      const head = filter === undefined ? undefined : yield* recorder.head
      const { notifications, reached: scanned } = yield* read(position)
      const caughtUp = scanned === undefined && isLastPage(notifications, bounds)
      const last = notifications[notifications.length - 1]?.position
      const reached = furthest(position, last, scanned, caughtUp ? head : undefined)
      const batch: FollowBatch = { notifications, position: reached, caughtUp }
      const place: Place = { position: reached, waitFrom: caughtUp ? seen : undefined }
      const nothingNew = waitFrom !== undefined && reached === position
      yield* told({ _tag: caughtUp ? "Live" : "CatchingUp", position: reached })
      return [nothingNew ? [] : [batch], Option.some(place)] as const
    })
    const start: Place = { position: after, waitFrom: undefined }
    const pages = Stream.paginate(start, (place) => waitForLog(next(place), place.position, told))
    return Stream.unwrap(Effect.as(told({ _tag: "CatchingUp", position: after }), pages))
  }

export const furthest = (...positions: ReadonlyArray<Position | undefined>): Position | undefined =>
  positions.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a), undefined)
