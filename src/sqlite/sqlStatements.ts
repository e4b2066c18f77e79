import type { DatabaseSync, StatementSync } from "node:sqlite"
import { Context, Effect } from "effect"
import { SqlClient } from "effect/sql"
import { toValuesOf } from "./parameters.ts"
import { asArrays } from "./prepare.ts"
import { toSqlError } from "./sqlErrors.ts"

/** A row as an object. */
export type Row = Record<string, unknown>

/** Whether there is nothing but space and comments. */
const isBlank = (sql: string): boolean => /^(?:[\s;]|--.*|\/\*[\s\S]*?\*\/)*$/.test(sql)

/** Prepares and runs the statements of a connection, with the values that a user passes. */
export const makeStatements = (db: DatabaseSync) => {
  const toValues = toValuesOf(db)
  const prepared = new Map<string, StatementSync>()
  const prepareOne = (sql: string): StatementSync => {
    const statement = db.prepare(sql)
    // SQLite takes the first statement and silently ignores the others
    const others = sql.slice(statement.sourceSQL.length)
    if (!isBlank(others)) {
      throw new Error(
        `a query must be a single statement, but text follows the first one: ${others.trim().slice(0, 80)}`
      )
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

  const all = (statement: StatementSync, params: ReadonlyArray<unknown>, bigints: boolean): ReadonlyArray<Row> => {
    statement.setReadBigInts(bigints)
    statement.setReturnArrays(false)
    const { inOrder, named } = toValues(statement, params)
    return statement.all(named, ...inOrder) as ReadonlyArray<Row>
  }
  const values = (
    statement: StatementSync,
    params: ReadonlyArray<unknown>,
    bigints: boolean
  ): ReadonlyArray<ReadonlyArray<unknown>> => {
    statement.setReadBigInts(bigints)
    statement.setReturnArrays(true)
    const { inOrder, named } = toValues(statement, params)
    return asArrays(statement.all(named, ...inOrder))
  }

  /** Runs a statement that returns no rows. */
  const execute = (statement: StatementSync, params: ReadonlyArray<unknown>) => {
    const { inOrder, named } = toValues(statement, params)
    return statement.run(named, ...inOrder)
  }

  /** The rows of a query, which ends with the scope: an open one would hold its snapshot of the file forever. */
  const rowsOf = (sql: string, params: ReadonlyArray<unknown>, check: () => void) =>
    Effect.withFiber((fiber) =>
      Effect.acquireRelease(
        Effect.try({
          try: () => {
            check()
            const statement = prepareOne(sql)
            statement.setReadBigInts(Context.get(fiber.context, SqlClient.SafeIntegers))
            const { inOrder, named } = toValues(statement, params)
            return statement.iterate(named, ...inOrder) as IterableIterator<Row>
          },
          catch: toSqlError
        }),
        // for a closed connection there is nothing left to end
        (rows) => Effect.sync(() => (db.isOpen ? rows.return?.() : undefined))
      )
    )

  return { isTransaction: () => db.isTransaction, prepare, prepareOne, all, values, execute, rowsOf }
}

/** What {@link makeStatements} returns. */
export type Statements = ReturnType<typeof makeStatements>
