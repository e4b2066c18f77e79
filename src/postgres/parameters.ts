import { PgTypes } from "@effect/sql-pg"
import { Result } from "effect"
import { encodeNote } from "../internal/backend/trackingNote.ts"
import type { ExpectedVersion } from "../Recorder.ts"
import type { StoredEvent } from "../StoredEvent.ts"
import type { StreamName } from "../StreamName.ts"
import * as Tracking from "../Tracking.ts"
import { appendEventParameters } from "./sql/appendEvent.ts"
import { appendEventsParameters } from "./sql/appendEvents.ts"
import type { FunctionParameter } from "./sql/functions.ts"

const arrayOf =
  (elementOid: number) =>
  (values: ReadonlyArray<unknown>): PgTypes.Parameter =>
    Result.getOrThrow(PgTypes.array(values, elementOid))

export const textArray = arrayOf(PgTypes.OID.text)
const integerArray = arrayOf(PgTypes.OID.int4)
export const bigintArray = arrayOf(PgTypes.OID.int8)
const uuidArray = arrayOf(PgTypes.OID.uuid)
const bytesArray = arrayOf(PgTypes.OID.bytea)

/** The values of a function's parameters in the order of the parameters, from values by name. */
const inOrder = <Name extends string>(
  parameters: ReadonlyArray<FunctionParameter<Name>>,
  values: Readonly<Record<Name, PgTypes.Parameter>>
): ReadonlyArray<PgTypes.Parameter> => parameters.map(([name]) => values[name])

const MAX_INTEGER = 2 ** 31 - 1

/** The function's form of an expected version. A version that no stream can have becomes a number that none has. */
export const toInteger = (expected: ExpectedVersion): number => {
  if (expected === "NoStream") return -1
  return Number.isInteger(expected) && expected >= 0 && expected < MAX_INTEGER ? expected : MAX_INTEGER
}

export const fromInteger = (version: number): ExpectedVersion => (version < 0 ? "NoStream" : version)

/** A stream to append to, or only to check if there are no events. */
export interface Part {
  readonly stream: StreamName
  readonly expected: ExpectedVersion
  readonly events: ReadonlyArray<StoredEvent>
}

/** An append as `append_events` accepts it: its parts, and a tracking move if it has one. */
export interface Request {
  readonly parts: ReadonlyArray<Part>
  readonly move?: Tracking.Move | undefined
}

/** The parameters of `append_events`. */
export const ofAppends = (lockTimeout: number, requests: ReadonlyArray<Request>): ReadonlyArray<PgTypes.Parameter> => {
  const partAppend: Array<number> = []
  const partStream: Array<string> = []
  const partVersion: Array<number> = []
  const append: Array<number> = []
  const stream: Array<string> = []
  const version: Array<number> = []
  const id: Array<string> = []
  const type: Array<string> = []
  const schemaVersion: Array<number> = []
  const encoding: Array<string> = []
  const payloadText: Array<string | null> = []
  const payloadBytes: Array<Uint8Array | null> = []
  const metadata: Array<string> = []
  const recordedAt: Array<bigint> = []
  let index = 0
  for (const { parts } of requests) {
    for (const part of parts) {
      const expected = toInteger(part.expected)
      partAppend.push(index)
      partStream.push(part.stream)
      partVersion.push(expected)
      let next = expected + 1
      for (const event of part.events) {
        append.push(index)
        stream.push(part.stream)
        version.push(Math.min(next++, MAX_INTEGER))
        id.push(event.id)
        type.push(event.type)
        schemaVersion.push(event.schemaVersion)
        encoding.push(event.encoding)
        const { payload } = event
        const isText = typeof payload === "string"
        payloadText.push(isText ? payload : null)
        payloadBytes.push(isText ? null : payload)
        metadata.push(event.metadata)
        recordedAt.push(BigInt(event.recordedAt))
      }
    }
    index++
  }
  const move = requests.length === 1 ? requests[0]?.move : undefined
  return inOrder(appendEventsParameters, {
    lock_timeout: PgTypes.int4(lockTimeout),
    part_append: integerArray(partAppend),
    part_stream: textArray(partStream),
    part_version: integerArray(partVersion),
    event_append: integerArray(append),
    event_stream: textArray(stream),
    event_version: integerArray(version),
    event_id: uuidArray(id),
    event_type: textArray(type),
    event_schema_version: integerArray(schemaVersion),
    event_encoding: textArray(encoding),
    event_payload_text: textArray(payloadText),
    event_payload_bytes: bytesArray(payloadBytes),
    event_metadata: textArray(metadata),
    event_recorded_at: bigintArray(recordedAt),
    move_projection: PgTypes.text(move?.key.projection ?? null),
    move_projection_version: PgTypes.int4(move?.key.version ?? null),
    move_upstream: PgTypes.text(move?.key.upstream ?? null),
    move_slice: PgTypes.int4(move?.key.slice ?? null),
    move_from: PgTypes.int8(move?.from ?? null),
    move_to: PgTypes.int8(move?.to ?? null)
  })
}

/** The parameters of `append_tracked`. */
export const ofTracked = (lockTimeout: number, request: Request & { readonly move: Tracking.Move }) => [
  ...ofAppends(lockTimeout, [request]),
  PgTypes.text(encodeNote(request.move))
]

