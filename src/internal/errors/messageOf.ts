import { SqlError } from "effect/sql"

const field = (value: unknown, name: string): string | undefined => {
  if (typeof value !== "object" || value === null || !(name in value)) return undefined
  const found = (value as Readonly<Record<string, unknown>>)[name]
  return typeof found === "string" && found !== "" ? found : undefined
}

/** The names of the fields only: their values may be those of an event. */
const fieldsOf = (value: object): string => {
  const names = Object.keys(value).slice(0, 10)
  return names.length === 0 ? "a value without a message" : `a value without a message, with ${names.join(", ")}`
}

const TOO_DEEP = "its values are nested too deeply for the stack (Maximum call stack size exceeded)"

/** The message of a thrown value; for an error of a database, the database's own message. */
export const messageOf = (cause: unknown): string => {
  const own = SqlError.isSqlError(cause) ? field(cause.reason.cause, "message") : undefined
  if (own !== undefined) return own
  if (cause instanceof RangeError && cause.message === "Maximum call stack size exceeded") return TOO_DEEP
  if (typeof cause !== "object" || cause === null) return String(cause)
  return field(cause, "message") ?? field(cause, "_tag") ?? field(cause, "name") ?? fieldsOf(cause)
}
