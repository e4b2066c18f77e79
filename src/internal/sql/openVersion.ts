/** Opens a version of a projection, or creates it. */
import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import { ProjectionModeChanged, ProjectionRemoved, ProjectionSuperseded } from "../../EventSourcingError.ts"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { Beginning, Mode, Status, ViewStore } from "../../ViewStore.ts"
import { beginAgain, beginAt, continues } from "../projection/beginAt.ts"
import { ignoredFrom } from "../projection/ignored.ts"
import { retireBelow } from "./changeVersions.ts"
import type { Placed } from "./versions.ts"
import { lockVersions } from "./versions.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { inTransaction, namingHolder, rememberPlace, run, runWork, viewIn } from "./viewDatabase.ts"
import { beginningValues, keyValues } from "./viewRows.ts"

/** The parameters of opening a version. */
interface Opening<E, R> {
  readonly key: Tracking.Key
  readonly mode: Mode
  readonly logId: string
  readonly aggregates: ReadonlyArray<string>
  readonly setup: (view: SqlView) => Effect.Effect<unknown, E, R>
  readonly beginning: Beginning | undefined
  readonly ignored: ReadonlyArray<string>
}

export const makeOpen =
  (db: ViewDatabase): ViewStore<SqlView, SqlClient.SqlClient>["open"] =>
  (key, { existing = false, beside = false, ignored = [], beginning, ...options }) => {
    const opening = { key, ignored, beginning, ...options }
    let tookOver = false
    const opened = inTransaction(
      db,
      "open a view",
      Effect.gen(function* () {
        tookOver = false
        const { projection, version } = key
        yield* db.dialect.lock(key)
        const all = yield* lockVersions(db, key)
        const current = all.find(({ progress }) => progress.status === "current")
        const own = all.find(({ progress }) => progress.version === version)
        const isOver =
          own?.progress.status === "retired" || (current !== undefined && current.progress.version > version)
        if (isOver && !(beside && own !== undefined)) {
          return yield* new ProjectionSuperseded({ projection, version, by: current?.progress.version ?? version })
        }
        if (own !== undefined) return yield* reopen(db, opening, own)
        if (existing) return yield* new ProjectionRemoved({ projection, version })
        const created = yield* create(db, opening, all, current)
        tookOver = beginning !== undefined && current !== undefined
        return created
      })
    ).pipe(namingHolder(db, key))
    return Effect.tap(opened, () =>
      Effect.sync(() => (tookOver ? db.localProgress(key.projection).switched() : undefined))
    )
  }

/** Creates a version and its view; a side effect replaces the current version. */
const create = Effect.fnUntraced(function* <E, R>(
  db: ViewDatabase,
  { aggregates, beginning, ignored, key, logId, mode, setup }: Opening<E, R>,
  all: ReadonlyArray<Placed>,
  current: Placed | undefined
) {
  const { version } = key
  const { createVersion, setIgnored, takeOverDeadLetters } = db.statements
  const place = yield* db.dialect.makePlace(key)
  yield* runWork(db, setup(viewIn(db, place, key)))
  // an inline version is the current one once every append updates it
  const isCurrent = beginning !== undefined || (current === undefined && mode === "followed")
  const status: Status = isCurrent ? "current" : "building"
  const before = current?.progress
  const begun = beginAt(beginning, before, logId)
  const columns = [mode, status, begun.logId, aggregates.join(","), place, ...beginningValues(begun)]
  yield* run(db, createVersion, [...keyValues(key), ...columns])
  rememberPlace(db, key, place)
  yield* run(db, setIgnored, [...keyValues(key), JSON.stringify(ignored)])
  if (beginning !== undefined) {
    // from now on, this version is responsible for the dead letters
    if (continues(beginning, before)) {
      yield* run(db, takeOverDeadLetters, [...keyValues({ ...key, version: before.version }), version])
    }
    yield* retireBelow(db, key, all, false)
  }
  return { version, status, ready: isCurrent, mode, aggregates, ...begun }
})

/** Opens a version that exists. If it was reset, it begins again. */
const reopen = Effect.fnUntraced(function* <E, R>(
  db: ViewDatabase,
  { aggregates, beginning, ignored, key, logId, mode }: Opening<E, R>,
  { place, progress }: Placed
) {
  const { projection, version } = key
  const { setIgnored, setLog, setStatus } = db.statements
  if (progress.mode !== mode) return yield* new ProjectionModeChanged({ projection, version, mode: progress.mode })
  yield* db.dialect.claimPlace(key, place)
  // it was retired before it had caught up, or by a version of the library that maintained no others
  const status = progress.status === "retired" && !progress.ready ? "building" : progress.status
  if (status !== progress.status) yield* run(db, setStatus, [...keyValues(key), status, 0])
  const ignores = ignoredFrom(progress, ignored)
  if (ignores !== undefined) yield* run(db, setIgnored, [...keyValues(key), JSON.stringify(ignores)])
  if (progress.logId !== "") return { ...progress, status }
  const begun = { ...beginAgain(beginning, progress, logId), begins: beginning?.from }
  yield* run(db, setLog, [...keyValues(key), logId, aggregates.join(","), ...beginningValues(begun)])
  return { ...progress, status, aggregates, ...begun, ignored: undefined }
})
