import type { Context } from "effect"
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import type { Position } from "../Position.ts"
import type { AppendOutcome, AppendResult } from "./appends.ts"
import { makeAppend, makePrecheck } from "./appends.ts"
import type { AppendFailure } from "./backlog.ts"
import * as GroupAppend from "./groupAppend.ts"
import type { PostgresDatabase } from "./PostgresDatabase.ts"
import { inSavepoint, inTransactionOf } from "./PostgresDatabase.ts"
import type { Request } from "./parameters.ts"
import { unstorableRequest } from "./parameters.ts"
import type { Wakes } from "./wakes.ts"

/** Records appends: together with others, in the caller's own transaction, or after some work. */
export const makeRecord = Effect.fnUntraced(function* (database: PostgresDatabase, wakes: Wakes) {
  const send = makeAppend(database)
  const precheck = makePrecheck(database)
  const group = yield* GroupAppend.make((requests) => database.committed(send(requests)))

  const notify = (position: Position | undefined) => {
    if (position !== undefined) wakes.reached(position)
  }
  const notifyAfterCommit = (position: Position | undefined) =>
    database.client.afterCommit(Effect.sync(() => notify(position)))
  const recordInTransaction = (request: Request) =>
    Effect.tap(
      inSavepoint(
        database,
        "append",
        Effect.flatMap(send([request]), ([outcome]) => outcome as AppendOutcome)
      ),
      ({ position }) => notifyAfterCommit(position)
    )

  /** Appends in the caller's own transaction if it has one, otherwise together with other appends. */
  const record = (request: Request): Effect.Effect<AppendResult, AppendFailure> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const reason = unstorableRequest(request)
      if (reason !== undefined) return Effect.fail(new RecorderFailure({ operation: "append", reason }))
      return database.inTransaction(context)
        ? recordInTransaction(request)
        : Effect.map(group(request), (result) => {
            notify(result.position)
            return result
          })
    })

  /**
   * Appends after some work, in a transaction of its own or as a part of the caller's.
   *
   * Before the work, the log is read without the position lock, and an outcome that is already certain is returned.
   * Others may still append in between, and the work may fail for that reason alone. The log is therefore read once
   * more after the work has failed, when what it did, and the failed state of its transaction, have been rolled
   * back.
   */
  const recordAfter = <R>(request: Request, work: Effect.Effect<unknown, RecorderError, R>) => {
    const reason = unstorableRequest(request)
    if (reason !== undefined) return Effect.fail(new RecorderFailure({ operation: "append", reason }))
    let hasWorkFailed = false
    const precheckAgain = (failure: RecorderError): Effect.Effect<AppendResult, AppendFailure> =>
      hasWorkFailed
        ? inTransactionOf(database.client, "append", precheck(request)).pipe(
            Effect.mapError(() => failure),
            Effect.flatMap((settled): Effect.Effect<AppendResult, AppendFailure> => settled ?? Effect.fail(failure))
          )
        : Effect.fail(failure)
    const transaction = (begun: () => void) =>
      inTransactionOf(
        database.client,
        "append",
        Effect.gen(function* () {
          const settled = yield* precheck(request)
          begun()
          if (settled !== undefined) return yield* settled
          yield* work.pipe(
            Effect.onError(() =>
              Effect.sync(() => {
                hasWorkFailed = true
              })
            ),
            Effect.provideService(SqlClient.BeginTransaction, undefined)
          )
          const [outcome] = yield* send([request])
          const result = yield* outcome as AppendOutcome
          // the work was done before and must not be done twice: the transaction is abandoned
          if (result.isRepeated) return yield* Effect.fail(new Repeated(result))
          yield* notifyAfterCommit(result.position)
          return result
        })
      )
    return database.patience.bound("append", transaction).pipe(
      Effect.catchTags({
        Repeated: ({ result }) => Effect.succeed(result),
        RecorderFailure: precheckAgain,
        RecorderUnavailable: precheckAgain
      }),
      Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL READ COMMITTED"),
      Effect.provideService(SqlClient.SqlClient, database.client)
    )
  }

  return { record, recordAfter }
})

/** The events of an append had been recorded before. */
class Repeated {
  readonly _tag = "Repeated"
  readonly result: AppendResult
  constructor(result: AppendResult) {
    this.result = result
  }
}
