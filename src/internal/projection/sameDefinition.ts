/** A name and a version belong to one definition in a process. */
import { Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type { ViewStore } from "../../ViewStore.ts"

/**
 * Two projections with the same name would take turns updating one view, or read what the handlers of the other have
 * made of the events.
 */
export const definedOtherwise = (operation: string, version: number): RecorderFailure =>
  new RecorderFailure({
    operation,
    reason: `this process has two different definitions of version ${version} under that name; give one of them another name, or a higher version if it is to replace the other`
  })

/** Refuses to read a view with a definition other than the one that it was built with: the results would be wrong. */
export const requireSameView = (
  store: ViewStore<unknown, unknown>,
  projection: Projection.Any,
  operation: string
): Effect.Effect<void, RecorderFailure> => {
  const { compiled, name, version } = projection
  return store.localProgress(name).isDefinedOtherwise(version, compiled.source())
    ? Effect.fail(definedOtherwise(`${operation} projection "${name}"`, version))
    : Effect.void
}

/** Refuses to work on a view beside a runner with a different definition. */
export const requireSameRunner = (
  store: ViewStore<unknown, unknown>,
  projection: Projection.Any,
  operation: string
): Effect.Effect<void, RecorderFailure> => {
  const { compiled, name, version } = projection
  return store.localProgress(name).runsOtherwise(version, compiled.source())
    ? Effect.fail(definedOtherwise(operation, version))
    : Effect.void
}
