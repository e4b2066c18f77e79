import { PgTypes } from "@effect/sql-pg"
import type { Bounds } from "../internal/backend/pageSize.ts"
import { payloadThreshold } from "../internal/backend/pageSize.ts"
import { fromStorage } from "../Position.ts"
import type { Filter, ReadAll, ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { StreamName } from "../StreamName.ts"
import type { Row } from "./PostgresDatabase.ts"
import { bigintArray, textArray } from "./parameters.ts"
import { quote } from "./sql/identifiers.ts"

/** A statement with its parameters. */
export interface Query {
  readonly sql: string
  readonly parameters: ReadonlyArray<unknown>
}

const SIZE = "coalesce(octet_length(payload_text), octet_length(payload_bytes))"

/**
 * The columns that are read of each event of a page. Of a payload that is longer than a parameter, only the length is
 * read: a page of such payloads could have any size, so they are read afterwards, as many as the page holds. (The
 * length is in the row itself, even if the payload is stored outside it.)
 */
const columns = (threshold: string) =>
  `id, type, schema_version, encoding,
 CASE WHEN octet_length(payload_text) <= ${threshold} THEN payload_text END,
 CASE WHEN octet_length(payload_bytes) <= ${threshold} THEN payload_bytes END,
 metadata, recorded_at, stream, version, position, CASE WHEN ${SIZE} > ${threshold} THEN ${SIZE} END`

/** A row of {@link columns}, with the payload of another row if it was too long for this one. */
export const toNotification = (row: Row, payload = row[4] ?? row[5]): Notification => ({
  id: row[0] as string,
  type: row[1] as string,
  schemaVersion: row[2] as number,
  encoding: row[3] as string,
  payload: payload as string | Uint8Array,
  metadata: row[6] as string,
  recordedAt: Number(row[7]),
  stream: row[8] as StreamName,
  version: row[9] as number,
  position: fromStorage(positionOf(row))
})

const positionOf = (row: Row): bigint => BigInt(row[10] as bigint)

/**
 * The rows of a page, up to the one with which it reaches its size, and the positions of those whose payloads are
 * missing.
 */
export const cutToSize = (
  rows: ReadonlyArray<Row>,
  { maxBytes = Number.POSITIVE_INFINITY }: Bounds
): { readonly page: ReadonlyArray<Row>; readonly missing: ReadonlyArray<bigint> } => {
  const missing: Array<bigint> = []
  let size = 0
  for (const [i, row] of rows.entries()) {
    const long = row[11] as number | null
    if (long !== null) missing.push(positionOf(row))
    size += (long ?? (row[4] as string | null)?.length ?? (row[5] as Uint8Array).length) + (row[6] as string).length
    if (size >= maxBytes) return { page: rows.slice(0, i + 1), missing }
  }
  return { page: rows, missing }
}

const MAX_INTEGER = 2 ** 31 - 1
const MAX_POSITION = 2n ** 63n - 1n

/** A version in the range of the column: one that no event can have comes before or after all that exist. */
const versionParameter = (version: number): PgTypes.Parameter =>
  PgTypes.int4(Number.isNaN(version) ? -1 : Math.min(Math.max(Math.trunc(version), -1), MAX_INTEGER))

const positionParameter = (position: bigint): PgTypes.Parameter =>
  PgTypes.int8(position > MAX_POSITION ? MAX_POSITION : position < 0n ? 0n : position)

/** PostgreSQL refuses a negative limit. */
export const limitParameter = (limit: number): PgTypes.Parameter =>
  PgTypes.int8(limit >= Number.MAX_SAFE_INTEGER ? MAX_POSITION : BigInt(Math.max(Math.trunc(limit), 0)))

const thresholdParameter = (bounds: Bounds): PgTypes.Parameter => PgTypes.int4(payloadThreshold(bounds, MAX_INTEGER))

/** The statements of a schema's pages. Their texts are created once, so that the server prepares each of them once. */
export const pages = (schema: string) => {
  const table = `${quote(schema)}.stored_events`
  const streamForward = `SELECT ${columns("$5")} FROM ${table} WHERE stream = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4`
  const streamBackward = `SELECT ${columns("$5")} FROM ${table} WHERE stream = $1 AND version < $2 AND version >= $3 ORDER BY version DESC LIMIT $4`
  const nextForward = `SELECT min(position) FROM ${table} WHERE position > $1 AND position <= $2`
  const nextBackward = `SELECT max(position) FROM ${table} WHERE position < $1 AND position >= $2`
  const all = (backward: boolean, types: boolean, categories: boolean) => {
    const range = backward ? "position < $1 AND position >= $2" : "position > $1 AND position <= $2"
    const conditions = [
      range,
      ...(types ? ["type = ANY ($5)"] : []),
      ...(categories ? [`${CATEGORY} = ANY ($${types ? 6 : 5})`] : [])
    ]
    return `SELECT ${columns("$4")} FROM ${table} WHERE ${conditions.join(" AND ")} ORDER BY position${backward ? " DESC" : ""} LIMIT $3`
  }

  return {
    stream: ({ stream, direction, after, upTo, ...bounds }: ReadStream): Query => {
      const backward = direction === "backward"
      return {
        sql: backward ? streamBackward : streamForward,
        parameters: [
          PgTypes.text(stream),
          versionParameter(after ?? (backward ? MAX_INTEGER : -1)),
          versionParameter(upTo ?? (backward ? 0 : MAX_INTEGER)),
          limitParameter(bounds.limit),
          thresholdParameter(bounds)
        ]
      }
    },
    all: ({ direction, after, upTo, filter, ...bounds }: ReadAll): Query => {
      const backward = direction === "backward"
      return {
        sql: all(backward, filter?.types !== undefined, filter?.categories !== undefined),
        parameters: [
          positionParameter(after ?? (backward ? MAX_POSITION : 0n)),
          positionParameter(upTo ?? (backward ? 0n : MAX_POSITION)),
          limitParameter(bounds.limit),
          thresholdParameter(bounds),
          ...filterParameters(filter)
        ]
      }
    },
    payloads: (positions: ReadonlyArray<bigint>): Query => ({
      sql: `SELECT position, payload_text, payload_bytes FROM ${table} WHERE position = ANY ($1)`,
      parameters: [bigintArray(positions)]
    }),
    /** The first event after a position (before it, if backward), up to another position. */
    next: ({ direction, after, upTo }: Pick<ReadAll, "direction" | "after" | "upTo">): Query => {
      const backward = direction === "backward"
      return {
        sql: backward ? nextBackward : nextForward,
        parameters: [
          positionParameter(after ?? (backward ? MAX_POSITION : 0n)),
          positionParameter(upTo ?? (backward ? 0n : MAX_POSITION))
        ]
      }
    },
    head: `SELECT max(position) FROM ${table}`
  }
}

/** The part of a stream's name before the first "-". */
const CATEGORY = "split_part(stream, '-', 1)"

const filterParameters = (filter: Filter | undefined): ReadonlyArray<unknown> => [
  ...(filter?.types === undefined ? [] : [textArray(filter.types)]),
  ...(filter?.categories === undefined ? [] : [textArray(filter.categories)])
]
