import { SqlError } from "effect/sql"

/** Whether a failure is none of the work's own: what it needs can't be reached, or is held by another, for now. */
export const isPassing = (error: unknown): boolean =>
  SqlError.isSqlError(error)
    ? error.isRetryable
    : typeof error === "object" && error !== null && "_tag" in error && error._tag === "RecorderUnavailable"
