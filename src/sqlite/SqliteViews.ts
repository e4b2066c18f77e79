/** Views as tables of a SQLite file. */
import { Clock, Config, Effect, Layer } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import * as SqlViews from "../internal/sqlViews.ts"
import { SqlViewStore } from "../ViewStore.ts"
import { toRecorderError } from "./errors.ts"
import * as SqliteDatabase from "./SqliteDatabase.ts"

/**
 * A place for views in a SQLite file: the log's own, or another one.
 *
 * The tables of each version of a projection have names that begin with `<projection>_v<version>_`. Of the library's own are
 * `projection_tracking`, `projection_leases` and `projection_dead_letters`.
 */
export const SqliteViews = (options: SqliteDatabase.Options): Layer.Layer<SqlViewStore, RecorderError> =>
  Layer.effect(
    SqlViewStore,
    Effect.gen(function* () {
      const database = yield* SqliteDatabase.open(options)
      const { sql, filename } = database
      yield* database.write("make the tables of views", (db) => {
        for (const table of SqlViews.tables("")) db.exec(table)
      })
      const prefix = ({ projection, version }: { readonly projection: string; readonly version: number }) =>
        `${projection}_v${version}_`
      return SqlViews.make(sql, {
        own: "",
        table: (key, name) => prefix(key) + name,
        index: (key, name) => prefix(key) + name,
        makePlace: () => Effect.void,
        removePlace: Effect.fnUntraced(function* (key) {
          const found = yield* sql<{ readonly type: string; readonly name: string }>`
            SELECT type, name FROM sqlite_master
            WHERE type IN ('table', 'view') AND substr(name, 1, length(${prefix(key)})) = ${prefix(key)}
            ORDER BY type DESC`
          for (const { type, name } of found) yield* sql.unsafe(`DROP ${type} "${name.replaceAll('"', '""')}"`)
        }),
        forUpdate: "",
        now: Effect.map(Clock.currentTimeMillis, BigInt),
        begin: "BEGIN IMMEDIATE",
        toRecorderError: (operation, error) => toRecorderError(operation, filename, rootOf(error))
      })
    })
  )

/** What SQLite said, which has the code. */
const rootOf = (error: unknown): unknown => {
  let root = error
  while (typeof root === "object" && root !== null && !("errcode" in root) && "cause" in root && root.cause != null) {
    root = root.cause
  }
  return root
}

/** {@link SqliteViews} from the configuration: `SQLITE_VIEWS_FILENAME`, or where it is not set `SQLITE_FILENAME`. */
SqliteViews.config = Layer.unwrap(
  Effect.map(
    Config.orElse(Config.String("SQLITE_VIEWS_FILENAME"), () => Config.String("SQLITE_FILENAME")),
    (filename) => SqliteViews({ filename })
  )
) satisfies Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError>
