/** The shared parts of a SQL view store: its database, its statements, and how they run in transactions. */
import type { Context } from "effect"
import { Effect } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderError, isRecorderUnavailable, RecorderUnavailable } from "../../EventSourcingError.ts"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { LocalProgress } from "../projection/localProgress.ts"
import { makeLocalProgress } from "../projection/localProgress.ts"
import { keyText } from "../projection/trackingKey.ts"
import { WorkAborted } from "../projection/workAborted.ts"
import type { Dialect } from "./dialect.ts"
import type { Row } from "./viewRows.ts"
import type { Statements } from "./viewStatements.ts"
import { makeStatements } from "./viewStatements.ts"

export interface ViewDatabase {
  readonly sql: SqlClient.SqlClient
  readonly dialect: Dialect
  readonly statements: Statements
  readonly localProgress: (projection: string) => LocalProgress
  /**
   * The places of versions as they were when a row was last read, by the text of their key: so that a query of a view
   * does not have to read its row.
   */
  readonly places: Map<string, string>
}

export const makeViewDatabase = (sql: SqlClient.SqlClient, dialect: Dialect): ViewDatabase => ({
  sql,
  dialect,
  statements: makeStatements(sql, dialect.own),
  localProgress: makeLocalProgress(),
  places: new Map()
})

/** Remembers the place that a row of a version has, and returns it. */
export const rememberPlace = (db: ViewDatabase, key: Tracking.Key, inRow: unknown): string => {
  const place = inRow == null ? db.dialect.defaultPlace(key) : String(inRow)
  db.places.set(keyText(key), place)
  return place
}

/** The view of a version, in its place. */
export const viewIn = ({ dialect, sql }: ViewDatabase, place: string, { version }: Tracking.Key): SqlView => ({
  sql,
  table: (name) => sql.literal(dialect.table(place, name)),
  index: (name) => sql.literal(dialect.index(place, name)),
  version
})

/** Runs a statement within a transaction or within short work, and returns its rows. */
export const run = ({ sql }: ViewDatabase, statement: string, values: ReadonlyArray<unknown>) =>
  sql.unsafe(statement, values).values as Effect.Effect<ReadonlyArray<Row>, SqlError.SqlError>

export const isInTransaction =
  ({ sql }: ViewDatabase) =>
  (context: Context.Context<never>): boolean =>
    context.mapUnsafe.has(sql.transactionService.key)

/** Runs short work. In a transaction of the caller's, it has the time of that transaction. */
export const runShort = <A, R>(
  db: ViewDatabase,
  operation: string,
  work: Effect.Effect<A, SqlError.SqlError, R>
): Effect.Effect<A, RecorderError, R> => {
  const { dialect } = db
  return Effect.mapError(
    Effect.contextWith((context: Context.Context<R>) =>
      dialect.runShort === undefined || isInTransaction(db)(context) ? work : dialect.runShort(operation, work)
    ),
    (error) => (SqlError.isSqlError(error) ? dialect.toRecorderError(operation, error) : error)
  )
}

/** Runs one statement as short work. */
export const query = (db: ViewDatabase, operation: string, statement: string, values: ReadonlyArray<unknown>) =>
  runShort(db, operation, run(db, statement, values))

/** A failure of the work that is done in a transaction, told apart from the transaction's own. */
class WorkFailed<out E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/** The error of a transaction for an error within it. */
type OutOf<E> = E extends SqlError.SqlError ? never : E extends WorkFailed<infer Own> ? Own : E

/** Runs the user's part of a transaction, with the client of the view's database. */
export const runWork = <A, E, R>({ dialect, sql }: ViewDatabase, work: Effect.Effect<A, E, R>) =>
  Effect.andThen(dialect.guard, work).pipe(
    Effect.mapError((error) => new WorkFailed(error)),
    Effect.provideService(SqlClient.SqlClient, sql),
    // how this transaction was begun does not concern the transactions that the work begins elsewhere
    Effect.provideService(SqlClient.BeginTransaction, undefined)
  )

/** Fails a transaction whose connection does not respond when it begins, unless it is part of the caller's. */
const beginInTime = <A, E, R>(db: ViewDatabase, operation: string, transaction: Effect.Effect<A, E, R>) => {
  const begin = db.dialect.transaction
  return Effect.contextWith(
    (context: Context.Context<R>): Effect.Effect<A, E | SqlError.SqlError | RecorderError, R> =>
      begin === undefined || isInTransaction(db)(context) ? transaction : begin(operation, transaction)
  )
}

/** Runs statements in a transaction of their own, or as part of the caller's. */
export const inTransaction = <A, E, R, Aborted = never>(
  db: ViewDatabase,
  operation: string,
  statements: Effect.Effect<A, E, R>,
  toAborted?: (error: SqlError.SqlError) => Aborted | undefined
): Effect.Effect<A, OutOf<E> | RecorderError | Aborted, R> => {
  const { dialect, sql } = db
  return beginInTime(db, operation, sql.withTransaction(Effect.andThen(dialect.boundWaits, statements))).pipe(
    Effect.mapError((error): OutOf<E> | RecorderError | Aborted => {
      if (error instanceof WorkFailed) return error.error
      if (!SqlError.isSqlError(error)) return error as OutOf<E>
      return toAborted?.(error) ?? dialect.toRecorderError(operation, error)
    }),
    // if the connection is gone, nothing can be rolled back on it, and the client turns failures into defects
    Effect.catchDefect((defect): Effect.Effect<never, OutOf<E> | RecorderError> => {
      if (SqlError.isSqlError(defect)) return Effect.fail(dialect.toRecorderError(operation, defect))
      if (defect instanceof WorkFailed) return Effect.fail(defect.error)
      return isRecorderError(defect) ? Effect.fail(defect) : Effect.die(defect)
    }),
    Effect.provideService(SqlClient.BeginTransaction, dialect.begin)
  )
}

/** A transaction that ends with {@link runWork}: the work may continue after one of its statements has failed. */
export const inTransactionOfWork = <A, E, R>(db: ViewDatabase, operation: string, statements: Effect.Effect<A, E, R>) =>
  inTransaction(db, operation, statements, (error) => (isAborted(error) ? new WorkAborted() : undefined))

const isAborted = (error: SqlError.SqlError): boolean =>
  error.message.includes("COMMIT rolled back an aborted transaction")

/** Adds the holder of a version's row to the error of a wait for it. */
export const namingHolder =
  (db: ViewDatabase, key: Tracking.Key) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const { holder } = db.dialect
    if (holder === undefined) return self
    return Effect.tapError(self, (error): Effect.Effect<void, E> => {
      if (!isRecorderUnavailable(error) || error.waited === undefined) return Effect.void
      const holding = Effect.orElseSucceed(
        runShort(db, "find the holder of a projection's row", holder(key)),
        () => undefined
      )
      return Effect.flatMap(holding, (by) =>
        by === undefined ? Effect.void : Effect.fail(heldBy(error, by) as E & RecorderUnavailable)
      )
    })
  }

const heldBy = ({ operation, reason, waited, cause }: RecorderUnavailable, by: string): RecorderUnavailable =>
  new RecorderUnavailable({
    ...{ operation, reason: `${reason}; the projection's row is held by ${by}`, cause },
    ...(waited === undefined ? {} : { waited })
  })
