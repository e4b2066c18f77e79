import type { DatabaseSync, StatementSync } from "node:sqlite"
import { Context, Effect, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection } from "effect/sql"
import { SqlClient, SqlError, Statement } from "effect/sql"
import type { RecorderError, RecorderUnavailable } from "../EventSourcingError.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { hasEnded, refusal } from "../internal/projection/handling.ts"
import { toValuesOf } from "./parameters.ts"
import { asArrays } from "./prepare.ts"
import type { Queue } from "./queue.ts"

/** The result code if another transaction holds what is needed. */
const BUSY = 5

/** `node:sqlite` has the result code in `errcode`; the classifier of `effect/sql` looks for `errno`. */
const toSqlError = (cause: unknown): SqlError.SqlError => {
  const errno = typeof cause === "object" && cause !== null && "errcode" in cause ? cause.errcode : undefined
  const message = messageOf(cause)
  return new SqlError.SqlError({
    reason: SqlError.classifySqliteError(Object.assign(new Error(message, { cause }), { errno }), { message })
  })
}

/** A wait for a lock that timed out is reported with its duration. For other errors, what SQLite reported is enough. */
const failed = (error: RecorderError): SqlError.SqlError =>
  error._tag === "RecorderUnavailable" && error.waited !== undefined
    ? waitedInVain(error)
    : toSqlError(error.cause ?? error)

const waitedInVain = (error: RecorderUnavailable): SqlError.SqlError =>
  new SqlError.SqlError({
    reason: SqlError.classifySqliteError(Object.assign(new Error(error.reason, { cause: error }), { errno: BUSY }), {
      message: error.reason
    })
  })

/** Statements that certainly write nothing. */
const READS = /^\s*SELECT\b/i

/** Whether there is nothing but space and comments. */
const isBlank = (sql: string): boolean => /^(?:[\s;]|--.*|\/\*[\s\S]*?\*\/)*$/.test(sql)

type Row = Record<string, unknown>

/** A transaction of the client, as it is found in the context. */
export interface Transaction {
  /**
   * Whether it has ended, with all of its savepoints: a fiber that still has it in its context is outside any
   * transaction.
   */
  readonly isOver: () => boolean
  /** Throws unless it is the open transaction: SQLite ends transactions on its own after some errors. */
  readonly assertOpen: () => void
}

/** The client of a file. */
export interface Client {
  readonly sql: SqlClient.SqlClient
  /** The transaction that a fiber with this context is in, or was started in. */
  readonly transactionOf: (context: Context.Context<never>) => Transaction | undefined
}

const RUN = "run the user's SQL"
const ENDED =
  "the transaction was ended by SQLite, which undoes all of it after some errors, or by a COMMIT or ROLLBACK among its statements"
const OVER = "the transaction that this statement belongs to is over"

/** The error for a fiber that was started by a handler of a projection which has ended. */
const refused = Effect.suspend(() => Effect.fail(toSqlError(refusal())))

/** The transaction that such a fiber is in: one that does nothing more. */
const endedHandler: Transaction = {
  isOver: () => false,
  assertOpen: () => {
    throw refusal()
  }
}

/** The connection while the queue is held, for a transaction. */
interface Lease extends Transaction {
  readonly isOpen: () => boolean
  readonly begin: () => void
  readonly end: () => void
  /**
   * How many there are. A fiber that is in one when the transaction ends can't continue outside it: half of its work
   * would be undone.
   */
  savepoints: number
}

const makeLease = (db: DatabaseSync): Lease => {
  let begun = false
  let ended = false
  const lease: Lease = {
    savepoints: 0,
    begin: () => {
      begun = true
    },
    end: () => {
      ended = true
    },
    isOpen: () => !ended && db.isOpen && db.isTransaction,
    isOver: () => ended && lease.savepoints === 0,
    assertOpen: () => {
      if (ended) throw new Error(OVER)
      if (begun && !(db.isOpen && db.isTransaction)) throw new Error(ENDED)
    }
  }
  return lease
}

