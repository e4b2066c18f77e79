/** Views as tables of a PostgreSQL database. */
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { optional, read, withDefaults } from "../internal/backend/settings.ts"
import { guardTransaction } from "../internal/projection/handling.ts"
import type { InlineDatabase } from "../internal/projection/inlineDatabase.ts"
import { inlineGuardMessage } from "../internal/projection/inlineDatabase.ts"
import * as SqlViews from "../internal/sql/sqlViews.ts"
import * as ViewTables from "../internal/sql/viewTables.ts"
import type * as Tracking from "../Tracking.ts"
import { SqlViewStore } from "../ViewStore.ts"
import { connectionConfig, layerClient, withoutPartsOf } from "./connect.ts"
import { toOpeningError, toRecorderError } from "./errors.ts"
import { milliseconds } from "./options.ts"
import type { ConnectionOptions, ViewsOptions } from "./PostgresOptions.ts"
import { defaultPlace } from "./placeOwners.ts"
import * as Places from "./places.ts"
import { invalidSchema, lockSchema } from "./schema.ts"
import { literal, quote } from "./sql/identifiers.ts"
import * as Unserved from "./unserved.ts"

const begin = "BEGIN ISOLATION LEVEL READ COMMITTED"

/** A place for views in a PostgreSQL database: that of the log, or another one. */
export const PostgresViews = (options: ConnectionOptions & ViewsOptions): Layer.Layer<SqlViewStore, RecorderError> =>
  Layer.provide(PostgresViews.fromClient(options), layerClient(options))

/** {@link PostgresViews} on a client that the program already has (`PgClient.layer` of `@effect/sql-pg`). */
PostgresViews.fromClient = (options: ViewsOptions = {}): Layer.Layer<SqlViewStore, RecorderError, PgClient.PgClient> =>
  Layer.effect(
    SqlViewStore,
    Effect.flatMap(PgClient.PgClient, (client) => make(client, options))
  )

/** PostgreSQL truncates longer names, so that two of them could become the same. */
const checked = (name: string): string => {
  if (name.length > 15 && Buffer.byteLength(name) > 63) {
    throw new Error(`the name "${name}" has more than 63 bytes, and PostgreSQL would truncate it; shorten it`)
  }
  return name
}

/** The views in a database, on an existing client. */
export const make = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  options: ViewsOptions
): Effect.fn.Return<SqlViewStore["Service"], RecorderError> {
  const { schema = "public" } = options
  const waits = yield* milliseconds("lockTimeout", options.lockTimeout ?? "10 seconds", { least: 1, endless: true })
  const lockTimeout = Number.isFinite(waits) ? waits : 0
  const invalid = invalidSchema(schema)
  if (invalid !== undefined) {
    return yield* new RecorderFailure({
      operation: CREATE_TABLES,
      reason: `invalid schema name "${schema}": ${invalid}`
    })
  }
  const patience = Unserved.make(sql)
  yield* createTables(sql, schema, patience)
  const own = `${quote(schema)}.`
  const run = (text: string) => Effect.asVoid(sql.unsafe(text).unprepared)
  return SqlViews.make(sql, {
    own,
    defaultPlace: (key) => defaultPlace(schema, key),
    table: (place, name) => `${quote(place)}.${quote(checked(name))}`,
    index: (_place, name) => quote(checked(name)),
    guard: guardTransaction(sql),
    // in each transaction: it is prepared
    boundWaits: Effect.asVoid(sql.unsafe(`SET LOCAL lock_timeout = ${Math.ceil(lockTimeout)}`)),
    lock: ({ projection }) =>
      run(`SELECT pg_advisory_xact_lock(hashtextextended(${literal(`${own}projection ${projection}`)}, 0))`),
    ...Places.make(sql, schema),
    dropInlineGuard: (_key, place) => run(`DROP FUNCTION IF EXISTS ${quote(place)}.require_inline() CASCADE`),
    // a row's xmax is the transaction that has locked or changed it, and that transaction holds the lock of its own id
    holder: ({ projection, version, upstream, slice }) =>
      Effect.map(
        sql.unsafe<{ readonly holder: string }>(
          `SELECT format('the session of process %s (%s, %s for %s s; its last statement: %s)', a.pid, a.application_name, a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::integer, left(a.query, 100)) AS holder
FROM ${own}projection_tracking t
JOIN pg_catalog.pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = t.xmax
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE t.projection = $1 AND t.version = $2 AND t.upstream = $3 AND t.slice = $4`,
          [projection, version, upstream, slice]
        ),
        ([row]) => row?.holder
      ),
    forUpdate: " FOR UPDATE",
    now: Effect.map(sql.unsafe("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").values, ([row]) =>
      BigInt(String(row?.[0]))
    ),
    begin,
    runShort: patience.brief,
    transaction: patience.transaction,
    toRecorderError
  })
})

const CREATE_TABLES = "create the tables of views"

