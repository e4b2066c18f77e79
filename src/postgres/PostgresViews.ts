/** Views as tables of a PostgreSQL database. */
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import type { InlineDatabase } from "../internal/inline.ts"
import { refusal } from "../internal/inline.ts"
import * as SqlViews from "../internal/sqlViews.ts"
import type * as Tracking from "../Tracking.ts"
import { SqlViewStore } from "../ViewStore.ts"
import type { ConnectionOptions } from "./connect.ts"
import { connectionConfig, layerClient } from "./connect.ts"
import { toRecorderError } from "./errors.ts"
import { invalidSchema } from "./schema.ts"
import { literal, quote } from "./sql/identifiers.ts"

/** Where views are in a database. */
export interface ViewsOptions {
  /**
   * The schema of the library's own tables (`projection_tracking`, `projection_leases`, `projection_dead_letters`), made if it
   * isn't there. Default `public`. The tables of each version of a projection are in a schema of their own,
   * `<projection>_v<version>`, and where this is not `public`, `<schema>_<projection>_v<version>`.
   */
  readonly schema?: string | undefined
}

const begin = "BEGIN ISOLATION LEVEL READ COMMITTED"

/** A place for views in a PostgreSQL database: the log's own, or another one. */
export const PostgresViews = (options: ConnectionOptions & ViewsOptions): Layer.Layer<SqlViewStore, RecorderError> =>
  Layer.provide(PostgresViews.fromClient(options), layerClient(options))

/** {@link PostgresViews} on a client that the program has already (`PgClient.layer` of `@effect/sql-pg`). */
PostgresViews.fromClient = ({
  schema = "public"
}: ViewsOptions = {}): Layer.Layer<SqlViewStore, RecorderError, PgClient.PgClient> =>
  Layer.effect(
    SqlViewStore,
    Effect.flatMap(PgClient.PgClient, (client) => make(client, schema))
  )

const placeOf = (schema: string, { projection, version }: Tracking.Key): string =>
  `${schema === "public" ? "" : `${schema}_`}${projection}_v${version}`

/** The views of a database that is connected to. */
export const make = Effect.fnUntraced(function* (
  sql: PgClient.PgClient,
  schema: string
): Effect.fn.Return<SqlViewStore["Service"], RecorderError> {
  const operation = "make the tables of views"
  const invalid = invalidSchema(schema)
  if (invalid !== undefined) {
    return yield* new RecorderFailure({ operation, reason: `the schema "${schema}" can't be: ${invalid}` })
  }
  const own = `${quote(schema)}.`
  const run = (text: string) => Effect.asVoid(sql.unsafe(text).unprepared)
  /** Until the transaction ends, of those who begin at once one goes on and the others wait. */
  const lock = (what: string) => run(`SELECT pg_advisory_xact_lock(hashtextextended(${literal(own + what)}, 0))`)
  const isThere = (name: string) =>
    Effect.map(
      sql.unsafe(`SELECT 1 AS there FROM pg_catalog.pg_namespace WHERE nspname = ${literal(name)}`).unprepared,
      (found) => found.length > 0
    )
  // asked for only where it has to be: CREATE SCHEMA IF NOT EXISTS takes the right to create also if it exists
  const makeSchema = (name: string) =>
    Effect.flatMap(isThere(name), (there) => (there ? Effect.void : run(`CREATE SCHEMA ${quote(name)}`)))
  const areThere = Effect.map(
    sql.unsafe(`SELECT to_regclass(${literal(`${own}projection_leases`)}) IS NOT NULL AS there`).unprepared,
    ([row]) => (row as { readonly there: boolean }).there
  )
  const makeTables = sql.withTransaction(
    Effect.gen(function* () {
      yield* lock("projection_tracking")
      yield* makeSchema(schema)
      for (const table of SqlViews.tables(own)) yield* run(table)
    })
  )
  yield* Effect.mapError(
    Effect.flatMap(areThere, (there): Effect.Effect<void, SqlError.SqlError> => (there ? Effect.void : makeTables)),
    (error) => toRecorderError(operation, error)
  )

  const place = (key: Tracking.Key): string => placeOf(schema, key)
  return SqlViews.make(sql, {
    own,
    table: (key, name) => `${place(key)}.${name}`,
    index: (_key, name) => name,
    lock: ({ projection }) => lock(`projection ${projection}`),
    makePlace: (key) => makeSchema(place(key)),
    removePlace: (key) => run(`DROP SCHEMA IF EXISTS ${quote(place(key))} CASCADE`),
    release: (key) => run(`DROP FUNCTION IF EXISTS ${quote(place(key))}.require_inline() CASCADE`),
    forUpdate: " FOR UPDATE",
    now: Effect.map(sql.unsafe("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").values, ([row]) =>
      BigInt(String(row?.[0]))
    ),
    begin,
    toRecorderError
  })
})

const nameOf = ({ projection, version }: Tracking.Key): string => `,${projection}:${version},`

/** What a database does for projections that are kept up by the appends of a log in it. */
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
      const place = quote(placeOf(options.viewsSchema, key))
      const names = categories.map(literal).join(", ")
      const switched = Effect.gen(function* () {
        yield* run(`SET LOCAL lock_timeout = ${options.lockTimeout}`)
        // waits for those who have appended and not committed yet; as of now nobody appends
        yield* run(`LOCK TABLE ${events} IN SHARE ROW EXCLUSIVE MODE`)
        if (!(yield* self)) return false
        yield* run(`CREATE FUNCTION ${place}.require_inline() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  IF position(${literal(nameOf(key))} IN coalesce(current_setting('effect_eventsourcing.inline', true), '')) = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = ${literal(refusal(key))};
  END IF;
  RETURN NEW;
END;
$function$`)
        yield* run(`CREATE TRIGGER ${quote(`${key.projection}_v${key.version}_require_inline`)} BEFORE INSERT ON ${events}
FOR EACH ROW WHEN (split_part(NEW.stream, '-', 1) IN (${names})) EXECUTE FUNCTION ${place}.require_inline()`)
        return true
      })
      return sql.withTransaction(switched).pipe(
        Effect.mapError((error) =>
          SqlError.isSqlError(error)
            ? toRecorderError("switch an inline projection over", error, options.lockTimeout)
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
 * {@link PostgresViews} from the configuration: the `POSTGRES_*` variables of `PostgresLayer.config` that say how to connect,
 * and `POSTGRES_VIEWS_SCHEMA`.
 */
PostgresViews.config = Layer.unwrap(
  Effect.gen(function* () {
    const schema = yield* Config.withDefault(Config.String("POSTGRES_VIEWS_SCHEMA"), "public")
    return PostgresViews({ ...(yield* connectionConfig), schema })
  })
) satisfies Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError>
