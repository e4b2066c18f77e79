import { Cause } from "effect"
import { SqlError } from "effect/sql"
import { messageOf } from "./messageOf.ts"

/**
 * The text of a cause, to be stored: without its stack. For an error of a database it is only the kind, since the
 * database's own words may contain values of the event. `undefined` if the cause is only an interruption.
 */
export const causeText = (cause: Cause.Cause<unknown>): string | undefined => {
  if (Cause.hasInterruptsOnly(cause)) return undefined
  const error = Cause.squash(cause)
  return SqlError.isSqlError(error) ? kindOf(error) : keepable(messageOf(error).slice(0, 2000))
}

/**
 * PostgreSQL allows no NUL in a text, and no backend allows half of a surrogate pair: each is replaced by a sign in its
 * place.
 */
const keepable = (text: string): string => text.replaceAll("\0", "\u2400").toWellFormed()

const kindOf = ({ reason }: SqlError.SqlError): string => {
  const { cause } = reason
  const code = typeof cause === "object" && cause !== null && "code" in cause ? ` (${String(cause.code)})` : ""
  return `SqlError: ${reason._tag}${code}`
}
