/** Switches the current version, and resets or removes versions. */
import { Effect } from "effect"
import { keyText } from "../../internal/projection/trackingKey.ts"
import type * as Tracking from "../../Tracking.ts"
import type { MemoryView } from "../../View.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { withDraft } from "./draft.ts"
import type { ProjectionKey, ViewMemory } from "./entries.ts"
import { currentOf, entryOf, versionsOf } from "./entries.ts"

type Store = ViewStore<MemoryView<unknown>, never>

/** Retires lower versions: they are no longer kept up to date. With `keep`, those that have a runner still are. */
export const retireBelow = (memory: ViewMemory, key: Tracking.Key, keep: boolean): void => {
  for (const older of versionsOf(memory, key)) {
    // a version that is being built continues, and is also ready once it has caught up
    if (older.key.version >= key.version || (keep && older.status === "building")) continue
    older.ready = keep && (older.ready || older.status === "current")
    older.status = "retired"
  }
}

export const makePromote =
  (memory: ViewMemory): Store["promote"] =>
  (key, { keep = false } = {}) =>
    memory.exclusively(Effect.sync(() => promote(memory, key, keep)))

const promote = (memory: ViewMemory, key: Tracking.Key, keep: boolean): boolean => {
  const entry = entryOf(memory, key)
  if (entry?.status !== "building") return entry?.status === "current"
  const current = currentOf(memory, key)
  if (current !== undefined) {
    if (current.position !== undefined && (entry.position ?? -1n) < current.position) return false
    if (current.key.version > key.version) {
      Object.assign(entry, { status: "retired", ready: keep })
      return false
    }
  }
  retireBelow(memory, key, keep)
  Object.assign(entry, { status: "current", ready: keep })
  memory.localProgress(key.projection).switched()
  return true
}

export const makeReset =
  (memory: ViewMemory): Store["reset"] =>
  (key, setup) =>
    memory.exclusively(
      Effect.suspend(() => {
        const entry = entryOf(memory, key)
        if (entry === undefined) return Effect.succeed(false)
        const emptied = withDraft(entry, setup, () => {
          Object.assign(entry, { position: undefined, seen: undefined, ignored: undefined, logId: undefined })
          entry.letters = []
          memory.localProgress(key.projection).forget(key.version)
        })
        return Effect.as(emptied, true)
      })
    )

export const makeRemove =
  (memory: ViewMemory): Store["remove"] =>
  (projection, { current = false } = {}) =>
    memory.exclusively(Effect.sync(() => remove(memory, projection, projection.version, current)))

/** Removes one version, or all if none is given; returns whether there was one. */
const remove = (
  memory: ViewMemory,
  projection: ProjectionKey,
  only: number | undefined,
  evenCurrent: boolean
): boolean => {
  const removed = versionsOf(memory, projection).filter(
    ({ key, status }) => only === undefined || (key.version === only && (evenCurrent || status !== "current"))
  )
  for (const { key } of removed) {
    memory.entries.delete(keyText(key))
    memory.leases.delete(keyText(key))
  }
  if (removed.some(({ status }) => status === "current")) {
    const next = versionsOf(memory, projection).findLast(({ ready }) => ready)
    if (next !== undefined) next.status = "current"
  }
  for (const { key } of removed) memory.localProgress(key.projection).forget(key.version)
  return removed.length > 0
}
