/** A log's place in a PostgreSQL database: its client and its schema. */
import type { PgClient } from "@effect/sql-pg"
import { Context, Effect, Schedule } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { isRecorderError, RecorderFailure } from "../EventSourcingError.ts"
import { lacksRight, toOpeningError, toRecorderError } from "./errors.ts"
import { lockTimeoutOf } from "./options.ts"
import type { DatabaseOptions } from "./PostgresOptions.ts"
import {
  COMPATIBLE_VERSION,
  invalidSchema,
  lockSchema,
  migrationsFrom,
  SCHEMA_VERSION,
  selectVersions,
  VERSION
} from "./schema.ts"
import { literal, logTable, quote } from "./sql/identifiers.ts"
import * as Unserved from "./unserved.ts"

/** A row, with its columns in the order in which they were selected. */
export type Row = ReadonlyArray<unknown>

/** A log's place in a database. */
export interface PostgresDatabase {
  readonly client: PgClient.PgClient
  readonly schema: string
  /** In milliseconds; 0 means without limit. */
  readonly lockTimeout: number
  /** Identifies the log. */
  readonly logId: string
  /** The version that the schema had when it was opened. */
  readonly version: number
  /** The channel on which appends are announced. */
  readonly channel: string
  /**
   * Runs a statement, in the transaction of the calling fiber if it has one. Outside a transaction, transient failures
   * are retried for about a second.
   */
  readonly query: (
    operation: string,
    sql: string,
    parameters: ReadonlyArray<unknown>,
    times?: number
  ) => Effect.Effect<ReadonlyArray<Row>, RecorderError>
  /** Runs a statement that appends in a READ COMMITTED transaction of its own, whatever the server's default is. */
  readonly committed: <A>(self: Effect.Effect<A, RecorderError>) => Effect.Effect<A, RecorderError>
  /** Runs outside the calling fiber's transaction, if it has one. */
  readonly outside: <A, E>(self: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Whether a fiber with this context is in a transaction of the client. */
  readonly inTransaction: (context: Context.Context<never>) => boolean
  /** Limits the waits of what does not run through `query`. */
  readonly patience: Unserved.Patience
}

const retrySchedule = Schedule.exponential("20 millis").pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 6, duration: "2 seconds" })
)

/** Whether another attempt may succeed. A wait that has already lasted as long as it may is not repeated. */
const isRetryable = (error: RecorderError): boolean =>
  error._tag === "RecorderUnavailable" && error.waited === undefined

const OPERATION = "open a log"

/** Finds a log, or creates it. */
export const open = Effect.fnUntraced(function* (
  client: PgClient.PgClient,
  options: DatabaseOptions
): Effect.fn.Return<PostgresDatabase, RecorderError> {
  const { schema = "public", createTables = true } = options
  const invalid = invalidSchema(schema)
  if (invalid !== undefined) {
    return yield* new RecorderFailure({ operation: OPERATION, reason: `invalid schema name "${schema}": ${invalid}` })
  }
  const lockTimeout = yield* lockTimeoutOf(options.lockTimeout)

  const inTransaction = (context: Context.Context<never>) => context.mapUnsafe.has(client.transactionService.key)
  const patience = Unserved.make(client)
  /** Returns a `query` whose errors are described by `toError`. */
  const queryBy = (toError: typeof toRecorderError): PostgresDatabase["query"] => {
    const once: PostgresDatabase["query"] = (operation, sql, parameters) =>
      Effect.mapError(client.unsafe(sql, parameters).values, (error) => toError(operation, error, lockTimeout))
    // a transaction is aborted by its first failing statement, and already has its connection
    return (operation, sql, parameters, times) =>
      Effect.contextWith((context: Context.Context<never>) => {
        const statement = once(operation, sql, parameters)
        if (inTransaction(context)) return statement
        const bounded = patience.bound(operation, () => statement, times)
        return Effect.catchTag(bounded, "RecorderUnavailable", (error) =>
          // a wait that was limited must not start over
          error.waited !== undefined
            ? Effect.fail(error)
            : Effect.retry(bounded, { schedule: retrySchedule, while: isRetryable })
        )
      })
  }
  const opening = queryBy(toOpeningError)

  yield* checkEncoding(opening)
  const { required, version } = yield* versionsOf(opening, schema)
  if (required > SCHEMA_VERSION) {
    return yield* new RecorderFailure({
      operation: OPERATION,
      reason: `the schema "${schema}" has version ${required}, but this version of effect-eventsourcing only knows ${SCHEMA_VERSION}; update effect-eventsourcing`
    })
  }
  if (version < SCHEMA_VERSION) yield* migrateOrWarn(client, schema, version, createTables)
  const [row] = yield* opening(
    OPERATION,
    `SELECT log_id, ${logTable(schema)}::regclass::oid::text, current_setting('default_transaction_isolation'), ${VERSION} FROM ${quote(schema)}.stored_log l`,
    []
  )
  return {
    client,
    schema,
    lockTimeout,
    logId: String(row?.[0]),
    version: Number(row?.[3]),
    channel: `stored_events_${row?.[1]}`,
    query: queryBy(toRecorderError),
    committed:
      row?.[2] === "read committed"
        ? (self) => self
        : (self) => patience.bound("append", () => readCommitted(client, "append", self)),
    outside: Effect.updateContext((context: Context.Context<never>) =>
      Context.omit(client.transactionService)(context)
    ),
    inTransaction,
    patience
  }
})

