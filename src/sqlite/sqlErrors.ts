import { SqlError } from "effect/sql"
import type { RecorderError, RecorderUnavailable } from "../EventSourcingError.ts"
import { messageOf } from "../internal/errors/messageOf.ts"

/** The result code if another transaction holds what is needed. */
const BUSY = 5

/** `node:sqlite` has the result code in `errcode`; the classifier of `effect/sql` looks for `errno`. */
export const toSqlError = (cause: unknown): SqlError.SqlError => {
  const errno = typeof cause === "object" && cause !== null && "errcode" in cause ? cause.errcode : undefined
  const message = messageOf(cause)
  return new SqlError.SqlError({
    reason: SqlError.classifySqliteError(Object.assign(new Error(message, { cause }), { errno }), { message })
  })
}

/** A wait for a lock that timed out is reported with its duration. For other errors, what SQLite reported is enough. */
export const toClientError = (error: RecorderError): SqlError.SqlError =>
  error._tag === "RecorderUnavailable" && error.waited !== undefined
    ? waitTimedOut(error)
    : toSqlError(error.cause ?? error)

const waitTimedOut = (error: RecorderUnavailable): SqlError.SqlError =>
  new SqlError.SqlError({
    reason: SqlError.classifySqliteError(Object.assign(new Error(error.reason, { cause: error }), { errno: BUSY }), {
      message: error.reason
    })
  })