/** The parameters of `precheckAppend`: what `append_events` would check. */
export const ofPrecheck = ({ parts, move }: Request): ReadonlyArray<PgTypes.Parameter> => {
  const stream: Array<string> = []
  const version: Array<number> = []
  const id: Array<string> = []
  for (const part of parts) {
    let next = toInteger(part.expected) + 1
    for (const event of part.events) {
      stream.push(part.stream)
      version.push(Math.min(next++, MAX_INTEGER))
      id.push(event.id)
    }
  }
  return [
    textArray(parts.map((part) => part.stream)),
    integerArray(parts.map(({ expected }) => toInteger(expected))),
    textArray(stream),
    integerArray(version),
    uuidArray(id),
    PgTypes.text(move?.key.projection ?? null),
    PgTypes.int4(move?.key.version ?? null),
    PgTypes.text(move?.key.upstream ?? null),
    PgTypes.int4(move?.key.slice ?? null)
  ]
}

/** The parameters of `append_event`. */
export const ofEvent = (
  lockTimeout: number,
  stream: StreamName,
  expected: ExpectedVersion,
  { id, type, schemaVersion, encoding, payload, metadata, recordedAt }: StoredEvent
): ReadonlyArray<PgTypes.Parameter> =>
  inOrder(appendEventParameters, {
    lock_timeout: PgTypes.int4(lockTimeout),
    new_stream: PgTypes.text(stream),
    expected_version: PgTypes.int4(toInteger(expected)),
    new_id: PgTypes.uuid(id),
    new_type: PgTypes.text(type),
    new_schema_version: PgTypes.int4(schemaVersion),
    new_encoding: PgTypes.text(encoding),
    new_payload_text: PgTypes.text(typeof payload === "string" ? payload : null),
    new_payload_bytes: PgTypes.bytea(typeof payload === "string" ? null : payload),
    new_metadata: PgTypes.text(metadata),
    new_recorded_at: PgTypes.int8(BigInt(recordedAt))
  })

const isCanonicalUuid = (id: string): boolean =>
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/.test(id)

const isStorableText = (text: string): boolean => text.isWellFormed() && !text.includes("\0")

/** Why a text column can't contain a text, or `undefined` if it can. Escapes within JSON do no harm. */
export const unstorable = (what: string, text: string): string | undefined =>
  isStorableText(text)
    ? undefined
    : `${what} contains ${text.isWellFormed() ? "a NUL character" : "half of a surrogate pair"}, which PostgreSQL can't store as text; encode it as bytes`

const unstorableEvent = (event: StoredEvent): string | undefined => {
  const { id, type, encoding, payload, metadata, schemaVersion, recordedAt } = event
  if (!isCanonicalUuid(id)) return `the event id "${id}" is not a lower-case UUID`
  if (!Number.isInteger(schemaVersion) || schemaVersion < 0 || schemaVersion > MAX_INTEGER) {
    return `the schema version ${schemaVersion} of event "${id}" is not an integer from 0 to ${MAX_INTEGER}`
  }
  if (!Number.isSafeInteger(recordedAt))
    return `the time ${recordedAt} of event "${id}" is not a whole number of milliseconds`
  return (
    (typeof payload === "string" ? unstorable(`the payload of event "${id}"`, payload) : undefined) ??
    unstorable(`the metadata of event "${id}"`, metadata) ??
    unstorable(`the type of event "${id}"`, type) ??
    unstorable(`the encoding of event "${id}"`, encoding)
  )
}

/**
 * Why a tracking key can't be stored, or `undefined` if it can: one with half a surrogate pair would become another
 * key.
 */
export const unstorableKey = ({ projection, upstream }: Tracking.Key): string | undefined =>
  unstorable("the name of a projection", projection) ?? unstorable("the name of an upstream", upstream)

/** The bytes of one call: PostgreSQL accepts 1 GiB, including what is sent along with the payloads. */
const LARGEST = 1_000_000_000

/** Why one call can't have this many bytes, or `undefined` if it can. */
export const tooLarge = (what: string, size: number, advice: string): string | undefined =>
  size > LARGEST
    ? `${what} has ${size} bytes, which is more than PostgreSQL accepts in one call (${LARGEST}); ${advice}`
    : undefined

/** The bytes of payloads and metadata. They are counted as characters if there are too few to matter. */
const sizeOf = (parts: ReadonlyArray<Part>): number => {
  const sum = (count: (text: string | Uint8Array) => number) =>
    parts.reduce(
      (size, { events }) =>
        events.reduce((size, { payload, metadata }) => size + count(payload) + count(metadata), size),
      0
    )
  const characters = sum(({ length }) => length)
  return characters * 3 <= LARGEST ? characters : sum((text) => Buffer.byteLength(text))
}

/**
 * Why an append can't be stored, or `undefined` if it can. It is checked here so that it does not fail the other
 * appends of its call.
 */
export const unstorableRequest = ({ parts, move }: Request): string | undefined => {
  const tracking = move === undefined ? undefined : (Tracking.refusal(move) ?? unstorableKey(move.key))
  if (tracking !== undefined) return tracking
  const size = tooLarge("the append", sizeOf(parts), "append fewer events at once, or smaller ones")
  if (size !== undefined) return size
  for (const { events } of parts) {
    for (const event of events) {
      const reason = unstorableEvent(event)
      if (reason !== undefined) return reason
    }
  }
  return undefined
}
