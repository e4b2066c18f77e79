import type { SQLInputValue } from "node:sqlite"
import type { Bounds } from "../internal/backend/pageSize.ts"
import { payloadThreshold } from "../internal/backend/pageSize.ts"
import { fromStorage } from "../Position.ts"
import type { Filter, ReadAll, ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { StreamName } from "../StreamName.ts"
import type { Prepare } from "./prepare.ts"
import { allArrays, firstArray } from "./prepare.ts"

// `?1`, which would be passed once, is refused by the node:sqlite of Node 22
const isLong = "octet_length(payload) > ?"

/**
 * The columns that are read of each event of a page. Of a payload that is longer than the parameter, only the length is
 * read: a page of such payloads could have any size, so they are read one by one, as many as the page holds. The length
 * is in the row's header, and reading it reads nothing of the payload.
 */
const columns = (metadata: string, recordedAt: string) => `id, type, schema_version, encoding,
    iif(${isLong}, octet_length(payload), payload), ${metadata}, ${recordedAt}, stream, version, position`

/** For payloads that are expected to be short. */
const SHORT = columns("metadata", "recorded_at")

/** The columns after a payload in its row are not read either: SQLite would go through all pages of the payload. */
const LONG = columns(`iif(${isLong}, NULL, metadata)`, `iif(${isLong}, NULL, recorded_at)`)

/** A row of {@link columns}, as an array. */
type Row = readonly [
  id: string,
  type: string,
  schemaVersion: number,
  encoding: string,
  payload: string | Uint8Array | number,
  metadata: string,
  recordedAt: number,
  stream: StreamName,
  version: number,
  position: number
]

/** The columns that are read afterwards of an event whose payload is long. */
const REST = "SELECT payload, metadata, recorded_at FROM stored_events WHERE position = ?"

/** A row of {@link REST}. */
type Rest = readonly [payload: string | Uint8Array, metadata: string, recordedAt: number]

/** No payload is longer than this. */
const LONGEST = 2 ** 31

/** After a page with a long payload, this many pages are read as if payloads were long. */
const CAREFUL = 1000

/** The statements of a page, by the expected length of its payloads. */
const statements = (range: string) => {
  const select = (columns: string) => `SELECT ${columns} FROM stored_events WHERE ${range} LIMIT ?`
  return { short: select(SHORT), long: select(LONG) }
}

const STREAM_FORWARD = statements("stream = ? AND version > ? AND version <= ? ORDER BY version")
const STREAM_BACKWARD = statements("stream = ? AND version < ? AND version >= ? ORDER BY version DESC")

const allForward = (condition: string) => statements(`position > ? AND position <= ?${condition} ORDER BY position`)
const allBackward = (condition: string) =>
  statements(`position < ? AND position >= ?${condition} ORDER BY position DESC`)

const MAX_POSITION = 2n ** 63n - 1n

/** Reads pages. */
export interface Pages {
  readonly stream: (read: ReadStream) => ReadonlyArray<Notification>
  readonly all: (read: ReadAll) => ReadonlyArray<Notification>
}

/** Reads pages with statements whose rows are arrays. */
export const makePages = (prepare: Prepare): Pages => {
  // the first page may have any size
  let careful = 1

  const select = (
    { short, long }: ReturnType<typeof statements>,
    parameters: ReadonlyArray<SQLInputValue>,
    bounds: Bounds
  ) => {
    const longest = payloadThreshold(bounds, LONGEST)
    const rows =
      careful > 0
        ? allArrays<Row>(prepare(long), longest, longest, longest, ...parameters, nonNegative(bounds.limit))
        : allArrays<Row>(prepare(short), longest, ...parameters, nonNegative(bounds.limit))
    return toPage(rows, bounds)
  }

  /**
   * The events of rows, up to the one with which they reach the size; `undefined` if one was removed in the meantime.
   */
  const toPage = (
    rows: ReadonlyArray<Row>,
    { maxBytes = Number.POSITIVE_INFINITY }: Bounds
  ): ReadonlyArray<Notification> | undefined => {
    const page: Array<Notification> = []
    let size = 0
    if (rows.length > 0 && careful > 0) careful--
    for (const row of rows) {
      let payload = row[4]
      let metadata = row[5]
      let recordedAt = row[6]
      if (typeof payload === "number") {
        careful = CAREFUL
        const rest = firstArray<Rest>(prepare(REST), row[9])
        if (rest === undefined) return undefined
        payload = rest[0]
        metadata = rest[1]
        recordedAt = rest[2]
      }
      page.push({
        id: row[0],
        type: row[1],
        schemaVersion: row[2],
        encoding: row[3],
        payload,
        metadata,
        recordedAt,
        stream: row[7],
        version: row[8],
        position: fromStorage(BigInt(row[9]))
      })
      size += payload.length + metadata.length
      if (size >= maxBytes) break
    }
    return page
  }

  const pages: Pages = {
    stream: (read) => {
      const { stream, direction, after, upTo } = read
      const page =
        direction === "backward"
          ? select(STREAM_BACKWARD, [stream, after ?? Number.MAX_SAFE_INTEGER, upTo ?? 0], read)
          : select(STREAM_FORWARD, [stream, after ?? -1, upTo ?? Number.MAX_SAFE_INTEGER], read)
      return page ?? pages.stream(read)
    },
    all: (read) => {
      const { direction, after, upTo, filter } = read
      const { condition, parameters } = toCondition(filter)
      const page =
        direction === "backward"
          ? select(allBackward(condition), [after ?? MAX_POSITION, upTo ?? 0n, ...parameters], read)
          : select(allForward(condition), [after ?? 0n, upTo ?? MAX_POSITION, ...parameters], read)
      return page ?? pages.all(read)
    }
  }
  return pages
}

/** The part of a stream's name before the first "-". */
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

/** SQLite takes a negative limit to mean no limit. */
export const nonNegative = (limit: number): number => Math.max(limit, 0)