/** Creates the library's own tables in a schema, with the columns that earlier versions did not have. */
const createTables = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  schema: string,
  patience: Unserved.Patience
): Effect.fn.Return<void, RecorderError> {
  const own = `${quote(schema)}.`
  const run = (text: string) => Effect.asVoid(sql.unsafe(text).unprepared)
  const hasColumn = ({ column, table }: { readonly column: string; readonly table: string }) =>
    `EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass(${literal(own + table)})
  AND attname = ${literal(column)} AND NOT attisdropped)`
  const isComplete = Effect.map(
    sql.unsafe<{ readonly complete: boolean }>(
      `SELECT to_regclass(${literal(`${own}projection_leases`)}) IS NOT NULL
  AND ${ViewTables.added.map(hasColumn).join(" AND ")} AS complete`
    ).unprepared,
    ([row]) => row?.complete === true
  )
  // only if it is necessary: CREATE SCHEMA IF NOT EXISTS needs the right to create even if the schema exists
  const createSchema = Effect.flatMap(
    sql.unsafe(`SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = ${literal(schema)}`).unprepared,
    (schemas) => (schemas.length > 0 ? Effect.void : run(`CREATE SCHEMA ${quote(schema)}`))
  )
  const completed = sql
    .withTransaction(
      Effect.gen(function* () {
        // a log may be created in the same schema at the same moment
        yield* run(lockSchema(schema))
        yield* createSchema
        for (const table of ViewTables.tables(own)) yield* run(table)
        for (const { column, table, type } of ViewTables.added) {
          yield* run(`ALTER TABLE ${own}${table} ADD COLUMN IF NOT EXISTS ${column} ${type}`)
        }
      })
    )
    .pipe(Effect.provideService(SqlClient.BeginTransaction, begin))
  const failed = Effect.mapError((error: SqlError.SqlError) => toOpeningError(CREATE_TABLES, error))
  if (!(yield* patience.bound(CREATE_TABLES, () => failed(isComplete)))) yield* failed(completed)
})

const nameOf = ({ projection, version }: Tracking.Key): string => `,${projection}:${version},`

/** What a database does for projections that the appends of a log in it update inline. */
export const inlineDatabase = (
  sql: PgClient.PgClient,
  options: { readonly schema: string; readonly viewsSchema: string; readonly lockTimeout: number },
  store: SqlViewStore["Service"]
): InlineDatabase => {
  const run = (text: string) => Effect.asVoid(sql.unsafe(text).unprepared)
  const events = `${quote(options.schema)}.stored_events`
  return {
    store,
    switchOver: (key, categories, self) => {
      const names = categories.map(literal).join(", ")
      const switched = Effect.gen(function* () {
        yield* run(`SET LOCAL lock_timeout = ${options.lockTimeout}`)
        // waits for transactions that have appended and not committed yet; from here on nobody appends
        yield* run(`LOCK TABLE ${events} IN SHARE ROW EXCLUSIVE MODE`)
        if (!(yield* self)) return false
        // in the same place as the view's tables, and named like one of them
        const [guard = ""] = yield* store.read(key, ({ table }) =>
          Effect.succeed(sql`${table("require_inline")}`.compile())
        )
        yield* run(`CREATE FUNCTION ${guard}() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  IF position(${literal(nameOf(key))} IN coalesce(current_setting('effect_eventsourcing.inline', true), '')) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = ${literal(inlineGuardMessage(key))};
  END IF;
  RETURN NEW;
END;
$function$`)
        yield* run(`CREATE TRIGGER ${quote(`${key.projection}_v${key.version}_require_inline`)} BEFORE INSERT ON ${events}
FOR EACH ROW WHEN (split_part(NEW.stream, '-', 1) IN (${names})) EXECUTE FUNCTION ${guard}()`)
        return true
      })
      return sql.withTransaction(switched).pipe(
        Effect.mapError((error) =>
          SqlError.isSqlError(error)
            ? toRecorderError("promote an inline projection", error, options.lockTimeout)
            : error
        ),
        Effect.provideService(SqlClient.BeginTransaction, begin)
      )
    },
    declare: (keys) =>
      sql.unsafe("SELECT set_config('effect_eventsourcing.inline', $1, true)", [keys.map(nameOf).join("")]).pipe(
        Effect.mapError((error) => toRecorderError("append", error)),
        Effect.asVoid
      )
  }
}

/**
 * {@link PostgresViews} from the configuration: the connection variables (`POSTGRES_*`) of `PostgresLayer.config`, and
 * `POSTGRES_VIEWS_SCHEMA`. A variable that is not set has its value in `defaults`.
 */
PostgresViews.config = (
  defaults: ConnectionOptions & ViewsOptions = {}
): Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError> =>
  Layer.unwrap(
    Effect.map(read(Config.all([connectionConfig, viewsConfig])), ([connection, views]) =>
      PostgresViews(withDefaults(withoutPartsOf(defaults, connection), { ...connection, ...views }))
    )
  )

const viewsConfig = Config.all({ schema: optional(Config.String("POSTGRES_VIEWS_SCHEMA")) })