const checkEncoding = Effect.fnUntraced(function* (query: PostgresDatabase["query"]) {
  const [row] = yield* query(OPERATION, "SELECT current_setting('server_encoding')", [])
  if (row?.[0] === "UTF8") return
  return yield* new RecorderFailure({
    operation: OPERATION,
    reason: `the database's encoding is ${row?.[0]}, but names and events may contain any Unicode; create a database with ENCODING 'UTF8' TEMPLATE template0`
  })
})

/**
 * The version that a schema has, and the lowest version that an application has to know to work with it; 0 if there is
 * no log in it.
 */
const versionsOf = Effect.fnUntraced(function* (query: PostgresDatabase["query"], schema: string) {
  const none = { required: 0, version: 0 }
  const table = `to_regclass(${literal(`${quote(schema)}.stored_log`)})`
  const [found] = yield* query(OPERATION, `SELECT ${table} IS NOT NULL`, [])
  if (found?.[0] !== true) return none
  const [row] = yield* query(OPERATION, selectVersions(schema), [])
  return row === undefined ? none : { required: Number(row[0]), version: Number(row[1]) }
})

/**
 * Migrates a schema. An older one that still works is left as it is, with a warning, if somebody else has to migrate
 * it: a new version of the application must not have to wait for that.
 */
const migrateOrWarn = Effect.fnUntraced(function* (
  client: PgClient.PgClient,
  schema: string,
  version: number,
  createTables: boolean
) {
  const call = version === 0 ? JSON.stringify(schema) : `${JSON.stringify(schema)}, ${version}`
  const is = version === 0 ? "has no log" : `has version ${version}, but ${SCHEMA_VERSION} is the newest`
  const reason = `the schema "${schema}" ${is}; run the SQL of schemaSql(${call})`
  if (version < COMPATIBLE_VERSION && !createTables) {
    return yield* new RecorderFailure({ operation: OPERATION, reason: `${reason}, or turn createTables on` })
  }
  const warn = Effect.logWarning(
    `${reason} as the owner of its tables; until then, appends lack the checks of the newer version`
  )
  if (!createTables) return yield* warn
  yield* Effect.catchTag(migrate(client, schema), "RecorderFailure", (failure) =>
    version >= COMPATIBLE_VERSION && lacksRight(failure) ? warn : Effect.fail(failure)
  )
})

/** Migrates a schema. If several processes start at once, one of them does it and the others wait. */
const migrate = (client: PgClient.PgClient, schema: string): Effect.Effect<void, RecorderError> => {
  const operation = "create the tables of a log"
  const failed = Effect.mapError((error: SqlError.SqlError) => toOpeningError(operation, error))
  const run = (sql: string) => failed(client.unsafe(sql).unprepared)
  const migration = Effect.gen(function* () {
    yield* run(lockSchema(schema))
    const existing = yield* run(`SELECT 1 AS existing FROM pg_catalog.pg_namespace WHERE nspname = ${literal(schema)}`)
    // only if it is necessary: CREATE SCHEMA IF NOT EXISTS needs the right to create even if the schema exists
    if (existing.length === 0) yield* run(`CREATE SCHEMA ${quote(schema)}`)
    const { version } = yield* versionsOf((_operation, sql) => failed(client.unsafe(sql).values), schema)
    for (const statement of migrationsFrom(schema, version)) yield* run(statement)
  })
  return readCommitted(client, operation, migration, toOpeningError)
}

/** A transaction whose failures are those of the recorder. */
export const inTransactionOf = <A, E extends { readonly _tag: string }, R>(
  client: PgClient.PgClient,
  operation: string,
  self: Effect.Effect<A, E, R>,
  toError = toRecorderError
): Effect.Effect<A, E | RecorderError, R> =>
  client.withTransaction(self).pipe(
    Effect.mapError((error) => (SqlError.isSqlError(error) ? toError(operation, error) : error)),
    // if the connection is gone, nothing can be rolled back on it, and the client turns every failure into a defect
    Effect.catchDefect((defect): Effect.Effect<never, RecorderError> => {
      if (SqlError.isSqlError(defect)) return Effect.fail(toError(operation, defect))
      return isRecorderError(defect) ? Effect.fail(defect) : Effect.die(defect)
    })
  )

/** A transaction that sees what others have committed while it waited. It is repeated after a transient failure. */
const readCommitted = <A>(
  client: PgClient.PgClient,
  operation: string,
  self: Effect.Effect<A, RecorderError>,
  toError = toRecorderError
): Effect.Effect<A, RecorderError> =>
  inTransactionOf(client, operation, self, toError).pipe(
    Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL READ COMMITTED"),
    Effect.retry({ schedule: retrySchedule, while: isRetryable })
  )

/** Runs a part of the caller's own transaction that can fail without failing the rest of it. */
export const inSavepoint = <A, E extends { readonly _tag: string }>(
  { client }: PostgresDatabase,
  operation: string,
  part: Effect.Effect<A, E>
): Effect.Effect<A, E | RecorderError> => inTransactionOf(client, operation, part)
