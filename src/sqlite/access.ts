import type { Context, Result } from "effect"
import { Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import type { GroupCommit } from "./groupCommit.ts"
import type { Pages } from "./pages.ts"
import { makePages } from "./pages.ts"
import type { Prepare } from "./prepare.ts"
import { prepareOnce, preparePagesOnce } from "./prepare.ts"
import type { SqliteDatabase } from "./SqliteDatabase.ts"
import type { Transaction } from "./transaction.ts"

/** The statements of a connection. */
export interface Statements {
  readonly prepare: Prepare
  readonly pages: Pages
}

/** Reads and writes a log, each time in the transaction of the caller, if there is one. */
export const makeAccess = (database: SqliteDatabase, group: GroupCommit) => {
  const { writer, sql, transactionOf } = database
  const statements = {
    committed: { prepare: prepareOnce(database.reader), pages: makePages(preparePagesOnce(database.reader)) },
    own: { prepare: prepareOnce(writer), pages: makePages(preparePagesOnce(writer)) }
  }
  const writing = statements.own.prepare

  /** The transaction of the file's SqlClient that a fiber with this context is in, unless the transaction is over. */
  const currentTransaction = (context: Context.Context<never>): Transaction | undefined => {
    const transaction = transactionOf(context)
    return transaction === undefined || transaction.isOver() ? undefined : transaction
  }

  /** Runs something synchronous in the transaction, which SQLite may have ended. */
  const inTransaction = <A>(transaction: Transaction, operation: string, f: () => A): Effect.Effect<A, RecorderError> =>
    database.attempt(operation, () => {
      transaction.assertOpen()
      return f()
    })

  /** Reads only what is committed. */
  const readCommitted = <A>(operation: string, f: (statements: Statements) => A) =>
    database.read(operation, () => f(statements.committed))

  /** Reads what is committed and, in a transaction of the caller's own, what that transaction has written. */
  const read = <A>(operation: string, f: (statements: Statements) => A): Effect.Effect<A, RecorderError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const transaction = currentTransaction(context)
      return transaction === undefined
        ? readCommitted(operation, f)
        : inTransaction(transaction, operation, () => f(statements.own))
    })

  /** A part of the transaction: nothing of it is kept if it fails. */
  const writeInTransaction = <A, E>(
    transaction: Transaction,
    operation: string,
    work: () => Result.Result<A, E>
  ): Effect.Effect<A, E | RecorderError> =>
    Effect.flatMap(
      inTransaction(transaction, operation, () => {
        writer.exec("SAVEPOINT part")
        try {
          const result = work()
          writer.exec("RELEASE part")
          return result
        } catch (cause) {
          if (writer.isTransaction) writer.exec("ROLLBACK TO part; RELEASE part")
          throw cause
        }
      }),
      (result) => Effect.andThen(sql.afterCommit(notifyFollowers), Effect.fromResult(result))
    )

  const notifyFollowers = Effect.sync(() => {
    for (const signal of database.changeSignals) signal.notify()
  })

  /** Writes together with others, or in the transaction that the caller is in. */
  const write = <A, E>(
    operation: string,
    events: number,
    work: () => Result.Result<A, E>
  ): Effect.Effect<A, E | RecorderError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const transaction = currentTransaction(context)
      return transaction === undefined
        ? group.run(operation, events, work)
        : writeInTransaction(transaction, operation, work)
    })

  return { currentTransaction, readCommitted, read, write, writing }
}