/** Rows for as long as their transaction is open. */
function* whileOpen(rows: IterableIterator<Row>, transaction: Transaction): IterableIterator<Row> {
  for (;;) {
    transaction.assertOpen()
    const next = rows.next()
    if (next.done === true) return
    yield next.value
  }
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

  /** The rows of a query, which ends with the scope: an open one would hold its snapshot of the file forever. */
  const rowsOf = (sql: string, params: ReadonlyArray<unknown>) =>
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

  /** A connection for single statements, or that of a lease. */
  const makeConnection = (lease?: Transaction): SqlConnection.Connection => {
    /** The transaction to run in. Once it is over, the statement waits for the queue like any other. */
    const current = (): Transaction | undefined => (lease?.isOver() === true ? undefined : lease)

    const run = <A>(sql: string, f: (bigints: boolean) => A): Effect.Effect<A, SqlError.SqlError> =>
      Effect.withFiber((fiber) => {
        if (lease !== undefined && hasEnded(fiber.context)) return refused
        const bigints = Context.get(fiber.context, SqlClient.SafeIntegers)
        const transaction = current()
        const statement = Effect.mapError(
          attempt(RUN, () => {
            transaction?.assertOpen()
            // a statement that writes on its own is a transaction of its own
            if (db.isTransaction || READS.test(sql)) return f(bigints)
            check()
            const result = f(bigints)
            check()
            return result
          }),
          failed
        )
        return transaction === lease ? statement : borrower(() => statement)
      })

    return {
      execute: (sql, params, transform) =>
        run(sql, (bigints) => {
          const rows = all(prepare(sql), params, bigints)
          return transform === undefined ? rows : transform(rows)
        }),
      executeRaw: (sql, params) =>
        run(sql, () => {
          const statement = prepare(sql)
          const { inOrder, named } = toValues(statement, params)
          return statement.run(named, ...inOrder)
        }),
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
            if (lease !== undefined && hasEnded(yield* Effect.context())) yield* refused
            const transaction = current()
            if (transaction !== lease) yield* acquirer
            const rows = yield* rowsOf(sql, params)
            const pages = Stream.fromIterable(transaction === undefined ? rows : whileOpen(rows, transaction), {
              chunkSize: 128
            })
            return transform === undefined ? pages : Stream.mapArray(pages, (page) => transform(page) as typeof page)
          })
        ).pipe(Stream.catchDefect((cause) => Stream.fail(toSqlError(cause))))
    }
  }

  const isTransaction = () => db.isOpen && db.isTransaction
  /** Ends a transaction whose end failed, so that no later work is in it. */
  const endLeftover = Effect.suspend(() =>
    isTransaction()
      ? Effect.mapError(
          attempt(RUN, () => db.exec("ROLLBACK")),
          failed
        )
      : Effect.void
  )
  const unleased = makeConnection()
  const available = Effect.suspend(() =>
    isTransaction() ? Effect.as(endLeftover, unleased) : Effect.succeed(unleased)
  )
  const acquirer: SqlConnection.Acquirer = Effect.andThen(Effect.mapError(queue.takeScoped(RUN), failed), available)
  const inTurn = queue.withTurn(RUN, failed)
  const borrower: SqlConnection.Borrower = (f) => inTurn(Effect.flatMap(available, f))
  /** The leases, by the connections that represent them. */
  const leases = new WeakMap<SqlConnection.Connection, Lease>()
  const makeLeased = (): SqlConnection.Connection => {
    const lease = makeLease(db)
    const connection = makeConnection(lease)
    leases.set(connection, lease)
    return connection
  }
  const endLease = (connection: SqlConnection.Connection) => Effect.sync(() => leases.get(connection)?.end())
  const spanAttributes = [["db.system.name", "sqlite"]] as const
  const sql = yield* SqlClient.make({
    acquirer,
    borrower,
    onCommitFailure: () => endLeftover,
    isTransaction,
    transactionAcquirer: Effect.tap(Effect.map(acquirer, makeLeased), (connection) =>
      Effect.addFinalizer(() => endLease(connection))
    ),
    driver: "node-sqlite",
    compiler: Statement.makeCompilerSqlite(),
    spanAttributes
  }).pipe(Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make))

  const { transactionService } = sql
  const transactionOf: Client["transactionOf"] = (context) => {
    const level = Context.getOrUndefined(context, transactionService)
    if (level === undefined) return undefined
    return hasEnded(context) ? endedHandler : leases.get(level[0])
  }

  /** Begins or ends something on a lease that is not over. */
  const control = (
    connection: SqlConnection.Connection,
    statement: string,
    done?: (lease: Lease) => void
  ): Effect.Effect<void, SqlError.SqlError> =>
    Effect.mapError(
      attempt("control a transaction", () => {
        const lease = leases.get(connection)
        lease?.assertOpen()
        // a transaction begins, and commits, only in a file that is not lost
        if (statement.startsWith("BEGIN")) check()
        prepare(statement).run()
        if (statement === "COMMIT") check()
        if (lease !== undefined) done?.(lease)
      }),
      failed
    )
  /** Undoes something if there still is something to undo. */
  const undo = (connection: SqlConnection.Connection, statement: string) =>
    Effect.suspend(() => (leases.get(connection)?.isOpen() === true ? control(connection, statement) : Effect.void))

  const transact = SqlClient.makeWithTransaction({
    transactionService,
    spanAttributes,
    acquireConnection: (restore) => Effect.map(restore(acquirer), makeLeased),
    begin: (connection, statement = "BEGIN IMMEDIATE") => control(connection, statement, (lease) => lease.begin()),
    // one of these ends each transaction: a finalizer would cost as much as a statement
    commit: (connection) => control(connection, "COMMIT", (lease) => lease.end()),
    onCommitFailure: (connection) => Effect.ensuring(endLeftover, endLease(connection)),
    rollback: (connection) => Effect.ensuring(undo(connection, "ROLLBACK"), endLease(connection)),
    savepoint: (connection, id) =>
      control(connection, `SAVEPOINT effect_sql_${id}`, (lease) => {
        lease.savepoints++
      }),
    rollbackSavepoint: (connection, id) => undo(connection, `ROLLBACK TO SAVEPOINT effect_sql_${id}`),
    releaseSavepoint: (connection, id) =>
      Effect.ensuring(
        undo(connection, `RELEASE SAVEPOINT effect_sql_${id}`),
        Effect.sync(() => {
          const lease = leases.get(connection)
          if (lease !== undefined) lease.savepoints--
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
