/** The statements on the library's own tables. Parameters 1 to 4 are the key, unless a statement says otherwise. */
import type { SqlClient } from "effect/sql"
import { DEAD_LETTER_COLUMNS, TRACKING_COLUMNS } from "./viewRows.ts"

/** A parameter, by its number from 1 on. */
type Parameter = (n: number) => string

export type Statements = ReturnType<typeof makeStatements>

/** `own` precedes the names of the tables. */
export const makeStatements = (sql: SqlClient.SqlClient, own: string) => {
  const p: Parameter = (n) => sql.onDialectOrElse({ pg: () => `$${n}`, orElse: () => `?${n}` })
  const keyed = `projection = ${p(1)} AND version = ${p(2)} AND upstream = ${p(3)} AND slice = ${p(4)}`
  /** The elements of a JSON array that is the first parameter. */
  const listed = sql.onDialectOrElse({
    pg: () => `SELECT json_array_elements_text(${p(1)}::json)`,
    orElse: () => `SELECT value FROM json_each(${p(1)})`
  })
  return {
    ...trackingStatements(`${own}projection_tracking`, p, keyed, listed),
    ...deadLetterStatements(`${own}projection_dead_letters`, p, keyed),
    ...leaseStatements(`${own}projection_leases`, p, keyed, listed),
    /** Deletes the rows of a version. */
    deleteOf: (table: string) => `DELETE FROM ${own}${table} WHERE ${keyed}`,
    /** Deletes the rows of all versions. Its parameters are the key without the version. */
    deleteOfAllVersions: (table: string) =>
      `DELETE FROM ${own}${table} WHERE projection = ${p(1)} AND upstream = ${p(2)} AND slice = ${p(3)}`
  }
}

const numbers = (count: number): ReadonlyArray<number> => Array.from({ length: count }, (_, i) => i + 1)

const trackingStatements = (table: string, p: Parameter, keyed: string, listed: string) => ({
  moveTracking: `UPDATE ${table} SET position = ${p(5)}, seen = ${p(7)}
WHERE ${keyed} AND position IS NOT DISTINCT FROM ${p(6)} AND (status <> 'retired' OR ready = 1) RETURNING place`,
  /** Ends a move at an earlier position. */
  endMoveAt: `UPDATE ${table} SET position = ${p(5)}, seen = ${p(6)} WHERE ${keyed}`,
  setSeen: `UPDATE ${table} SET seen = ${p(5)} WHERE ${keyed} AND position = ${p(6)}`,
  findVersion: `SELECT ${TRACKING_COLUMNS} FROM ${table} WHERE ${keyed}`,
  /** Its parameters are the key without the version. */
  findVersions: `SELECT ${TRACKING_COLUMNS} FROM ${table}
WHERE projection = ${p(1)} AND upstream = ${p(2)} AND slice = ${p(3)} ORDER BY version`,
  /** The versions of several projections; its parameter is a JSON array of their names. */
  findVersionsOfMany: `SELECT ${TRACKING_COLUMNS}, projection, upstream, slice FROM ${table}
WHERE projection IN (${listed}) ORDER BY version`,
  createVersion: `INSERT INTO ${table}
  (projection, version, upstream, slice, mode, status, log_id, aggregates, place, position, seen, begins)
VALUES (${numbers(12).map(p).join(", ")})`,
  /** Locks the row of a version. */
  lockVersion: `UPDATE ${table} SET slice = slice WHERE ${keyed} RETURNING place`,
  setStatus: `UPDATE ${table} SET status = ${p(5)}, ready = ${p(6)} WHERE ${keyed}`,
  setIgnored: `UPDATE ${table} SET ignores = ${p(5)} WHERE ${keyed}`,
  /** Takes a version back to the start, of no log yet. */
  resetPosition: `UPDATE ${table} SET position = NULL, seen = NULL, log_id = '', aggregates = '', ignores = NULL WHERE ${keyed}`,
  /** Sets the log of a version that has none, and where it begins. */
  setLog: `UPDATE ${table} SET log_id = ${p(5)}, aggregates = ${p(6)}, position = ${p(7)}, seen = ${p(8)}, begins = ${p(9)}
WHERE ${keyed} AND log_id = ''`
})

