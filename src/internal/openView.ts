import { Effect } from "effect"
import type { ProjectionModeChanged, ProjectionSuperseded, RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure, UpstreamChanged } from "../EventSourcingError.ts"
import type * as Projection from "../Projection.ts"
import type { Recorder } from "../Recorder.ts"
import type { Mode, Opened, ViewStore } from "../ViewStore.ts"
import { keyOf } from "./keyOf.ts"

/**
 * Opens the view of a projection, or makes it. What was made from other aggregates, or from another log, is refused: the
 * events that the view has passed already would be missing from it in silence.
 */
export const openView = Effect.fnUntraced(function* <View, Provided>(
  store: ViewStore<View, Provided>,
  projection: Projection.Any,
  mode: Mode,
  recorder: Recorder["Service"]
): Effect.fn.Return<Opened, ProjectionSuperseded | ProjectionModeChanged | UpstreamChanged | RecorderError> {
  const { name, version } = projection
  const { logId } = recorder
  const key = keyOf(projection)
  const aggregates = projection.aggregates.map((aggregate) => aggregate.name).sort()
  const setup = projection.compiled.setup as (view: View) => Effect.Effect<unknown, RecorderError>
  const progress = yield* store.open(key, { mode, logId, aggregates, setup })

  if (progress.aggregates.join() !== aggregates.join()) {
    return yield* new RecorderFailure({
      operation: `open the view of projection "${name}"`,
      reason: `version ${version} was made from the events of ${progress.aggregates.join(", ")}, and is defined for those of ${aggregates.join(", ")}: give it a higher version, or another name if it is another projection`
    })
  }
  if (progress.logId !== undefined && progress.logId !== logId) {
    const reason = `this log is another (${logId}, not ${progress.logId})`
    return yield* new UpstreamChanged({ projection: name, upstream: key.upstream, position: progress.position, reason })
  }
  return progress
})
