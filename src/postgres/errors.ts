import { SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { isOutage, isShortOutage, isSqlState, POOLER } from "../internal/errors/sqlState.ts"

/** What PostgreSQL reports about an error (https://www.postgresql.org/docs/current/protocol-error-fields.html). */
interface ServerError {
  readonly code: string | undefined
  readonly message: string
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** Whether it is about a row: its other fields may then contain values of the row. */
  readonly isOfRow: boolean
}

const text = (value: unknown): string | undefined => (typeof value === "string" && value !== "" ? value : undefined)

/** Whether a row of the server is larger than the client accepts. */
const isTooLarge = (message: string): boolean => message.includes("exceeds maxMessageSize")

/** What a person can do about an error that the client itself reports. */
const adviceFor = (message: string): string | undefined => {
  if (isTooLarge(message)) {
    return "a row is larger than the client accepts; raise the option maxMessageSize of PgClient (1 GB is PostgreSQL's own limit)"
  }
  return message === "No username configured"
    ? "no user name or host is configured; pass the option url, or username and the others (POSTGRES_URL, or POSTGRES_USER, POSTGRES_HOST, POSTGRES_DBNAME and POSTGRES_PASSWORD)"
    : undefined
}

const toServerError = (error: SqlError.SqlError): ServerError => {
  const cause = error.reason.cause
  const fields: Readonly<Record<string, unknown>> = typeof cause === "object" && cause !== null ? { ...cause } : {}
  const code = text(fields.code)
  const isRaised = fields.routine === "exec_stmt_raise"
  const isOfKey = code === "23505" && keys.has(fields.constraint)
  const isOfRow = code !== undefined && (isRaised || (ofRows.has(code.slice(0, 2)) && !isOfKey))
  const message = messageOf(cause)
  return {
    code,
    message: code?.startsWith("22") === true ? message.replaceAll(/".*"/gs, '"…"') : message,
    detail: isOfRow ? undefined : text(fields.detail),
    hint: text(fields.hint),
    isOfRow
  }
}

/**
 * Errors about a row: data, constraints, WITH CHECK OPTION, what a trigger raises. The server adds to them the whole
 * row ("Failing row contains …"), the duplicate key, or the text that is not a number. That is an event's payload,
 * which belongs neither in a message nor in a log.
 */
const ofRows = new Set(["22", "23", "44", "P0"])

/**
 * The log's own keys: what the server reports about a duplicate of one is an id, a position, or a stream and its
 * version.
 */
const keys: ReadonlySet<unknown> = new Set([
  ...["stored_events_id_key", "stored_events_pkey", "stored_events_stream_version_key"]
])

/** The fields of an error that contain no values. */
const FIELDS = ["severity", "code", "hint", "schema", "table", "column", "dataType", "constraint", "routine"] as const

/** The cause of an error, without the values of a row. */
const causeOf = (error: SqlError.SqlError, { isOfRow, message }: ServerError): unknown => {
  if (!isOfRow) return error
  const fields: Readonly<Record<string, unknown>> = Object(error.reason.cause)
  const kept = FIELDS.map((name) => [name, fields[name]] as const).filter(([, value]) => value !== undefined)
  return Object.assign(new Error(message), Object.fromEntries(kept))
}

/** Network errors that may not occur again in the next attempt. */
const transientNetworkErrors = new Set([
  ...["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN", "ENOENT"]
])

/** While connecting, an error without a code is a wrong setting, except for these. */
const transientMessages = new Set(["Connection timed out", "Connection closed unexpectedly", "Connection is closed"])

/** What a person can do about an error, by its code. */
const advice: Readonly<Record<string, string>> = {
  "2200H":
    "the sequence of positions has reached its end; as its owner run, in the log's schema: ALTER SEQUENCE stored_events_position AS bigint NO MAXVALUE NO CYCLE;",
  "25006": "the server or the session is read-only; name the host of the primary in the URL, or as the option host",
  "25P02": "an earlier statement of this transaction failed; begin another transaction",
  "26000": POOLER,
  "42P05": POOLER,
  "28000": "the role may not log in this way; check the user name and pg_hba.conf",
  "28P01": "the password is wrong, or there is no such role; the server does not say which",
  "3D000": "there is no such database; create it, or name another",
  "3F000": "there is no such schema; create it, or name another",
  "42501": "the role lacks a right; see the roles in docs/postgres.md",
  "42P01": "a table is missing; let the layer create it (createTables), or run the SQL of schemaSql",
  "42883": "a function is missing; let the layer create it (createTables), or run the SQL of schemaSql",
  "53100": "the server's disk is full",
  "54000": "a value is larger than PostgreSQL can store (1 GB)"
}

/** Whether a layer that is being built retries: wrong settings are reported at once. */
const isTransientWhileOpening = ({ reason }: SqlError.SqlError, { code, message }: ServerError): boolean => {
  if (code !== undefined) return isShortOutage(code) || transientNetworkErrors.has(code)
  if (isTooLarge(message)) return false
  return reason._tag === "ConnectionError" && (reason.operation !== "connect" || transientMessages.has(message))
}

/** Whether a layer that has worked will work again: from then on no connection error is final. */
const isTransientOnceOpen = ({ reason }: SqlError.SqlError, { code, message }: ServerError): boolean => {
  if (reason.operation === "connect") return true
  if (code !== undefined && isSqlState(code)) return isOutage(code)
  return reason._tag === "ConnectionError" && !isTooLarge(message)
}

const describe =
  (isTransient: (error: SqlError.SqlError, server: ServerError) => boolean) =>
  (operation: string, error: SqlError.SqlError, lockTimeout = 0): RecorderError => {
    const server = toServerError(error)
    const help = server.code === undefined ? adviceFor(server.message) : advice[server.code]
    const cause = causeOf(error, server)
    const reason = [
      `PostgreSQL: ${help === undefined ? server.message : `${help} (${server.message})`}`,
      server.detail,
      server.hint
    ]
      .filter((part) => part !== undefined)
      .join(". ")
    if (!isTransient(error, server)) return new RecorderFailure({ operation, reason, cause })
    return error.reason._tag === "LockTimeoutError"
      ? new RecorderUnavailable({ operation, reason, waited: lockTimeout, cause })
      : new RecorderUnavailable({ operation, reason, cause })
  }

/**
 * Describes the failure of a layer that was built, and what to do; `lockTimeout` is how long a lock was waited for, in
 * milliseconds. The settings were right when the layer was built, so a name that is not found, a refused password or a
 * full disk is an outage: `RecorderUnavailable`.
 */
export const toRecorderError = describe(isTransientOnceOpen)

/**
 * Describes the failure of a layer that is being built, and what to do: what looks like a wrong setting is a failure.
 */
export const toOpeningError = describe(isTransientWhileOpening)

/** Whether it failed because the role lacks the right to do it. */
export const lacksRight = ({ cause }: RecorderFailure): boolean =>
  SqlError.isSqlError(cause) && cause.reason._tag === "AuthorizationError"
