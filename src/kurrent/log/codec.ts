/**
 * Stored events as KurrentDB keeps them. Plain JSON is kept as JSON, so that the server's UI and projections can read
 * it; every other payload is kept as bytes. The remaining fields of an event are in its metadata, next to the user's,
 * each as a string.
 */
import { hasEscapedKey } from "../../internal/encoding/json.ts"
import type { Position } from "../../Position.ts"
import type { Notification, StoredEvent } from "../../StoredEvent.ts"
import type { StreamName } from "../../StreamName.ts"
import type { EventToAppend, ReceivedEvent, RecordedEvent } from "../client/events.ts"
import { parseMetadata } from "../client/events.ts"
import * as Json from "../client/json.ts"
import * as Values from "../client/values.ts"

/** Keys of the metadata. A key that is absent has its most common value. */
const RECORDED_AT = "$recordedAt"
const SCHEMA_VERSION = "$schemaVersion"
const ENCODING = "$encoding"
/** `text` if the payload is a text that JSON does not preserve character by character. */
const PAYLOAD = "$payload"
/** The original metadata, if an object does not preserve it character by character. */
const METADATA = "$metadata"
/** What the server adds to the metadata of events that were appended to several streams at once. */
const SERVER_KEYS = ["$schema.name", "$schema.format"]

const OWN_KEYS = new Set([RECORDED_AT, SCHEMA_VERSION, ENCODING, PAYLOAD, METADATA, ...SERVER_KEYS])

/**
 * The value of a text that is JSON and that `JSON.stringify` writes exactly as it is. A text with keys that the
 * client's `JSON.parse` may read differently does not qualify.
 */
const exactJson = (text: string): { readonly value: unknown } | undefined => {
  if (hasEscapedKey(text)) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return JSON.stringify(value) === text ? { value } : undefined
  } catch {
    return undefined
  }
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/** Why an event can't be stored, or `undefined` if it can. */
export const unstorable = ({ id, payload, metadata, recordedAt }: StoredEvent): string | undefined => {
  const isWrong = (typeof payload === "string" && !payload.isWellFormed()) || !metadata.isWellFormed()
  if (isWrong) return `event "${id}" contains half of a surrogate pair, which KurrentDB can't store; encode it as bytes`
  if (!Number.isSafeInteger(recordedAt))
    return `the time ${recordedAt} of event "${id}" is not a whole number of milliseconds`
  return Values.sizeProblem(`event "${id}"`, Values.sizeOf(payload, metadata))
}

/** `ordered`: whether the server preserves the order of the metadata's keys. Appends to several streams may not. */
export const toEvent = (event: StoredEvent, ordered: boolean): EventToAppend => {
  const { id, type, schemaVersion, encoding, payload, metadata, recordedAt } = event
  const json = typeof payload === "string" ? exactJson(payload) : undefined
  const own: Record<string, string> = metadata === "{}" ? {} : keptMetadata(metadata, ordered)
  own[RECORDED_AT] = `${recordedAt}`
  if (schemaVersion !== 1) own[SCHEMA_VERSION] = `${schemaVersion}`
  if (encoding !== "json") own[ENCODING] = encoding
  if (json === undefined && typeof payload === "string") own[PAYLOAD] = "text"
  const data = json !== undefined ? json.value : typeof payload === "string" ? utf8.encode(payload) : ownCopy(payload)
  return { id, type, data, metadata: own }
}

/** What was appended must not change with the caller's buffer; nor does the client accept a `Buffer` as bytes. */
const ownCopy = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes)

/** The user's metadata as an object, or as a text inside one if the object would not reproduce the text. */
const keptMetadata = (text: string, ordered: boolean): Record<string, string> => {
  const asText = { [METADATA]: text }
  const value = exactJson(text)?.value
  if (typeof value !== "object" || value === null || Array.isArray(value)) return asText
  const entries = Object.entries(value)
  const isKept =
    entries.every(([key, value]) => typeof value === "string" && !OWN_KEYS.has(key)) && (ordered || entries.length < 2)
  return isKept ? (value as Record<string, string>) : asText
}

/** What an event is decoded from, except for its place. */
export type Encoded = Pick<RecordedEvent, "id" | "type" | "isJson" | "data" | "metadata" | "created">

/** The place of an event. */
export interface Place {
  readonly stream: StreamName
  readonly version: number
  readonly position: Position
}

