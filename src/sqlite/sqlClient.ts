import type { DatabaseSync } from "node:sqlite"
import { Context, Effect } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection, SqlError } from "effect/sql"
import { SqlClient, Statement } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { hasEnded } from "../internal/projection/handling.ts"
import type { Queue } from "./queue.ts"
import type { Outside } from "./sqlConnection.ts"
import { makeConnection, RUN } from "./sqlConnection.ts"
import { toClientError, toSqlError } from "./sqlErrors.ts"
import { makeStatements } from "./sqlStatements.ts"
import type { OwnTransaction, Transaction } from "./transaction.ts"
import { endedHandler, makeTransaction, refused } from "./transaction.ts"

/** The client of a file. */
export interface Client {
  readonly sql: SqlClient.SqlClient
  /** The transaction that a fiber with this context is in, or was started in. */
  readonly transactionOf: (context: Context.Context<never>) => Transaction | undefined
}

/**
 * The `SqlClient` of `effect/sql` over a connection of `node:sqlite`, for the user's own SQL.
 *
 * Statements and transactions pass through the same queue as the recorder's appends, and wait for the locks of other
 * processes with Effect's clock. In a transaction that SQLite has ended, every statement fails. A fiber that outlives
 * its transaction is outside any: no other transaction is mistaken for its own.
 */
export const make = Effect.fnUntraced(function* (options: {
  readonly db: DatabaseSync
  readonly queue: Queue
  readonly attempt: <A>(operation: string, f: () => A) => Effect.Effect<A, RecorderError>
  /** Throws if the file is lost; see `SqliteDatabase`. */
  readonly check: () => void
}): Effect.fn.Return<Client> {
  const { db, queue, attempt, check } = options
  const statements = makeStatements(db)
  /** Where a statement runs if the transaction of its connection is over. */
  const outside: Outside = {
    acquirer: Effect.suspend(() => acquirer),
    borrower: (f) => borrower(f)
  }
  const newConnection = (own?: Transaction) => makeConnection({ attempt, check, statements, outside }, own)
  const isTransaction = () => db.isOpen && db.isTransaction
  /** Ends a transaction whose end failed, so that no later work is in it. */
  const endLeftover = Effect.suspend(() =>
    isTransaction()
      ? Effect.mapError(
          attempt(RUN, () => db.exec("ROLLBACK")),
          toClientError
        )
      : Effect.void
  )
  const single = newConnection()
  const available = Effect.suspend(() => (isTransaction() ? Effect.as(endLeftover, single) : Effect.succeed(single)))
  const acquirer: SqlConnection.Acquirer = Effect.andThen(
    Effect.mapError(queue.takeScoped(RUN), toClientError),
    available
  )
  const inTurn = queue.withTurn(RUN, toClientError)
  const borrower: SqlConnection.Borrower = (f) => inTurn(Effect.flatMap(available, f))
  /** The transactions, by the connections that represent them. */
  const transactions = new WeakMap<SqlConnection.Connection, OwnTransaction>()
  const connectTransaction = (): SqlConnection.Connection => {
    const transaction = makeTransaction(db)
    const connection = newConnection(transaction)
    transactions.set(connection, transaction)
    return connection
  }
  const endTransaction = (connection: SqlConnection.Connection) =>
    Effect.sync(() => transactions.get(connection)?.end())
  const spanAttributes = [["db.system.name", "sqlite"]] as const
  const sql = yield* SqlClient.make({
    acquirer,
    borrower,
    onCommitFailure: () => endLeftover,
    isTransaction,
    transactionAcquirer: Effect.tap(Effect.map(acquirer, connectTransaction), (connection) =>
      Effect.addFinalizer(() => endTransaction(connection))
    ),
    driver: "node-sqlite",
    compiler: Statement.makeCompilerSqlite(),
    spanAttributes
  }).pipe(Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make))

  const { transactionService } = sql
  const transactionOf: Client["transactionOf"] = (context) => {
    const inner = Context.getOrUndefined(context, transactionService)
    if (inner === undefined) return undefined
    return hasEnded(context) ? endedHandler : transactions.get(inner[0])
  }

  /** Begins or ends a transaction or a savepoint; fails if the transaction of the connection is over. */
  const control = (
    connection: SqlConnection.Connection,
    statement: string,
    done?: (transaction: OwnTransaction) => void
  ): Effect.Effect<void, SqlError.SqlError> =>
    Effect.mapError(
      attempt("control a transaction", () => {
        const transaction = transactions.get(connection)
        transaction?.assertOpen()
        // a transaction begins, and commits, only in a file that is not lost
        if (statement.startsWith("BEGIN")) check()
        statements.prepare(statement).run()
        if (statement === "COMMIT") check()
        if (transaction !== undefined) done?.(transaction)
      }),
      toClientError
    )
  /** Undoes something if there still is something to undo. */
  const undo = (connection: SqlConnection.Connection, statement: string) =>
    Effect.suspend(() =>
      transactions.get(connection)?.isOpen() === true ? control(connection, statement) : Effect.void
    )

  const transact = SqlClient.makeWithTransaction({
    transactionService,
    spanAttributes,
    acquireConnection: (restore) => Effect.map(restore(acquirer), connectTransaction),
    begin: (connection, statement = "BEGIN IMMEDIATE") =>
      control(connection, statement, (transaction) => transaction.begin()),
    // one of these ends each transaction: a finalizer would cost as much as a statement
    commit: (connection) => control(connection, "COMMIT", (transaction) => transaction.end()),
    onCommitFailure: (connection) => Effect.ensuring(endLeftover, endTransaction(connection)),
    rollback: (connection) => Effect.ensuring(undo(connection, "ROLLBACK"), endTransaction(connection)),
    savepoint: (connection, id) =>
      control(connection, `SAVEPOINT effect_sql_${id}`, (transaction) => {
        transaction.savepoints++
      }),
    rollbackSavepoint: (connection, id) => undo(connection, `ROLLBACK TO SAVEPOINT effect_sql_${id}`),
    releaseSavepoint: (connection, id) =>
      Effect.ensuring(
        undo(connection, `RELEASE SAVEPOINT effect_sql_${id}`),
        Effect.sync(() => {
          const transaction = transactions.get(connection)
          if (transaction !== undefined) transaction.savepoints--
        })
      )
  })
  const withTransaction: SqlClient.SqlClient["withTransaction"] = <R, E, A>(self: Effect.Effect<A, E, R>) =>
    Effect.contextWith((context: Context.Context<R>) => {
      const transaction = transactionOf(context)
      if (transaction === undefined) return transact(self)
      if (transaction === endedHandler) return refused
      if (transaction.isOver()) {
        const outside = (inside: Context.Context<R>) => Context.omit(transactionService)(inside) as Context.Context<R>
        return Effect.updateContext(transact(self), outside)
      }
      // a COMMIT would fail, but the end of a savepoint does not report that its transaction is gone
      const stillOpen = Effect.try({ try: transaction.assertOpen, catch: toSqlError })
      return transact(Effect.tap(self, () => stillOpen))
    })
  return { sql: Object.assign(sql, { withTransaction }), transactionOf }
})
