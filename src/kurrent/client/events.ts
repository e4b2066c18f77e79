/** Events of the server as the client returns them, and as it accepts them. */
import { randomUUID } from "node:crypto"
import type {
  AllStreamResolvedEvent,
  RecordedEvent as ClientEvent,
  EventData,
  JSONType,
  MetadataType,
  ResolvedEvent as StreamResolvedEvent
} from "@kurrent/kurrentdb-client"
import { parseJson, textOf } from "./json.ts"
import * as Values from "./values.ts"

/** An event to be appended. */
export interface EventToAppend {
  /** A UUID by which a repeated append is recognised. Default: a new one. */
  readonly id?: string | undefined
  readonly type: string
  /** Bytes are kept as they are, everything else as JSON, which the server's own UI and its projections can read. */
  readonly data: unknown
  /** Kept as JSON. In appends to several streams it is a flat object of strings. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** Why an event can't be appended, or `undefined` if it can: what the client or the server would fail on. */
export const unappendable = ({ id, type, data, metadata }: EventToAppend): string | undefined => {
  if (type === "" || !type.isWellFormed()) return `"${type}" is not a valid event type`
  if (id !== undefined && !UUID.test(id)) return `the id "${id}" of an event of type "${type}" is not a UUID`
  const body = data instanceof Uint8Array ? data : toJson(data)
  if (body === undefined) return `the data of an event of type "${type}" is neither JSON nor bytes`
  const rest = metadata === undefined ? "" : isObject(metadata) ? toJson(metadata) : undefined
  return rest === undefined
    ? `the metadata of an event of type "${type}" is not an object that JSON can represent`
    : Values.sizeProblem(`an event of type "${type}"`, Values.sizeOf(body, rest))
}

/** Why an event can't be appended together with those of other streams, or `undefined` if it can. */
export const unappendableToStreams = (event: EventToAppend): string | undefined =>
  unappendable(event) ??
  (Object.values(event.metadata ?? {}).every((value) => typeof value === "string")
    ? undefined
    : `the metadata of an event of type "${event.type}" has values that are not strings, which an append to several streams can't store`)

const toJson = (value: unknown): string | undefined => {
  try {
    return JSON.stringify(value)
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)

/** An event in its place. */
export interface RecordedEvent {
  readonly stream: string
  /** Its place in its stream: 0, 1, 2… */
  readonly revision: bigint
  /** Its place among all events: its commit position. Old servers do not report that of links. */
  readonly position: bigint | undefined
  readonly id: string
  readonly type: string
  readonly isJson: boolean
  /** Parsed if it is JSON, otherwise bytes. */
  readonly data: unknown
  /** Parsed if it is JSON, otherwise bytes; `undefined` if there is none. */
  readonly metadata: unknown
  /** When the server recorded it. In reads it is exact to the second. */
  readonly created: Date
}

/** What a read finds in a place: an event, or a link that was followed to one. The event of a link may be gone. */
export interface ResolvedEvent {
  readonly event: RecordedEvent | undefined
  readonly link: RecordedEvent | undefined
}

/** An event as reads and subscriptions return it. A link whose event is gone is returned itself (its type is `$>`). */
export interface ReadEvent extends RecordedEvent {
  /**
   * The link that led to it, if links are resolved: the place in what was read is that of the link, not that of the
   * event.
   */
  readonly link: RecordedEvent | undefined
}

/** At least one of the two is always present. */
export const toReadEvent = ({ event, link }: ResolvedEvent): ReadEvent =>
  event === undefined ? { ...(link as RecordedEvent), link: undefined } : { ...event, link }

/** What stands in the place that was read: the link, or the event. */
export const inPlace = (event: ReadEvent): RecordedEvent => event.link ?? event

export const toClientEvent = ({ id, type, data, metadata }: EventToAppend): EventData => {
  const common = { id: id ?? randomUUID(), type, metadata: metadata as MetadataType | undefined }
  return (
    data instanceof Uint8Array
      ? { ...common, contentType: "application/octet-stream", data }
      : { ...common, contentType: "application/json", data: data as JSONType }
  ) as EventData
}

export const fromClientEvent = (event: ClientEvent, commit?: bigint): RecordedEvent => ({
  stream: event.streamId,
  revision: event.revision,
  position: event.position?.commit ?? commit,
  id: event.id,
  type: event.type,
  isJson: event.isJson,
  data: event.data,
  metadata: event.metadata,
  created: event.created
})

/** What the client returns for a stream or for `$all`. */
export type ClientResolvedEvent = StreamResolvedEvent | AllStreamResolvedEvent

export const fromResolved = ({ event, link, commitPosition }: ClientResolvedEvent): ResolvedEvent => ({
  event: event === undefined ? undefined : fromClientEvent(event as ClientEvent, link ? undefined : commitPosition),
  link: link === undefined ? undefined : fromClientEvent(link as ClientEvent, commitPosition)
})

/** An event as the client receives it, before it is parsed. */
export interface ReceivedEvent {
  readonly streamId: string
  readonly revision: bigint
  readonly position?: { readonly commit: bigint; readonly prepare: bigint }
  readonly id: string
  readonly type: string
  readonly isJson: boolean
  readonly data: Uint8Array
  readonly metadata: Uint8Array
  /** In milliseconds since the epoch. */
  readonly created: number
}

/** What the client receives for a place that is read. */
export interface Received {
  readonly event?: ReceivedEvent
  readonly link?: ReceivedEvent
  readonly commitPosition?: bigint
}

/** Metadata is JSON, or bytes, or absent. */
export const parseMetadata = (bytes: Uint8Array): unknown => {
  if (bytes.length === 0) return undefined
  try {
    return JSON.parse(textOf(bytes))
  } catch {
    return bytes
  }
}

const parseEvent = (event: ReceivedEvent, commit?: bigint): RecordedEvent => ({
  stream: event.streamId,
  revision: event.revision,
  position: event.position?.commit ?? commit,
  id: event.id,
  type: event.type,
  isJson: event.isJson,
  data: event.isJson ? parseJson(event.data) : event.data,
  metadata: parseMetadata(event.metadata),
  created: new Date(event.created)
})

/** What was received, parsed as the client itself would have parsed it. */
export const parseReceived = ({ event, link, commitPosition }: Received): ResolvedEvent => ({
  event: event === undefined ? undefined : parseEvent(event, link ? undefined : commitPosition),
  link: link === undefined ? undefined : parseEvent(link, commitPosition)
})
