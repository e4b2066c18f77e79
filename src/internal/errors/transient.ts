import { SqlError } from "effect/sql"
import { messageOf } from "./messageOf.ts"
import { isOutage, isPooler, isSqlState, POOLER } from "./sqlState.ts"

/**
 * Whether a statement took longer than the server's statement timeout. That is the statement's own fault, and it would
 * happen again.
 */
const isOwnTimeout = (error: object): boolean =>
  "code" in error &&
  error.code === "57014" &&
  "message" in error &&
  String(error.message).includes("due to statement timeout")

/**
 * Whether a failure is not the work's own: something that it needs can't be reached, or is held by another, for now.
 */
const isRetryable = (error: unknown): boolean =>
  SqlError.isSqlError(error)
    ? error.isRetryable
    : typeof error === "object" && error !== null && "_tag" in error && error._tag === "RecorderUnavailable"

/** SQLite has no memory, no working disk, no space, or no file handle (https://www.sqlite.org/rescode.html). */
const SQLITE_OUTAGES: ReadonlySet<number> = new Set([7, 10, 13, 14])

const isDatabaseOutage = (error: object): boolean => {
  if ("errcode" in error && typeof error.errcode === "number") return SQLITE_OUTAGES.has(error.errcode & 0xff)
  return "code" in error && typeof error.code === "string" && isOutage(error.code)
}

/** Whether an error, or anything in its chain of causes, is transient. (Handlers wrap database errors.) */
export const isTransient = (error: unknown): boolean => {
  for (const each of chainOf(error)) if (isOwnTimeout(each)) return false
  for (const each of chainOf(error)) if (isRetryable(each) || isDatabaseOutage(each)) return true
  return false
}

/** The message of a transient failure, with what to do about it if that is known. */
export const explain = (error: unknown): string => {
  const message = messageOf(error)
  for (const each of chainOf(error)) {
    if ("code" in each && typeof each.code === "string" && isPooler(each.code)) return `${POOLER} (${message})`
  }
  return message
}

/** Whether the database has rolled a transaction back in favour of another: a deadlock or a serialization failure. */
export const wasRolledBack = (error: unknown): boolean => {
  for (const each of chainOf(error)) {
    if ("code" in each && typeof each.code === "string" && isSqlState(each.code)) return each.code.startsWith("40")
  }
  return false
}

/** An error and its chain of causes. */
function* chainOf(error: unknown): Generator<object> {
  let each = error
  for (let depth = 0; depth < 10 && typeof each === "object" && each !== null; depth++) {
    yield each
    each = "cause" in each ? each.cause : undefined
  }
}