const deadLetterStatements = (table: string, p: Parameter, keyed: string) => {
  // by the column itself, not by its text, which has the same name among the selected columns
  const inOrder = "ORDER BY projection_dead_letters.position"
  return {
    addDeadLetter: `INSERT INTO ${table}
  (projection, version, upstream, slice, position, stream, stream_version, event_id, type, cause, attempts, set_aside_at)
VALUES (${numbers(12).map(p).join(", ")})`,
    /** Makes the dead letters of a version those of another one. */
    takeOverDeadLetters: `UPDATE ${table} SET version = ${p(5)} WHERE ${keyed}`,
    hasDeadLetter: `SELECT 1 FROM ${table} WHERE ${keyed} AND stream = ${p(5)} LIMIT 1`,
    findDeadLetters: `SELECT ${DEAD_LETTER_COLUMNS} FROM ${table} WHERE ${keyed} ${inOrder}`,
    findDeadLettersOfStream: `SELECT ${DEAD_LETTER_COLUMNS} FROM ${table} WHERE ${keyed} AND stream = ${p(5)} ${inOrder}`,
    /** Deletes a dead letter unless an earlier one of its stream exists. */
    takeBackDeadLetter: `DELETE FROM ${table} WHERE ${keyed} AND position = ${p(5)} AND NOT EXISTS (
  SELECT 1 FROM ${table} AS earlier
  WHERE ${keyed} AND earlier.position < ${p(5)} AND earlier.stream = projection_dead_letters.stream
) RETURNING stream`,
    countAttempt: `UPDATE ${table} SET attempts = attempts + 1, cause = ${p(6)} WHERE ${keyed} AND position = ${p(5)}`,
    discardStream: `DELETE FROM ${table} WHERE ${keyed} AND stream = ${p(5)} RETURNING stream`,
    discardEvent: `DELETE FROM ${table} WHERE ${keyed} AND event_id = ${p(5)} RETURNING stream`
  }
}

const leaseStatements = (table: string, p: Parameter, keyed: string, listed: string) => ({
  /**
   * Takes leases that are free, and those of others that have expired by the time that passes here. Its parameters are
   * the time, then for each lease its key, holder, end and length, then for each expired one its key, holder and end.
   */
  takeLeases: (count: number, expired: number): string => {
    const values = numbers(count).map((nth) => {
      const first = 7 * (nth - 1) + 2
      const [projection, version, upstream, slice, holder, end, length] = numbers(7).map((n) => p(first + n - 1))
      return `(${[projection, version, upstream, slice, holder, end, length, holder].join(", ")})`
    })
    const others = numbers(expired).map((nth) => {
      const first = 7 * count + 2 + 6 * (nth - 1)
      const columns = ["projection", "version", "upstream", "slice", "holder", "expires_at"]
      return `\n  OR (${columns.map((column, n) => `projection_leases.${column} = ${p(first + n)}`).join(" AND ")})`
    })
    return `INSERT INTO ${table}
  (projection, version, upstream, slice, holder, expires_at, length, length_of)
VALUES ${values.join(", ")}
ON CONFLICT (projection, version, upstream, slice) DO UPDATE SET
  holder = excluded.holder, expires_at = excluded.expires_at, length = excluded.length, length_of = excluded.length_of
WHERE projection_leases.holder = excluded.holder OR projection_leases.expires_at <= ${p(1)}${others.join("")}
RETURNING projection, version, upstream, slice`
  },
  /** The leases of several projections; its parameter is a JSON array of their names. */
  findLeases: `SELECT holder, CAST(expires_at AS text), CAST(length AS text), length_of, projection, version, upstream, slice
FROM ${table} WHERE projection IN (${listed})`,
  releaseLease: `DELETE FROM ${table} WHERE ${keyed} AND holder = ${p(5)}`
})
