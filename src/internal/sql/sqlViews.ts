/** A store of views that are tables of a SQL database: with their tracking, their leases and their dead letters. */
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlView } from "../../View.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { gather } from "../concurrency/gather.ts"
import { keyText } from "../projection/trackingKey.ts"
import { makePromote, makeRemove, makeReset } from "./changeVersions.ts"
import { makeDeadLetters } from "./deadLetters.ts"
import type { Dialect } from "./dialect.ts"
import { makeLease } from "./leases.ts"
import { makeTransact } from "./moveTracking.ts"
import { makeOpen } from "./openVersion.ts"
import { findVersion, progressOfMany } from "./versions.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { isInTransaction, makeViewDatabase, query, runShort, viewIn } from "./viewDatabase.ts"
import { encodeSeen, keyValues } from "./viewRows.ts"

/** The store of views in a database that has the library's own tables. */
export const make = (sql: SqlClient.SqlClient, dialect: Dialect): ViewStore<SqlView, SqlClient.SqlClient> => {
  const db = makeViewDatabase(sql, dialect)
  return {
    localProgress: db.localProgress,
    open: makeOpen(db),
    versions: gather(
      (projections) => runShort(db, "read the progress of projections", progressOfMany(db, projections)),
      isInTransaction(db)
    ),
    transact: makeTransact(db),
    note: (key, seen) =>
      Effect.asVoid(
        query(db, "note what a view has seen", db.statements.setSeen, [
          ...keyValues(key),
          encodeSeen(seen),
          seen.position
        ])
      ),
    read: makeRead(db),
    promote: makePromote(db),
    reset: makeReset(db),
    remove: makeRemove(db),
    ...makeDeadLetters(db),
    lease: makeLease(db)
  }
}

const makeRead =
  (db: ViewDatabase): ViewStore<SqlView, SqlClient.SqlClient>["read"] =>
  (key, read) => {
    const { dialect, places, sql } = db
    const readIn = (place: string) =>
      // inline handlers are in the transaction of their append
      Effect.andThen(dialect.guard, Effect.provideService(read(viewIn(db, place, key)), SqlClient.SqlClient, sql))
    return Effect.suspend(() => {
      const place = places.get(keyText(key))
      if (place !== undefined) return readIn(place)
      return Effect.flatMap(runShort(db, "find the place of a view", findVersion(db, key)), (version) =>
        readIn(version?.place ?? dialect.defaultPlace(key))
      )
    })
  }
