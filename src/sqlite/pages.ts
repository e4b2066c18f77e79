import { fromStorage } from "../Position.ts"
import type { Filter, ReadAll, ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { StreamName } from "../StreamName.ts"
import type { Prepare } from "./prepare.ts"

const COLUMNS = "id, type, schema_version, encoding, payload, metadata, recorded_at, stream, version, position"

/** A row of {@link COLUMNS}, as an array. */
type Row = readonly [
  id: string,
  type: string,
  schemaVersion: number,
  encoding: string,
  payload: string | Uint8Array,
  metadata: string,
  recordedAt: number,
  stream: StreamName,
  version: number,
  position: number
]

const toNotifications = (rows: ReadonlyArray<Row>): ReadonlyArray<Notification> =>
  rows.map(
    ([id, type, schemaVersion, encoding, payload, metadata, recordedAt, stream, version, position]): Notification => ({
      id,
      type,
      schemaVersion,
      encoding,
      payload,
      metadata,
      recordedAt,
      stream,
      version,
      position: fromStorage(BigInt(position))
    })
  )

const STREAM_FORWARD = `
  SELECT ${COLUMNS} FROM stored_events WHERE stream = ? AND version > ? AND version <= ? ORDER BY version LIMIT ?
`

const STREAM_BACKWARD = `
  SELECT ${COLUMNS} FROM stored_events WHERE stream = ? AND version < ? AND version >= ? ORDER BY version DESC LIMIT ?
`

/** Reads a page of a stream; `prepare` gives statements whose rows are arrays. */
export const selectStream = (
  prepare: Prepare,
  { stream, direction, after, upTo, limit }: ReadStream
): ReadonlyArray<Notification> => {
  const rows =
    direction === "backward"
      ? prepare(STREAM_BACKWARD).all(stream, after ?? Number.MAX_SAFE_INTEGER, upTo ?? 0, atLeastNone(limit))
      : prepare(STREAM_FORWARD).all(stream, after ?? -1, upTo ?? Number.MAX_SAFE_INTEGER, atLeastNone(limit))
  return toNotifications(rows as unknown as ReadonlyArray<Row>)
}

const allForward = (condition: string) => `
  SELECT ${COLUMNS} FROM stored_events WHERE position > ? AND position <= ?${condition} ORDER BY position LIMIT ?
`

const allBackward = (condition: string) => `
  SELECT ${COLUMNS} FROM stored_events WHERE position < ? AND position >= ?${condition} ORDER BY position DESC LIMIT ?
`

const MAX_POSITION = 2n ** 63n - 1n

/** Reads a page of the total order; `prepare` gives statements whose rows are arrays. */
export const selectAll = (
  prepare: Prepare,
  { direction, after, upTo, filter, limit }: ReadAll
): ReadonlyArray<Notification> => {
  const { condition, parameters } = toCondition(filter)
  const rows =
    direction === "backward"
      ? prepare(allBackward(condition)).all(after ?? MAX_POSITION, upTo ?? 0n, ...parameters, atLeastNone(limit))
      : prepare(allForward(condition)).all(after ?? 0n, upTo ?? MAX_POSITION, ...parameters, atLeastNone(limit))
  return toNotifications(rows as unknown as ReadonlyArray<Row>)
}

/** What is before the first "-" of a stream's name. */
const CATEGORY = "substr(stream, 1, instr(stream, '-') - 1)"

const toCondition = (
  filter: Filter | undefined
): { readonly condition: string; readonly parameters: ReadonlyArray<string> } => {
  const parameters: Array<string> = []
  let condition = ""
  if (filter?.types !== undefined) {
    condition += " AND type IN (SELECT value FROM json_each(?))"
    parameters.push(JSON.stringify(filter.types))
  }
  if (filter?.categories !== undefined) {
    condition += ` AND ${CATEGORY} IN (SELECT value FROM json_each(?))`
    parameters.push(JSON.stringify(filter.categories))
  }
  return { condition, parameters }
}

/** A negative limit would be none to SQLite. */
export const atLeastNone = (limit: number): number => Math.max(limit, 0)
