/** Switches the current version, and resets or removes versions. */
import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import type { Position } from "../../Position.ts"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { Progress, ViewStore } from "../../ViewStore.ts"
import type { Placed, ProjectionKey } from "./versions.ts"
import { lockVersions } from "./versions.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { inTransaction, rememberPlace, run, runWork, viewIn } from "./viewDatabase.ts"
import { keyValues } from "./viewRows.ts"
import { keyedTables } from "./viewTables.ts"

type Store = ViewStore<SqlView, SqlClient.SqlClient>

/** Retires lower versions: they are no longer kept up to date. With `keep`, those that have a runner still are. */
export const retireBelow = Effect.fnUntraced(function* (
  db: ViewDatabase,
  key: Tracking.Key,
  all: ReadonlyArray<Placed>,
  keep: boolean
) {
  for (const { progress, place } of all) {
    const { version, status, mode, ready } = progress
    if (version >= key.version) continue
    const lower = { ...key, version }
    const isKept = keep && mode === "followed"
    // a version that is being built continues, and is also ready once it has caught up
    if (isKept && status === "building") continue
    yield* setStatus(db, lower, "retired", isKept && ready)
    if (mode === "inline" && status !== "retired") yield* db.dialect.dropInlineGuard(lower, place)
  }
})

const setStatus = (db: ViewDatabase, key: Tracking.Key, status: "current" | "retired", ready: boolean) =>
  run(db, db.statements.setStatus, [...keyValues(key), status, ready ? 1 : 0])

export const makePromote =
  (db: ViewDatabase): Store["promote"] =>
  (key, { keep = false } = {}) =>
    Effect.tap(inTransaction(db, "promote a version", promote(db, key, keep)), () =>
      Effect.sync(() => db.localProgress(key.projection).switched())
    )

const promote = Effect.fnUntraced(function* (db: ViewDatabase, key: Tracking.Key, keep: boolean) {
  const all = yield* lockVersions(db, key)
  const own = all.find(({ progress }) => progress.version === key.version)?.progress
  if (own?.status !== "building") return own?.status === "current"
  const current = all.find(({ progress }) => progress.status === "current")?.progress
  if (current !== undefined) {
    if (isBehind(own.position, current.position)) return false
    if (current.version > key.version) {
      yield* setStatus(db, key, "retired", keep)
      return false
    }
  }
  yield* retireBelow(db, key, all, keep)
  yield* setStatus(db, key, "current", keep)
  return true
})

const isBehind = (position: Position | undefined, other: Position | undefined): boolean =>
  other !== undefined && (position === undefined || position < other)

export const makeReset =
  (db: ViewDatabase): Store["reset"] =>
  (key, setup) => {
    const { deleteOf, lockVersion, resetPosition } = db.statements
    const reset = Effect.gen(function* () {
      const [row] = yield* run(db, lockVersion, keyValues(key))
      if (row === undefined) return false
      const place = rememberPlace(db, key, row[0])
      yield* db.dialect.removePlace(key, place, { keep: true })
      yield* runWork(db, setup(viewIn(db, place, key)))
      yield* run(db, resetPosition, keyValues(key))
      yield* run(db, deleteOf("projection_dead_letters"), keyValues(key))
      return true
    })
    return Effect.tap(inTransaction(db, "reset a view", reset), () =>
      Effect.sync(() => db.localProgress(key.projection).forget(key.version))
    )
  }

export const makeRemove =
  (db: ViewDatabase): Store["remove"] =>
  (projection, { current = false } = {}) =>
    Effect.map(
      inTransaction(db, "remove a projection", remove(db, projection, projection.version, current)),
      (removed) => {
        for (const version of removed) db.localProgress(projection.projection).forget(version)
        return removed.length > 0
      }
    )

/** Removes one version, or all if none is given; returns those that were removed. */
const remove = Effect.fnUntraced(function* (
  db: ViewDatabase,
  projection: ProjectionKey,
  only: number | undefined,
  evenCurrent: boolean
) {
  const { dialect, statements } = db
  yield* dialect.lock(projection)
  const all = yield* lockVersions(db, projection)
  const isRemoved = ({ status, version }: Progress) =>
    only === undefined || (only === version && (evenCurrent || status !== "current"))
  const removed = all.filter(({ progress }) => isRemoved(progress))
  for (const { place, progress } of removed) {
    const key = { ...projection, version: progress.version }
    if (progress.mode === "inline") yield* dialect.dropInlineGuard(key, place)
    yield* dialect.removePlace(key, place, { keep: false })
    for (const table of keyedTables) yield* run(db, statements.deleteOf(table), keyValues(key))
  }
  if (only === undefined) {
    // including leases of versions that were never created
    const values = [projection.projection, projection.upstream, projection.slice]
    for (const table of keyedTables) yield* run(db, statements.deleteOfAllVersions(table), values)
  }
  if (removed.some(({ progress }) => progress.status === "current")) {
    const next = all.findLast(({ progress }) => progress.ready && !isRemoved(progress))?.progress
    if (next !== undefined) yield* setStatus(db, { ...projection, version: next.version }, "current", true)
  }
  return removed.map(({ progress }) => progress.version)
})
