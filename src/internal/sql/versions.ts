/** The versions of projections, as their rows say. */
import { Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Tracking from "../../Tracking.ts"
import type { Progress } from "../../ViewStore.ts"
import { keyText } from "../projection/trackingKey.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { rememberPlace, run } from "./viewDatabase.ts"
import type { Row, Tracked } from "./viewRows.ts"
import { keyTextOf, keyValues, placeIn, toProgress, toTracked } from "./viewRows.ts"

/** A projection, whatever its version. */
export type ProjectionKey = Omit<Tracking.Key, "version">

/** A version of a projection, and the name of its place. */
export interface Placed extends Tracked {
  readonly place: string
}

const toPlaced = (db: ViewDatabase, projection: ProjectionKey, row: Row): Placed => {
  const { progress, place } = toTracked(row)
  return { progress, place: rememberPlace(db, { ...projection, version: progress.version }, place) }
}

export const findVersion = Effect.fnUntraced(function* (db: ViewDatabase, key: Tracking.Key) {
  const [row] = yield* run(db, db.statements.findVersion, keyValues(key))
  return row === undefined ? undefined : toPlaced(db, key, row)
})

const rowsOf = (db: ViewDatabase, { projection, upstream, slice }: ProjectionKey, suffix = "") =>
  run(db, db.statements.findVersions + suffix, [projection, upstream, slice])

/** The versions of a projection with all that is stored of them, to be changed in this transaction. */
export const lockVersions = (db: ViewDatabase, projection: ProjectionKey) =>
  Effect.map(rowsOf(db, projection, db.dialect.forUpdate), (rows) => rows.map((row) => toPlaced(db, projection, row)))

const progressIn = (db: ViewDatabase, projection: ProjectionKey, row: Row): Progress => {
  const progress = toProgress(row)
  rememberPlace(db, { ...projection, version: progress.version }, placeIn(row))
  return progress
}

/** How far the versions of a projection have come. */
export const progressOf = (db: ViewDatabase, projection: ProjectionKey) =>
  Effect.map(rowsOf(db, projection), (rows) => rows.map((row) => progressIn(db, projection, row)))

const textOf = (projection: ProjectionKey): string => keyText({ ...projection, version: 0 })

/** How far the versions of each of several projections have come. */
export const progressOfMany = Effect.fnUntraced(function* (
  db: ViewDatabase,
  projections: NonEmptyReadonlyArray<ProjectionKey>
) {
  const requested = new Map(projections.map((projection) => [textOf(projection), projection]))
  if (requested.size === 1) {
    const all = yield* progressOf(db, projections[0])
    return projections.map(() => all)
  }
  const progress = new Map<string, Array<Progress>>()
  const names = [...new Set(projections.map(({ projection }) => projection))]
  for (const row of yield* run(db, db.statements.findVersionsOfMany, [JSON.stringify(names)])) {
    const [projection, upstream, slice] = row.slice(11)
    const text = keyTextOf([projection, 0, upstream, slice])
    const key = requested.get(text)
    if (key !== undefined) progress.set(text, [...(progress.get(text) ?? []), progressIn(db, key, row)])
  }
  return projections.map((projection) => progress.get(textOf(projection)) ?? [])
})
