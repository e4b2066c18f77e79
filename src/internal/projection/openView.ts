import { Effect } from "effect"
import type {
  FollowError,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  UpstreamChanged
} from "../../EventSourcingError.ts"
import { PositionBeyondHead, RecorderFailure } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Beginning, Mode, Opened, ViewStore } from "../../ViewStore.ts"
import { handledOf, ignoredBy } from "./ignored.ts"
import { trackingKey } from "./trackingKey.ts"
import * as Upstream from "./upstream.ts"

/** Where a log ended at some moment; `undefined` in an empty log. */
export interface End {
  readonly head: Position | undefined
}

/** Where a side effect that has not begun yet begins. */
const beginningOf = Effect.fnUntraced(function* (
  { aggregates, from }: Projection.Any,
  recorder: LogReader["Service"],
  end: End | undefined
): Effect.fn.Return<Beginning, FollowError> {
  const text = from === undefined ? undefined : `${from}`
  const position = from === "end" ? (end === undefined ? yield* recorder.head : end.head) : from
  if (position === undefined || position === "start") return { from: text, position: undefined, seen: undefined }
  const names = aggregates.map(({ name }) => name)
  const verdict = yield* Upstream.inspect(recorder, names, position, undefined)
  if (verdict._tag === "Behind") return yield* new PositionBeyondHead({ from: position, head: verdict.head })
  return { from: text, position, seen: verdict._tag === "Same" ? verdict.seen : undefined }
})

/**
 * Opens the view of a projection, or creates it. A view that was built from other aggregates, or from another log, is
 * refused: the events up to its position would be silently missing from it.
 */
export const openView = Effect.fnUntraced(function* <View, Provided>(
  store: ViewStore<View, Provided>,
  projection: Projection.Any,
  mode: Mode,
  recorder: LogReader["Service"],
  options: {
    readonly existing?: boolean
    readonly beside?: boolean
    /** The end at which a side effect begins, if it is defined to begin at the end. Default: the current end. */
    readonly end?: End | undefined
  } = {}
): Effect.fn.Return<
  Opened,
  ProjectionSuperseded | ProjectionModeChanged | ProjectionRemoved | UpstreamChanged | FollowError
> {
  const { delivery, name, version } = projection
  const { logId } = recorder
  const key = trackingKey(projection)
  const aggregates = projection.aggregates.map((aggregate) => aggregate.name).sort()
  const setup = projection.compiled.setup as (view: View) => Effect.Effect<unknown, FollowError>
  const { end, ...how } = options
  const beginning = delivery === "at-least-once" ? yield* beginningOf(projection, recorder, end) : undefined
  const ignored = ignoredBy(projection)
  const progress = yield* store.open(key, { mode, logId, aggregates, setup, beginning, ignored, ...how })

  if (progress.aggregates.join() !== aggregates.join()) {
    const advice =
      delivery === "at-least-once"
        ? "a higher version, which continues where this one is and repeats nothing"
        : "a higher version, which is built from the start"
    return yield* new RecorderFailure({
      operation: `open the view of projection "${name}"`,
      reason: `version ${version} was built from the events of ${progress.aggregates.join(", ")}, but is now defined for those of ${aggregates.join(", ")}; give it ${advice}, or another name if it is another projection`
    })
  }
  // at the start nothing has been missed; an inline projection does not record its position
  const hasBegun = progress.position !== undefined || progress.mode === "inline"
  const missed = hasBegun ? handledOf(projection, progress.ignored ?? []) : []
  if (missed.length > 0) {
    const advice =
      delivery === "at-least-once"
        ? "to handle it from now on, give it a higher version, which continues where this one is"
        : "give it a higher version, which is built from the start"
    return yield* new RecorderFailure({
      operation: `open the view of projection "${name}"`,
      reason: `version ${version} has ignored ${missed.join(", ")} so far but is now defined to handle it, and the earlier events would be missing; ${advice}`
    })
  }
  if (progress.logId !== undefined && progress.logId !== logId) {
    const reason = Upstream.otherLog(logId, progress.logId)
    return yield* Upstream.toUpstreamChanged(projection, progress.position, { reason, agreed: undefined })
  }
  return progress
})
