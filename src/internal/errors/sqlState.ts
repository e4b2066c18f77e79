/**
 * What SQLSTATEs tell about time (https://www.postgresql.org/docs/current/errcodes-appendix.html): those of the
 * PostgreSQL backend, and those of any SQL database that a handler uses.
 */

/** Conditions that may be over in a moment: the whole class, or the code. */
const shortOutages = new Set([
  "08", // connection exceptions
  "25P03", // the session was idle in its transaction for too long
  "25P04", // the transaction took too long
  "40001", // serialization failure
  "40P01", // deadlock
  "53200", // out of memory
  "53300", // too many connections
  "55P03", // a lock was not available in time
  "57014", // canceled, by a person or a timeout
  "57P01", // the server or the session is being shut down
  "57P02", // crash of another session
  "57P03", // starting up, shutting down or recovering
  "57P05" // the session was idle for too long
])

/** Conditions from which a database that has worked recovers, on its own or after somebody has acted. */
const outages = new Set([
  "25006", // read-only: a failover is in progress
  "26000", // no such prepared statement: a pooler gave the session to another
  "28", // the role or its password is refused: it is being changed
  "3D000", // no such database: it is being restored
  "40", // rolled back, for any reason
  "42P05", // the prepared statement exists already: a pooler again
  "53", // out of disk space, or another resource at its limit
  "57P04", // the database was dropped: it is being restored
  "58", // a system error of the server: its disk, its files
  "72000" // a snapshot is too old
])

/** What to do if a pooler has given the session, with its prepared statements, to another client. */
export const POOLER =
  "a pooler has given the session, with its prepared statements, to another client; pass the option prepare: false, or let PgBouncer (1.21 or later) keep them with max_prepared_statements"

/** Whether an SQLSTATE has this origin. */
export const isPooler = (code: string): boolean => code === "26000" || code === "42P05"

const has = (states: ReadonlySet<string>, code: string): boolean => states.has(code) || states.has(code.slice(0, 2))

/** Whether a code is an SQLSTATE and not one of Node's: `EPIPE` has five letters too. */
export const isSqlState = (code: string): boolean => /^(?:\d|F0|HV|P0|XX)[\dA-Z]+$/.test(code) && code.length === 5

/** Whether the condition may be over in a moment. */
export const isShortOutage = (code: string): boolean => isSqlState(code) && has(shortOutages, code)

/** Whether a database that has worked will work again without a change of the program. */
export const isOutage = (code: string): boolean => isShortOutage(code) || (isSqlState(code) && has(outages, code))
