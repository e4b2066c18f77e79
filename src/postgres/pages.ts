import { PgTypes } from "@effect/sql-pg"
import { fromStorage } from "../Position.ts"
import type { Filter, ReadAll, ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { StreamName } from "../StreamName.ts"
import type { Row } from "./PostgresDatabase.ts"
import { textArray } from "./parameters.ts"
import { quote } from "./sql/identifiers.ts"

/** A statement with its parameters. */
export interface Query {
  readonly sql: string
  readonly parameters: ReadonlyArray<unknown>
}

const COLUMNS =
  "id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at, stream, version, position"

/** A row of {@link COLUMNS}. */
export const toNotification = (row: Row): Notification => ({
  id: row[0] as string,
  type: row[1] as string,
  schemaVersion: row[2] as number,
  encoding: row[3] as string,
  payload: (row[4] ?? row[5]) as string | Uint8Array,
  metadata: row[6] as string,
  recordedAt: Number(row[7]),
  stream: row[8] as StreamName,
  version: row[9] as number,
  position: fromStorage(BigInt(row[10] as bigint))
})

const MAX_INTEGER = 2 ** 31 - 1
const MAX_POSITION = 2n ** 63n - 1n

/** A version as the column has it: what no event can have is behind, or before, all that are there. */
const bounded = (version: number): PgTypes.Parameter =>
  PgTypes.int4(Number.isNaN(version) ? -1 : Math.min(Math.max(Math.trunc(version), -1), MAX_INTEGER))

const boundedPosition = (position: bigint): PgTypes.Parameter =>
  PgTypes.int8(position > MAX_POSITION ? MAX_POSITION : position < 0n ? 0n : position)

/** A negative limit would be an error. */
export const limitOf = (limit: number): PgTypes.Parameter =>
  PgTypes.int8(limit >= Number.MAX_SAFE_INTEGER ? MAX_POSITION : BigInt(Math.max(Math.trunc(limit), 0)))

/** The statements of a schema's pages: their texts are made once, so that the server prepares each once. */
export const pages = (schema: string) => {
  const table = `${quote(schema)}.stored_events`
  const streamForward = `SELECT ${COLUMNS} FROM ${table} WHERE stream = $1 AND version > $2 AND version <= $3 ORDER BY version LIMIT $4`
  const streamBackward = `SELECT ${COLUMNS} FROM ${table} WHERE stream = $1 AND version < $2 AND version >= $3 ORDER BY version DESC LIMIT $4`
  const all = (backward: boolean, types: boolean, categories: boolean) => {
    const range = backward ? "position < $1 AND position >= $2" : "position > $1 AND position <= $2"
    const conditions = [
      range,
      ...(types ? ["type = ANY ($4)"] : []),
      ...(categories ? [`${CATEGORY} = ANY ($${types ? 5 : 4})`] : [])
    ]
    return `SELECT ${COLUMNS} FROM ${table} WHERE ${conditions.join(" AND ")} ORDER BY position${backward ? " DESC" : ""} LIMIT $3`
  }

  return {
    stream: ({ stream, direction, after, upTo, limit }: ReadStream): Query =>
      direction === "backward"
        ? {
            sql: streamBackward,
            parameters: [PgTypes.text(stream), bounded(after ?? MAX_INTEGER), bounded(upTo ?? 0), limitOf(limit)]
          }
        : {
            sql: streamForward,
            parameters: [PgTypes.text(stream), bounded(after ?? -1), bounded(upTo ?? MAX_INTEGER), limitOf(limit)]
          },
    all: ({ direction, after, upTo, filter, limit }: ReadAll): Query => {
      const backward = direction === "backward"
      return {
        sql: all(backward, filter?.types !== undefined, filter?.categories !== undefined),
        parameters: [
          boundedPosition(after ?? (backward ? MAX_POSITION : 0n)),
          boundedPosition(upTo ?? (backward ? 0n : MAX_POSITION)),
          limitOf(limit),
          ...filterParameters(filter)
        ]
      }
    },
    head: `SELECT max(position) FROM ${table}`
  }
}

/** What is before the first "-" of a stream's name. */
const CATEGORY = "split_part(stream, '-', 1)"

const filterParameters = (filter: Filter | undefined): ReadonlyArray<unknown> => [
  ...(filter?.types === undefined ? [] : [textArray(filter.types)]),
  ...(filter?.categories === undefined ? [] : [textArray(filter.categories)])
]
