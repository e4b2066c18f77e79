import { SqlError } from "effect/sql"

/** What a thrown value says; of what a database refused, what the database said. */
export const messageOf = (cause: unknown): string => {
  if (SqlError.isSqlError(cause) && cause.reason.cause instanceof Error) return cause.reason.cause.message
  return cause instanceof Error ? cause.message : String(cause)
}
