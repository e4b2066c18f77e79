/** How far a follower of a log has come, and the batches that it delivers on its way. */
import { Clock, Effect } from "effect"
import { matcher } from "../../internal/backend/matching.ts"
import { intoPages } from "../../internal/backend/pageSize.ts"
import { furthest } from "../../internal/following/followPages.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Filter, FollowBatch } from "../../Recorder.ts"
import type { Checkpoint, Delivery } from "../client/subscription.ts"
import { toNotifications } from "./found.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"

/** After how many windows without any match the position of an event of others is reported as a follower's progress. */
const MANY_WINDOWS = 1000

/** The progress of one follower, over all of its subscriptions. */
export const makeProgress = ({
  names,
  log,
  after,
  filter,
  maxBytes
}: {
  readonly names: Names
  readonly log: Log
  readonly after: Position | undefined
  readonly filter: Filter | undefined
  readonly maxBytes: number
}) => {
  const matches = matcher(filter)
  /** Where the next subscription begins: after everything that was searched. */
  let from: Checkpoint | undefined = after === undefined ? undefined : { commit: after, prepare: after }
  let position = after
  let isLive = false
  let lastLook = 0
  /** How many checkpoints in a row the server has sent without any event. */
  let windows = 0

  const toBatches = Effect.fnUntraced(function* (
    { events, checkpoint, caughtUp }: Delivery,
    head: Position | undefined
  ) {
    const all = yield* toNotifications(names, events)
    const notifications = all.filter(
      (notification) => (position === undefined || notification.position > position) && matches(notification)
    )
    windows = events.length > 0 ? 0 : windows + (checkpoint === undefined ? 0 : 1)
    const last = events[events.length - 1]?.event?.position
    if (last !== undefined) from = { commit: last, prepare: last }
    if (checkpoint !== undefined && (from === undefined || checkpoint.commit > from.commit)) from = checkpoint
    // a checkpoint that stands before an event is not a position: continuing after it would skip the event
    const looked =
      checkpoint !== undefined && checkpoint.commit === checkpoint.prepare && checkpoint.commit > 0n
        ? checkpoint.commit
        : undefined
    const before = position
    const wasLive = isLive
    const seen = filter === undefined || looked === undefined ? undefined : fromStorage(looked)
    position = furthest(position, notifications[notifications.length - 1]?.position, seen, caughtUp ? head : undefined)
    const hasCaughtUp = caughtUp && !isLive
    isLive ||= caughtUp
    if (notifications.length === 0 && position === before && !hasCaughtUp) return []
    return intoPages(notifications, maxBytes).map((page, i, pages): FollowBatch => {
      const isLast = i === pages.length - 1
      return isLast
        ? { notifications: page, position, caughtUp: isLive }
        : { notifications: page, position: page[page.length - 1]?.position, caughtUp: wasLive }
    })
  })

  /** The progress of a follower whose filter matches nothing: up to the last event before what was searched. */
  const lookUp = Effect.fnUntraced(function* (pace: number) {
    const now = yield* Clock.currentTimeMillis
    if (filter === undefined || now - lastLook < pace) return undefined
    lastLook = now
    if (isLive) {
      const head = yield* log.head
      if (head === undefined || (position !== undefined && head <= position)) return undefined
      const [missed] = yield* log.readAll({ after: position, upTo: head, filter, limit: 1 })
      if (missed !== undefined) return undefined
      position = head
      from = { commit: head, prepare: head }
    } else {
      if (from === undefined) return undefined
      const reached = furthest(position, yield* log.before(fromStorage(from.commit), windows >= MANY_WINDOWS))
      if (reached === position) return undefined
      position = reached
    }
    const batch: FollowBatch = { notifications: [], position, caughtUp: isLive }
    return batch
  })

  return {
    from: () => from,
    position: () => position,
    isLive: () => isLive,
    /** A subscription begins. */
    begin: () => {
      isLive = false
    },
    toBatches,
    lookUp
  }
}
