/** Whether a log is still the one from which a view was built, up to the view's position. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { UpstreamChanged } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Notification } from "../../StoredEvent.ts"
import { fromStorage } from "../../StreamName.ts"
import type { Seen, SeenEvent } from "../../ViewStore.ts"
import { eventAt } from "../following/eventAt.ts"
import { trackingKey } from "./trackingKey.ts"

/** How many of the newest events are noted. If there are fewer, they are all events that there were. */
const NOTED = 8

/** What is noted of a log once more of it was seen. */
export const note = (
  aggregates: ReadonlyArray<string>,
  seen: Pick<Seen, "events" | "recordedAt"> | undefined,
  events: ReadonlyArray<Notification>,
  position: Position
): Seen => {
  let recordedAt = seen?.recordedAt ?? 0
  for (const event of events) recordedAt = Math.max(recordedAt, event.recordedAt)
  const newest = events.slice(-NOTED).map(({ id, position, stream }): SeenEvent => ({ id, position, stream }))
  return { position, aggregates, recordedAt, events: [...(seen?.events ?? []), ...newest].slice(-NOTED) }
}

/** The log is not the same. `agreed` is the position up to which it is, as far as that is known. */
export interface Changed {
  readonly _tag: "Changed"
  readonly reason: string
  readonly agreed: Position | undefined
}

/** Why a log with another id is not the same one. */
export const otherLog = (logId: string, noted: string): string =>
  `this is a different log (its id is "${logId}", not "${noted}")`

/** The error of a projection whose log is not the same. */
export const toUpstreamChanged = (
  projection: Projection.Any,
  position: Position | undefined,
  { reason, agreed }: Omit<Changed, "_tag">
): UpstreamChanged => {
  const { delivery, name } = projection
  return new UpstreamChanged({
    projection: name,
    upstream: trackingKey(projection).upstream,
    position,
    reason,
    agreed,
    delivery
  })
}

/** What is known about a log after the comparison. */
export type Verdict =
  /**
   * The view has seen everything that its aggregates have recorded up to its position. `seen` is what to note of it.
   */
  | { readonly _tag: "Same"; readonly seen: Seen }
  /** The log has not reached the view's position. `seen` is what to compare it with once it has. */
  | { readonly _tag: "Behind"; readonly head: Position | undefined; readonly seen: Seen }
  | Changed

/**
 * Compares what a view has noted of its log with the log. Only events of the view's own aggregates count. The view is
 * right if no event was inserted unseen before its position, and none was lost other than by erasing its whole stream.
 */
export const inspect = Effect.fnUntraced(function* (
  recorder: Pick<LogReader["Service"], "head" | "readAll" | "readStream">,
  aggregates: ReadonlyArray<string>,
  position: Position,
  seen: Seen | undefined
): Effect.fn.Return<Verdict, RecorderError> {
  const filter = { categories: aggregates }
  const head = yield* recorder.head
  const isBehind = head === undefined || head < position
  const before = yield* recorder.readAll({
    direction: "backward",
    after: isBehind ? undefined : position,
    filter,
    limit: NOTED
  })
  const at = isBehind ? [] : yield* recorder.readAll({ after: before[0]?.position, upTo: position, filter, limit: 1 })
  /** The newest first. A log that was behind may have grown past the position just now. */
  const inLog = [...at, ...before].filter((event) => event.position <= position).slice(0, NOTED)
  const current = note(aggregates, undefined, inLog.toReversed(), position)
  if (seen === undefined) {
    return isBehind ? { _tag: "Behind", head, seen: current } : { _tag: "Same", seen: current }
  }
  const noted = new Map(seen.events.map((event) => [event.position, event]))
  const changed = (reason: string): Verdict => {
    const agreed = inLog.find(({ id, position }) => noted.get(position)?.id === id)?.position
    return { _tag: "Changed", reason, agreed }
  }
  /** From here on, every event was noted. */
  const from = seen.events.length < NOTED ? undefined : seen.events[0]?.position
  for (const { id, position, stream } of inLog) {
    if (from !== undefined && position < from) break
    if (noted.get(position)?.id !== id) {
      return changed(
        `this log has event "${id}" of stream "${stream}" at position ${position}, which the view has not seen`
      )
    }
  }
  if (isBehind) return { _tag: "Behind", head, seen }
  const kept = new Set(inLog.map((event) => event.position))
  for (const event of seen.events) {
    const isLost = !kept.has(event.position) && !(yield* isErased(recorder, event))
    if (isLost) {
      return changed(
        `event "${event.id}" of stream "${event.stream}" is missing from this log at position ${event.position}`
      )
    }
  }
  const newest = inLog[0]
  if (newest !== undefined && !noted.has(newest.position) && newest.recordedAt > seen.recordedAt) {
    return changed(
      `this log has an event at position ${newest.position} that is newer than any event the view has seen`
    )
  }
  return { _tag: "Same", seen: { ...current, recordedAt: Math.max(current.recordedAt, seen.recordedAt) } }
})

/**
 * Whether a missing event may have been erased: together with all of its stream, and with nothing in its place. A log
 * that was restored from a backup still has the beginning of the stream, or another event at the position, unless the
 * stream began after the backup and the position was never used again.
 */
const isErased = Effect.fnUntraced(function* (
  recorder: Pick<LogReader["Service"], "readAll" | "readStream">,
  event: SeenEvent
): Effect.fn.Return<boolean, RecorderError> {
  const [first] = yield* recorder.readStream({ stream: fromStorage(event.stream), limit: 1 })
  if (first !== undefined && first.position < event.position) return false
  return (yield* eventAt(recorder, event.position)) === undefined
})
