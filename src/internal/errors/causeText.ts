import { Cause } from "effect"
import { SqlError } from "effect/sql"
import { messageOf } from "./messageOf.ts"

/**
 * What a cause says, to be kept: without its stack, and of what a database refused only the kind, since its own words may
 * have values of the event in them. `undefined` where there is nothing but an interruption.
 */
export const causeText = (cause: Cause.Cause<unknown>): string | undefined => {
  if (Cause.hasInterruptsOnly(cause)) return undefined
  const error = Cause.squash(cause)
  return SqlError.isSqlError(error) ? kindOf(error) : keepable(messageOf(error).slice(0, 2000))
}

/** PostgreSQL has no NUL in a text, and nobody has half of a surrogate pair: their signs are kept in their places. */
const keepable = (text: string): string => text.replaceAll("\0", "\u2400").toWellFormed()

const kindOf = ({ reason }: SqlError.SqlError): string => {
  const { cause } = reason
  const code = typeof cause === "object" && cause !== null && "code" in cause ? ` (${String(cause.code)})` : ""
  return `SqlError: ${reason._tag}${code}`
}
