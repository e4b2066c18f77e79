import { Effect } from "effect"
import { RecorderFailure } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { trackingKey } from "./trackingKey.ts"

/** Removes a version of a projection; all of them only if no version was given, not if one was and is `undefined`. */
export const removeVersions = <R>(
  store: Effect.Effect<ViewStore<unknown, never>, never, R>,
  name: string,
  of: Projection.Removed
): Effect.Effect<boolean, Projection.RemoveError, R> => {
  const [version, options] = of
  // a version that was looked up and not found must not mean all of them
  if (of.length > 0 && !Number.isInteger(version)) {
    const reason = `the version must be a whole number, got ${version}; omit it to remove all versions`
    return Effect.fail(new RecorderFailure({ operation: `remove projection "${name}"`, reason }))
  }
  return Effect.flatMap(store, ({ remove }) => remove({ ...trackingKey({ name, version: 0 }), version }, options))
}
