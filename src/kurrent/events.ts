/** Events of the server as the client gives them, and as it takes them. */
import { randomUUID } from "node:crypto"
import type {
  AllStreamResolvedEvent,
  RecordedEvent as ClientEvent,
  EventData,
  JSONType,
  MetadataType,
  ResolvedEvent as StreamResolvedEvent
} from "@kurrent/kurrentdb-client"

/** An event to be appended. */
export interface EventToAppend {
  /** A UUID, by which a repeated append is recognised. Default: a new one. */
  readonly id?: string | undefined
  readonly type: string
  /** Bytes are kept as they are, all else as JSON: readable in the server's own UI, and in its projections. */
  readonly data: unknown
  /** Kept as JSON. Of appends to several streams it is a flat object of strings. */
  readonly metadata?: Readonly<Record<string, unknown>> | undefined
}

/** An event in its place. */
export interface RecordedEvent {
  readonly stream: string
  /** Its place in its stream: 0, 1, 2… */
  readonly revision: bigint
  /** Its place among all events: its commit position. Not known of links on old servers. */
  readonly position: bigint | undefined
  readonly id: string
  readonly type: string
  readonly isJson: boolean
  /** Parsed where it is JSON, otherwise bytes. */
  readonly data: unknown
  /** Parsed where it is JSON, otherwise bytes; `undefined` where there is none. */
  readonly metadata: unknown
  /** When the server recorded it; of reads to the second. */
  readonly created: Date
}

/** What a read finds in a place: an event, or a link that was followed to one, which may be gone. */
export interface ResolvedEvent {
  readonly event: RecordedEvent | undefined
  readonly link: RecordedEvent | undefined
}

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

/** What the client gives, of a stream or of all. */
export type ClientResolvedEvent = StreamResolvedEvent | AllStreamResolvedEvent

export const fromResolved = ({ event, link, commitPosition }: ClientResolvedEvent): ResolvedEvent => ({
  event: event === undefined ? undefined : fromClientEvent(event as ClientEvent, link ? undefined : commitPosition),
  link: link === undefined ? undefined : fromClientEvent(link as ClientEvent, commitPosition)
})
