import { Context, Effect, Stream } from "effect"
import type { SqlConnection, SqlError } from "effect/sql"
import { SqlClient } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { hasEnded } from "../internal/projection/handling.ts"
import { toClientError, toSqlError } from "./sqlErrors.ts"
import type { Row, Statements } from "./sqlStatements.ts"
import type { Transaction } from "./transaction.ts"
import { refused } from "./transaction.ts"

/** The operation of every statement of the client. */
export const RUN = "run the user's SQL"

/** Statements that certainly write nothing. */
const READS = /^\s*SELECT\b/i

/** Rows for as long as their transaction is open. */
function* whileOpen(rows: IterableIterator<Row>, transaction: Transaction): IterableIterator<Row> {
  for (;;) {
    transaction.assertOpen()
    const next = rows.next()
    if (next.done === true) return
    yield next.value
  }
}

/** How a statement runs if the transaction of its connection is over: it waits for the queue like any other. */
export interface Outside {
  readonly acquirer: SqlConnection.Acquirer
  readonly borrower: SqlConnection.Borrower
}

/** The means by which a connection runs its statements. */
export interface ConnectionOptions {
  readonly attempt: <A>(operation: string, f: () => A) => Effect.Effect<A, RecorderError>
  /** Throws if the file is lost; see `SqliteDatabase`. */
  readonly check: () => void
  readonly statements: Statements
  readonly outside: Outside
}

/** A connection for single statements, or that of a transaction. */
export const makeConnection = (
  { attempt, check, statements, outside }: ConnectionOptions,
  own?: Transaction
): SqlConnection.Connection => {
  const { prepare, prepareOne, all, values, execute, rowsOf } = statements
  /** The transaction to run in. Once it is over, the statement waits for the queue like any other. */
  const current = (): Transaction | undefined => (own?.isOver() === true ? undefined : own)

  const run = <A>(sql: string, f: (bigints: boolean) => A): Effect.Effect<A, SqlError.SqlError> =>
    Effect.withFiber((fiber) => {
      if (own !== undefined && hasEnded(fiber.context)) return refused
      const bigints = Context.get(fiber.context, SqlClient.SafeIntegers)
      const transaction = current()
      const statement = Effect.mapError(
        attempt(RUN, () => {
          transaction?.assertOpen()
          // a statement that writes on its own is a transaction of its own
          if (statements.isTransaction() || READS.test(sql)) return f(bigints)
          check()
          const result = f(bigints)
          check()
          return result
        }),
        toClientError
      )
      return transaction === own ? statement : outside.borrower(() => statement)
    })

  return {
    execute: (sql, params, transform) =>
      run(sql, (bigints) => {
        const rows = all(prepare(sql), params, bigints)
        return transform === undefined ? rows : transform(rows)
      }),
    executeRaw: (sql, params) => run(sql, () => execute(prepare(sql), params)),
    executeValues: (sql, params) => run(sql, (bigints) => values(prepare(sql), params, bigints)),
    executeValuesUnprepared: (sql, params) => run(sql, (bigints) => values(prepareOne(sql), params, bigints)),
    executeUnprepared: (sql, params, transform) =>
      run(sql, (bigints) => {
        const rows = all(prepareOne(sql), params, bigints)
        return transform === undefined ? rows : transform(rows)
      }),
    executeStream: (sql, params, transform) =>
      Stream.unwrap(
        Effect.gen(function* () {
          if (own !== undefined && hasEnded(yield* Effect.context())) yield* refused
          const transaction = current()
          if (transaction !== own) yield* outside.acquirer
          const rows = yield* rowsOf(sql, params, check)
          const pages = Stream.fromIterable(transaction === undefined ? rows : whileOpen(rows, transaction), {
            chunkSize: 128
          })
          return transform === undefined ? pages : Stream.mapArray(pages, (page) => transform(page) as typeof page)
        })
      ).pipe(Stream.catchDefect((cause) => Stream.fail(toSqlError(cause))))
  }
}
