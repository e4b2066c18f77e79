/** Views as tables of a SQLite file. */
import type { DatabaseSync } from "node:sqlite"
import { Clock, Config, Effect, Layer } from "effect"
import { SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { ProjectionHasDependents, RecorderFailure } from "../EventSourcingError.ts"
import { read, withDefault, withDefaults } from "../internal/backend/settings.ts"
import type { InlineDatabase } from "../internal/projection/inlineDatabase.ts"
import { inlineGuardMessage } from "../internal/projection/inlineDatabase.ts"
import * as SqlViews from "../internal/sql/sqlViews.ts"
import * as ViewTables from "../internal/sql/viewTables.ts"
import type * as Tracking from "../Tracking.ts"
import { SqlViewStore } from "../ViewStore.ts"
import { rootOf, toRecorderError, toViewsError } from "./errors.ts"
import * as SqliteDatabase from "./SqliteDatabase.ts"

/**
 * A place for views in a SQLite file: that of the log, or another one.
 *
 * The tables of each version of a projection have names that begin with `<projection>_v<version>_`. The library's own
 * tables are `projection_tracking`, `projection_leases` and `projection_dead_letters`.
 */
export const SqliteViews = (options: SqliteDatabase.Options): Layer.Layer<SqlViewStore, RecorderError> =>
  Layer.effect(SqlViewStore, Effect.flatMap(SqliteDatabase.open(options), make))

/** The views in an open file. */
export const make = Effect.fnUntraced(function* (
  database: SqliteDatabase.SqliteDatabase
): Effect.fn.Return<SqlViewStore["Service"], RecorderError> {
  const { sql, filename } = database
  const operation = "create the tables of views"
  const lacks = (db: DatabaseSync) => {
    const columns = db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = ?")
    return ViewTables.added.filter(({ column, table }) => columns.get(table, column) === undefined)
  }
  const areThere = yield* database.read(
    operation,
    (db) =>
      db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'projection_leases'").get() !== undefined &&
      lacks(db).length === 0
  )
  if (!areThere) {
    yield* database.write(operation, (db) => {
      for (const table of ViewTables.tables("")) db.exec(table)
      for (const { column, table, type } of lacks(db)) db.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${type}`)
    })
  }
  return SqlViews.make(sql, {
    own: "",
    // the prefix of the names in a place
    defaultPlace: prefixOf,
    table: (place, name) => quote(place + name),
    index: (place, name) => quote(place + name),
    // the client's transactions do this themselves
    guard: Effect.void,
    boundWaits: Effect.void,
    lock: () => Effect.void,
    makePlace: Effect.fnUntraced(function* (key) {
      const prefix = prefixOf(key)
      // SQLite treats names that differ only in case as the same
      const [taken] = yield* sql<{ readonly type: string; readonly name: string }>`
        SELECT type, name FROM sqlite_master
        WHERE lower(substr(name, 1, length(${prefix}))) = ${prefix} ORDER BY name LIMIT 1`
      if (taken === undefined) return prefix
      return yield* new RecorderFailure({
        operation: "create a view",
        reason: `the names of its tables would begin with "${prefix}", but there is a ${taken.type} "${taken.name}" that does not belong to the projection; rename one of them`
      })
    }),
    claimPlace: () => Effect.void,
    removePlace: Effect.fnUntraced(function* ({ projection, version }, prefix) {
      const all = yield* sql<Entry>`
        SELECT type, name, tbl_name AS "table", sql FROM sqlite_master
        WHERE type IN ('table', 'view', 'trigger')
          AND name NOT IN (SELECT name FROM pragma_table_list WHERE type = 'shadow')
        ORDER BY type DESC, rowid DESC`
      const ours = all.filter(({ name }) => name.startsWith(prefix))
      const dependents = dependentsOf(ours, all)
      if (dependents.length > 0) return yield* new ProjectionHasDependents({ projection, version, dependents })
      // the tables may refer to each other in any order
      yield* sql.unsafe("PRAGMA defer_foreign_keys = ON")
      // dropping a view drops its triggers
      for (const { type, name } of ours) yield* sql.unsafe(`DROP ${type} IF EXISTS ${quote(name)}`)
    }),
    dropInlineGuard: (key) => Effect.asVoid(sql.unsafe(`DROP TRIGGER IF EXISTS ${guardOf(key)}`)),
    forUpdate: "",
    now: Effect.map(Clock.currentTimeMillis, BigInt),
    begin: "BEGIN IMMEDIATE",
    moveInTurn: database.turns.take,
    toRecorderError: (operation, error) => toViewsError(operation, filename, rootOf(error))
  })
})

/** A row of `sqlite_master`. */
interface Entry {
  readonly type: string
  readonly name: string
  readonly table: string
  readonly sql: string | null
}

/**
 * Everything outside a place whose SQL refers to a table or view in it: SQLite keeps no other record of this. Triggers
 * of a place's own tables are part of these tables.
 */
const dependentsOf = (place: ReadonlyArray<Entry>, all: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const tables = place.filter(({ type }) => type !== "trigger").map(({ name }) => name.toLowerCase())
  if (tables.length === 0) return []
  const escaped = tables.map((name) => name.replaceAll('"', '""').replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
  const mention = new RegExp(`(?<![\\p{L}\\p{N}_$])(?:${escaped.join("|")})(?![\\p{L}\\p{N}_$])`, "iu")
  const names = new Set([...tables, ...place.map(({ name }) => name.toLowerCase())])
  return all
    .filter(
      ({ name, table, sql }) =>
        !names.has(name.toLowerCase()) && !names.has(table.toLowerCase()) && sql !== null && mention.test(sql)
    )
    .map(({ type, name }) => `${type} ${name}`)
    .sort()
}

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`
const prefixOf = ({ projection, version }: Tracking.Key): string => `${projection}_v${version}_`
const guardOf = (key: Tracking.Key): string => `${prefixOf(key)}require_inline`
const nameOf = ({ projection, version }: Tracking.Key): string => `,${projection}:${version},`

/** What a file does for projections that the appends of its log update inline. */
export const inlineDatabase = (
  database: SqliteDatabase.SqliteDatabase,
  store: SqlViewStore["Service"]
): InlineDatabase => {
  const { sql, filename } = database
  return {
    store,
    switchOver: (key, categories, self) =>
      sql
        .withTransaction(
          Effect.tap(self, (isNew): Effect.Effect<unknown, SqlError.SqlError> => {
            if (!isNew) return Effect.void
            const names = categories.map((category) => `'${category.replaceAll("'", "''")}'`).join(", ")
            return sql.unsafe(`CREATE TRIGGER ${guardOf(key)} BEFORE INSERT ON stored_events
WHEN substr(NEW.stream, 1, instr(NEW.stream, '-') - 1) IN (${names}) AND instr(inline_projections(), '${nameOf(key)}') = 0
BEGIN SELECT RAISE(ABORT, '${inlineGuardMessage(key)}'); END`)
          })
        )
        .pipe(
          Effect.mapError((error) =>
            SqlError.isSqlError(error)
              ? toRecorderError("promote an inline projection", filename, rootOf(error))
              : error
          )
        ),
    declare: (keys) =>
      Effect.sync(() => {
        database.inlineProjections = keys.map(nameOf).join("")
      })
  }
}

/**
 * {@link SqliteViews} from the configuration: `SQLITE_VIEWS_FILENAME`, or `SQLITE_FILENAME` if that is not set, and,
 * like `SqliteLayer`, `SQLITE_SYNCHRONOUS` and `SQLITE_LOCK_TIMEOUT`. A variable that is not set has its value in
 * `defaults`.
 */
SqliteViews.config = (
  defaults: Partial<SqliteDatabase.Options> = {}
): Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError> =>
  Layer.unwrap(
    Effect.map(
      read(
        Config.all({
          filename: withDefault(
            Config.orElse(Config.String("SQLITE_VIEWS_FILENAME"), () => Config.String("SQLITE_FILENAME")),
            defaults.filename
          ),
          file: SqliteDatabase.config
        })
      ),
      ({ filename, file }) => SqliteViews({ ...withDefaults(defaults, file), filename })
    )
  )
