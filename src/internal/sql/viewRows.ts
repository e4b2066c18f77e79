/** The rows of the library's own tables, as values. */

import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type * as Tracking from "../../Tracking.ts"
import type { DeadLetter, Mode, Opened, Progress, Seen, SeenEvent, Status } from "../../ViewStore.ts"
import type { Begun } from "../projection/beginAt.ts"
import { keyText } from "../projection/trackingKey.ts"

export type Row = ReadonlyArray<unknown>

/** The columns of {@link toTracked}. Numbers that may be too large for a number are read as text. */
export const TRACKING_COLUMNS =
  "version, status, mode, log_id, CAST(position AS text), aggregates, seen, begins, place, ready, ignores"

/** A version of a projection, and the name of its place if its row has one. */
export interface Tracked {
  readonly progress: Opened & { readonly begins: string | undefined }
  readonly place: unknown
}

/** How far a version has come. */
export const toProgress = (row: Row): Progress => {
  const [version, status, mode, logId, position, aggregates, _seen, _begins, _place, ready] = row
  return {
    version: Number(version),
    status: status as Status,
    ready: status === "current" || Number(ready) === 1,
    mode: mode as Mode,
    logId: String(logId),
    position: position == null ? undefined : fromStorage(BigInt(String(position))),
    aggregates: aggregates === "" ? [] : String(aggregates).split(",")
  }
}

/** The name of the place in a row, which {@link toProgress} does not use. */
export const placeIn = (row: Row): unknown => row[8]

export const toTracked = (row: Row): Tracked => {
  const progress = toProgress(row)
  const [, , , , , , seen, begins, place, , ignores] = row
  return {
    progress: {
      ...progress,
      seen: decodeSeen(seen, progress.position),
      ignored: typeof ignores === "string" ? (JSON.parse(ignores) as ReadonlyArray<string>) : undefined,
      begins: typeof begins === "string" ? begins : undefined
    },
    place
  }
}

/** Events are stored again with each of the next few moves, and aggregates with all of them. */
const encoded = new WeakMap<object, string>()
const encodeOnce = <A extends object>(value: A, encode: (value: A) => string): string => {
  const known = encoded.get(value)
  if (known !== undefined) return known
  const text = encode(value)
  encoded.set(value, text)
  return text
}

const encodeEvent = ({ position, id, stream }: SeenEvent) => JSON.stringify([`${position}`, id, stream])

/** What was seen of a log, as JSON. */
export const encodeSeen = ({ position, aggregates, recordedAt, events }: Seen): string => {
  let list = ""
  for (const event of events) list += `${list === "" ? "" : ","}${encodeOnce(event, encodeEvent)}`
  return `{"position":"${position}","aggregates":${encodeOnce(aggregates, JSON.stringify)},"recordedAt":${recordedAt},"events":[${list}]}`
}

/** What was seen of a log; `undefined` if an earlier version of the library has moved the tracking since. */
const decodeSeen = (text: unknown, position: Position | undefined): Seen | undefined => {
  if (typeof text !== "string" || position === undefined) return undefined
  const stored: {
    readonly position: string
    readonly aggregates: ReadonlyArray<string>
    readonly recordedAt: number
    readonly events: ReadonlyArray<readonly [position: string, id: string, stream: string]>
  } = JSON.parse(text)
  if (BigInt(stored.position) !== position) return undefined
  return {
    position,
    aggregates: stored.aggregates,
    recordedAt: stored.recordedAt,
    events: stored.events.map(([at, id, stream]) => ({ position: fromStorage(BigInt(at)), id, stream }))
  }
}

/** The values of the columns `position`, `seen` and `begins`. */
export const beginningValues = ({ position, seen, begins }: Begun): ReadonlyArray<unknown> => [
  position ?? null,
  seen === undefined ? null : encodeSeen(seen),
  begins ?? null
]

/** The values of the columns `projection`, `version`, `upstream` and `slice`. */
export const keyValues = ({ projection, version, upstream, slice }: Tracking.Key): ReadonlyArray<unknown> => [
  projection,
  version,
  upstream,
  slice
]

/** The text of the key that these columns have, see `keyText`. */
export const keyTextOf = ([projection, version, upstream, slice]: Row): string =>
  keyText({
    projection: String(projection),
    version: Number(version),
    upstream: String(upstream),
    slice: Number(slice)
  })

/** The columns of {@link toDeadLetter}. */
export const DEAD_LETTER_COLUMNS =
  "CAST(position AS text), stream, stream_version, event_id, type, cause, attempts, CAST(set_aside_at AS text)"

export const toDeadLetter = (row: Row): DeadLetter => {
  const [position, stream, streamVersion, eventId, type, cause, attempts, setAsideAt] = row
  return {
    position: fromStorage(BigInt(String(position))),
    stream: String(stream),
    streamVersion: Number(streamVersion),
    eventId: String(eventId),
    type: String(type),
    cause: String(cause),
    attempts: Number(attempts),
    setAsideAt: Number(setAsideAt)
  }
}

/** The values of the columns of a dead letter, after those of its key. */
export const deadLetterValues = (letter: DeadLetter): ReadonlyArray<unknown> => {
  const { position, stream, streamVersion, eventId, type, cause, attempts, setAsideAt } = letter
  return [position, stream, streamVersion, eventId, type, cause, attempts, BigInt(setAsideAt)]
}
