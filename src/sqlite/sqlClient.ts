import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"
import type { Semaphore } from "effect"
import { Context, Effect, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection } from "effect/sql"
import { SqlClient, SqlError, Statement } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { messageOf } from "../internal/messageOf.ts"

/** `node:sqlite` has the result code in `errcode`; the classifier of `effect/sql` looks for `errno`. */
const toSqlError = (cause: unknown): SqlError.SqlError => {
  const errno = typeof cause === "object" && cause !== null && "errcode" in cause ? cause.errcode : undefined
  const message = messageOf(cause)
  return new SqlError.SqlError({
    reason: SqlError.classifySqliteError(Object.assign(new Error(message, { cause }), { errno }), { message })
  })
}

/** Whether there is nothing but space and comments. */
const isBlank = (sql: string): boolean => /^(?:[\s;]|--.*|\/\*[\s\S]*?\*\/)*$/.test(sql)

type Row = Record<string, unknown>

/**
 * The `SqlClient` of `effect/sql` over a connection of `node:sqlite`, for the user's own SQL.
 *
 * Statements and transactions pass through the queue that the recorder's appends pass through, and wait for the locks of
 * other processes with Effect's clock.
 */
export const make = Effect.fnUntraced(function* (options: {
  readonly db: DatabaseSync
  readonly queue: Semaphore.Semaphore
  readonly attempt: <A>(operation: string, f: () => A) => Effect.Effect<A, RecorderError>
}): Effect.fn.Return<SqlClient.SqlClient> {
  const { db, queue, attempt } = options
  const prepared = new Map<string, StatementSync>()
  const prepareOne = (sql: string): StatementSync => {
    const statement = db.prepare(sql)
    // SQLite takes the first statement, and nothing is said of the others
    const others = sql.slice(statement.sourceSQL.length)
    if (!isBlank(others)) {
      throw new Error(`a query is one statement, and this one goes on behind the first: ${others.trim().slice(0, 80)}`)
    }
    return statement
  }
  const prepare = (sql: string): StatementSync => {
    const known = prepared.get(sql)
    if (known !== undefined) return known
    const statement = prepareOne(sql)
    if (prepared.size < 500) prepared.set(sql, statement)
    return statement
  }

  const run = <A>(f: (bigints: boolean) => A): Effect.Effect<A, SqlError.SqlError> =>
    Effect.withFiber((fiber) => {
      const bigints = Context.get(fiber.context, SqlClient.SafeIntegers)
      return Effect.mapError(
        attempt("run the user's SQL", () => f(bigints)),
        (error) => toSqlError(error.cause ?? error)
      )
    })

  const all = (
    statement: StatementSync,
    params: ReadonlyArray<unknown>,
    bigints: boolean,
    arrays = false
  ): ReadonlyArray<Row> => {
    statement.setReadBigInts(bigints)
    statement.setReturnArrays(arrays)
    return statement.all(...(params as ReadonlyArray<SQLInputValue>)) as ReadonlyArray<Row>
  }
  const values = (statement: StatementSync, params: ReadonlyArray<unknown>, bigints: boolean) =>
    all(statement, params, bigints, true) as unknown as ReadonlyArray<ReadonlyArray<unknown>>

  /** The rows of a query, which is ended with the scope: one left open would hold its snapshot of the file for ever. */
  const rowsOf = (sql: string, params: ReadonlyArray<unknown>) =>
    Effect.withFiber((fiber) =>
      Effect.acquireRelease(
        Effect.try({
          try: () => {
            const statement = prepareOne(sql)
            statement.setReadBigInts(Context.get(fiber.context, SqlClient.SafeIntegers))
            const rows = statement.iterate(...(params as ReadonlyArray<SQLInputValue>)) as IterableIterator<Row>
            return rows
          },
          catch: toSqlError
        }),
        (rows) => Effect.sync(() => rows.return?.())
      )
    )

  const connection: SqlConnection.Connection = {
    execute: (sql, params, transform) =>
      run((bigints) => {
        const rows = all(prepare(sql), params, bigints)
        return transform === undefined ? rows : transform(rows)
      }),
    executeRaw: (sql, params) => run(() => prepare(sql).run(...(params as ReadonlyArray<SQLInputValue>))),
    executeValues: (sql, params) => run((bigints) => values(prepare(sql), params, bigints)),
    executeValuesUnprepared: (sql, params) => run((bigints) => values(prepareOne(sql), params, bigints)),
    executeUnprepared: (sql, params, transform) =>
      run((bigints) => {
        const rows = all(prepareOne(sql), params, bigints)
        return transform === undefined ? rows : transform(rows)
      }),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.map(rowsOf(sql, params), (rows) => {
          const pages = Stream.fromIterable(rows, { chunkSize: 128 })
          return transform === undefined ? pages : Stream.mapArray(pages, (page) => transform(page) as typeof page)
        })
      ).pipe(Stream.catchDefect((cause) => Stream.fail(toSqlError(cause))))
  }

  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connection),
    semaphore: queue,
    isTransaction: () => db.isTransaction
  })
  return yield* SqlClient.make({
    ...acquirers,
    driver: "node-sqlite",
    compiler: Statement.makeCompilerSqlite(),
    beginTransaction: "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"]]
  }).pipe(Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make))
})