/** What the metadata of an event contains. */
interface Described {
  readonly schemaVersion: number
  readonly encoding: string
  /** `undefined` if another program recorded the event. */
  readonly recordedAt: number | undefined
  /** Whether the payload is a text that JSON does not preserve. */
  readonly isText: boolean
  /** The metadata without the library's own keys. */
  readonly metadata: string
}

const describe = (metadata: unknown): Described => {
  let schemaVersion = 1
  let encoding = "json"
  let recordedAt: number | undefined
  let isText = false
  let stored: string | undefined
  let others: Record<string, string> | undefined
  if (isRecord(metadata)) {
    for (const key in metadata) {
      const value = metadata[key]
      if (!OWN_KEYS.has(key)) {
        others ??= {}
        // values of other programs that are not strings, as JSON
        others[key] = typeof value === "string" ? value : Json.toJson(value)
      } else if (typeof value === "string") {
        if (key === RECORDED_AT) recordedAt = toInteger(key, value)
        else if (key === SCHEMA_VERSION) schemaVersion = toInteger(key, value)
        else if (key === ENCODING) encoding = value
        else if (key === PAYLOAD) isText = value === "text"
        else if (key === METADATA) stored = value
      }
    }
  } else if (metadata !== undefined) {
    others = { [METADATA]: metadata instanceof Uint8Array ? textOf(metadata) : Json.toJson(metadata) }
  }
  return {
    ...{ schemaVersion, encoding, recordedAt, isText },
    metadata: stored ?? (others === undefined ? "{}" : JSON.stringify(others))
  }
}

/**
 * An event that this library or another program appended, as a stored event in its place. Throws on what neither can
 * have appended.
 */
export const fromEvent = (event: Encoded, { stream, version, position }: Place): Notification => {
  const { id, type, isJson, data, created } = event
  const { schemaVersion, encoding, recordedAt, isText, metadata } = describe(event.metadata)
  // what this library appended is JSON that `JSON.stringify` reproduces
  const json = recordedAt === undefined ? Json.toJson : JSON.stringify
  return {
    id,
    type,
    schemaVersion,
    encoding,
    payload: isJson ? json(data) : bytesOrText(data as Uint8Array, isText),
    metadata,
    recordedAt: recordedAt ?? created.getTime(),
    stream,
    version,
    position
  }
}

/** {@link fromEvent} for an event that was not parsed: the library's own JSON is the payload as it stands. */
export const fromReceived = (event: ReceivedEvent, { stream, version, position }: Place): Notification => {
  const { id, type, isJson, data, created } = event
  const { schemaVersion, encoding, recordedAt, isText, metadata } = describeReceived(event.metadata)
  return {
    id,
    type,
    schemaVersion,
    encoding,
    payload: !isJson
      ? bytesOrText(data, isText)
      : recordedAt === undefined
        ? Json.toJson(Json.parseJson(data))
        : Json.textOf(data),
    metadata,
    recordedAt: recordedAt ?? created,
    stream,
    version,
    position
  }
}

const bytesOrText = (data: Uint8Array, isText: boolean): string | Uint8Array => (isText ? fromUtf8.decode(data) : data)

/** Metadata that contains only the time, as that of most events does, is not parsed. */
const describeReceived = (metadata: Uint8Array): Described => {
  const isShort = metadata.length > ONLY_TIME.length && metadata.length <= ONLY_TIME.length + LONGEST_TIME
  const text = isShort ? Json.textOf(metadata) : ""
  if (text.startsWith(ONLY_TIME) && text.endsWith('"}')) {
    const recordedAt = Number(text.slice(ONLY_TIME.length, -2))
    if (recordedAt > 0 && Number.isSafeInteger(recordedAt)) {
      return { schemaVersion: 1, encoding: "json", recordedAt, isText: false, metadata: "{}" }
    }
  }
  return describe(parseMetadata(metadata))
}

const ONLY_TIME = `{"${RECORDED_AT}":"`
/** The digits of an integer, and the end of the text. */
const LONGEST_TIME = 18

/** Bytes as text if they are text, otherwise in base64. */
const textOf = (bytes: Uint8Array): string => {
  try {
    return fromUtf8.decode(bytes)
  } catch {
    return Buffer.from(bytes).toString("base64")
  }
}

const toInteger = (key: string, text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`its metadata has "${text}" as ${key}, which is not an integer`)
  return value
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
