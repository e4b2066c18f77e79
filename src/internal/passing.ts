import { SqlError } from "effect/sql"

/** Whether a failure is none of the work's own: what it needs can't be reached, or is held by another, for now. */
const isPassing = (error: unknown): boolean =>
  SqlError.isSqlError(error)
    ? error.isRetryable
    : typeof error === "object" && error !== null && "_tag" in error && error._tag === "RecorderUnavailable"

/** What PostgreSQL is in for a while, and what its client does not tell apart: it ends, it begins, it has no room. */
const PASSING_STATES: ReadonlySet<unknown> = new Set([
  "25P03",
  "25P04",
  "53200",
  "53300",
  "57P01",
  "57P02",
  "57P03",
  "57P05"
])

/** Whether what failed passes by itself, or comes from what does: handlers wrap what their database fails with. */
export const passesByItself = (error: unknown): boolean => {
  let each = error
  for (let depth = 0; depth < 10 && typeof each === "object" && each !== null; depth++) {
    if (isPassing(each) || ("code" in each && PASSING_STATES.has(each.code))) return true
    each = "cause" in each ? each.cause : undefined
  }
  return false
}
