/**
 * Pages of the total order with a filter, read by statements that each search a bounded number of positions. However
 * few events match the filter, no statement takes longer than the server's statement timeout allows.
 */
import { Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { isLastPage, makePage } from "../internal/backend/pageSize.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { ReadAll, Scanned } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"

/** How many positions a statement searches: about ten milliseconds of the server's time. */
const STRETCH = 10_000n

/** What a scan reads from the log. */
export interface Reads {
  /** A page by one statement. */
  readonly page: (read: ReadAll) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
  /** The position of the first event in a range, whether it matches or not. */
  readonly next: (
    range: Pick<ReadAll, "direction" | "after" | "upTo">
  ) => Effect.Effect<Position | undefined, RecorderError>
  readonly head: Effect.Effect<Position | undefined, RecorderError>
}

/** Reads with a filter. */
export interface Scan {
  /** A page that also ends once one statement has searched its positions. */
  readonly some: (read: ReadAll) => Effect.Effect<Scanned, RecorderError>
  /** A page, read by as many statements as it takes. */
  readonly all: (read: ReadAll) => Effect.Effect<ReadonlyArray<Notification>, RecorderError>
}

/** The scans of a log. */
export const make = ({ page, next, head }: Reads): Scan => {
  const some = Effect.fnUntraced(function* (read: ReadAll): Effect.fn.Return<Scanned, RecorderError> {
    const { direction, upTo } = read
    const isBackward = direction === "backward"
    const after = read.after ?? (isBackward ? nextAfter(yield* head) : NONE)
    const end = isBackward ? before(after, STRETCH) : fromStorage(after + STRETCH)
    const isWhole = isBackward ? end <= (upTo ?? NONE) : upTo !== undefined && upTo <= end
    if (isWhole) return { notifications: yield* page({ ...read, after }), reached: undefined }
    // Looked for first: once there is an event beyond the range, none can be appended within it (G3). If the range were read
    // first, an event that is appended in it between the two statements would be skipped. Positions without events are not
    // searched.
    const following = yield* next({ direction, after: end, upTo })
    if (following === undefined) return { notifications: yield* page({ ...read, after }), reached: undefined }
    const notifications = yield* page({ ...read, after, upTo: end })
    if (!isLastPage(notifications, read)) return { notifications, reached: undefined }
    return { notifications, reached: isBackward ? nextAfter(following) : before(following, 1n) }
  })
  const all = Effect.fnUntraced(function* (
    read: ReadAll
  ): Effect.fn.Return<ReadonlyArray<Notification>, RecorderError> {
    const { limit, maxBytes } = read
    const found = makePage(read)
    let after = read.after
    while (true) {
      const left = {
        limit: limit - found.events.length,
        maxBytes: maxBytes === undefined ? undefined : maxBytes - found.size()
      }
      const { notifications, reached } = yield* some({ ...read, ...left, after })
      for (const event of notifications) found.add(event)
      if (reached === undefined || found.isFull()) return found.events
      after = reached
    }
  })
  return { some, all }
}

const NONE = fromStorage(0n)

const nextAfter = (position: Position | undefined): Position => fromStorage((position ?? 0n) + 1n)

const before = (position: Position, by: bigint): Position => (position > by ? fromStorage(position - by) : NONE)
