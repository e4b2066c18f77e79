/** Makes a version that is built beside the current one the current one, once it has caught up. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Status } from "../../ViewStore.ts"
import type { ProcessError } from "./processing.ts"
import type { Processor } from "./projectionProcessor.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { keepsOtherVersions, ownVersion } from "./runnerContext.ts"

export interface Promotion {
  /** Promotes the version if it is being built and has caught up: with the log, or with the current version. */
  readonly promoteIfCaughtUp: (
    batch: { readonly caughtUp: boolean },
    processor: Processor
  ) => Effect.Effect<void, ProcessError>
}

/** `status` is that of the version when it was opened. */
export const makePromotion = (context: RunnerContext, status: Status): Promotion => {
  const { key, projection, store } = context
  const keep = keepsOtherVersions(context)
  let isBuilding = status === "building"
  const promote = Effect.gen(function* () {
    if (yield* store.promote(key, { keep })) {
      isBuilding = false
      yield* Effect.logInfo(`version ${key.version} of projection "${projection.name}" is now the current one`)
      return
    }
    // a version below the current one becomes ready when it has caught up
    isBuilding = ownVersion(context, yield* store.versions(key))?.status === "building"
  })
  const promoteBuilt = Effect.fnUntraced(function* (caughtUp: boolean, processor: Processor) {
    if (!caughtUp && !(yield* hasReachedCurrent(context, processor))) return
    yield* processor.catchUp
    yield* promote
  })
  return {
    promoteIfCaughtUp: ({ caughtUp }, processor) => (isBuilding ? promoteBuilt(caughtUp, processor) : Effect.void)
  }
}

/** If a log grows faster than it is processed, no version reaches the end, but one can reach the other's position. */
const hasReachedCurrent = (
  { key, store }: RunnerContext,
  processor: Processor
): Effect.Effect<boolean, RecorderError> =>
  Effect.map(store.versions(key), (versions) => {
    const current = versions.find(({ status }) => status === "current")
    const position = processor.position()
    // an inline projection is at the end of the log, whatever its position
    if (current?.mode === "inline") return false
    return current?.position === undefined || (position !== undefined && position >= current.position)
  })
