/**
 * What SQLSTATEs say of time (https://www.postgresql.org/docs/current/errcodes-appendix.html): those of PostgreSQL's own
 * backend, and of whatever SQL database a handler uses.
 */

/** What can be otherwise in a moment: the whole class, or the code. */
const momentary = new Set([
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

/** What a database that has worked comes back from, by itself or when somebody has seen to it. */
const outages = new Set([
  "25006", // read-only: a fail-over goes on
  "26000", // no such prepared statement: a pooler gave the session to another
  "28", // the role or its password is refused: it is being changed
  "3D000", // no such database: it is being restored
  "40", // rolled back, for whatever reason
  "42P05", // the prepared statement is there already: a pooler again
  "53", // out of disk, and what else is at its limit
  "57P04", // the database was dropped: it is being restored
  "58", // the server's system fails: its disk, its files
  "72000" // a snapshot is too old
])

/** What to do if a pooler has given the session, with its prepared statements, to another. */
export const POOLER =
  "a pooler has given the session to another, and its prepared statements with it: give the option prepare: false, or let PgBouncer (1.21 or later) keep them with max_prepared_statements"

/** Whether that is what an SQLSTATE comes from. */
export const isPooler = (code: string): boolean => code === "26000" || code === "42P05"

const has = (states: ReadonlySet<string>, code: string): boolean => states.has(code) || states.has(code.slice(0, 2))

/** Whether a code is an SQLSTATE, not one of Node's: `EPIPE` has five letters, too. */
export const isSqlState = (code: string): boolean => /^(?:\d|F0|HV|P0|XX)[\dA-Z]+$/.test(code) && code.length === 5

/** Whether it can be otherwise in a moment. */
export const isMomentary = (code: string): boolean => isSqlState(code) && has(momentary, code)

/** Whether a database that has worked is going to work again, without a change of the program. */
export const isOutage = (code: string): boolean => isMomentary(code) || (isSqlState(code) && has(outages, code))
