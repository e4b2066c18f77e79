/** Events as the older protocol represents them. */

import type { LogEvent, Resolved } from "./Log.ts"
import * as Log from "./Log.ts"
import type { Shared, Streams } from "./protocol.ts"
import { shared, streams } from "./protocol.ts"

/** Whether a client wants ids as text or as two numbers. */
export type Ids = "text" | "numbers"

export const uuid = (id: string, ids: Ids): Shared.UUID => {
  const value = new shared.UUID()
  if (ids === "text") {
    value.setString(id)
    return value
  }
  const hex = id.replaceAll("-", "")
  const half = (from: number) => String(BigInt.asIntN(64, BigInt(`0x${hex.slice(from, from + 16)}`)))
  const structured = new shared.UUID.Structured()
  structured.setMostSignificantBits(half(0))
  structured.setLeastSignificantBits(half(16))
  value.setStructured(structured)
  return value
}

/** The id in its usual form, or undefined if it is not one. */
export const uuidText = (value: Shared.UUID | undefined): string | undefined => {
  if (value === undefined) return undefined
  const structured = value.getStructured()
  const text =
    structured === undefined
      ? value.getString().toLowerCase()
      : [structured.getMostSignificantBits(), structured.getLeastSignificantBits()]
          .map((half) => BigInt.asUintN(64, BigInt(half)).toString(16).padStart(16, "0"))
          .join("")
          .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
  return /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/.test(text) ? text : undefined
}

export const streamIdentifier = (stream: string): Shared.StreamIdentifier => {
  const identifier = new shared.StreamIdentifier()
  identifier.setStreamName(Buffer.from(stream))
  return identifier
}

export const streamName = (identifier: Shared.StreamIdentifier | undefined): string =>
  identifier === undefined ? "" : Buffer.from(identifier.getStreamName_asU8()).toString()

/** The source of both kinds of recorded events: those of reads and those of persistent subscriptions. */
interface Recorded {
  setId(id: Shared.UUID): unknown
  setStreamIdentifier(identifier: Shared.StreamIdentifier): unknown
  setStreamRevision(revision: string): unknown
  setPreparePosition(position: string): unknown
  setCommitPosition(position: string): unknown
  getMetadataMap(): { set(key: string, value: string): unknown }
  setCustomMetadata(metadata: Uint8Array): unknown
  setData(data: Uint8Array): unknown
}

export const fill = <A extends Recorded>(target: A, event: LogEvent, ids: Ids): A => {
  const position = String(event.position)
  target.setId(uuid(event.id, ids))
  target.setStreamIdentifier(streamIdentifier(event.stream))
  target.setStreamRevision(Log.revisionText(event.revision))
  target.setPreparePosition(position)
  target.setCommitPosition(position)
  const metadata = target.getMetadataMap()
  metadata.set("type", event.type)
  metadata.set("created", String(event.created * 10_000))
  metadata.set("content-type", event.json ? "application/json" : "application/octet-stream")
  target.setCustomMetadata(event.metadata)
  target.setData(event.data)
  return target
}

/** A response that is in bytes already. */
class Encoded extends streams.ReadResp {
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    super()
    this.#bytes = bytes
  }

  override serializeBinary(): Uint8Array {
    return this.#bytes
  }
}

/** The encoded events: they are read again and again, and never change. */
const sent: Record<Ids, WeakMap<LogEvent, Encoded>> = { text: new WeakMap(), numbers: new WeakMap() }

export const readEvent = (resolved: Resolved, ids: Ids): Streams.ReadResp => {
  const { event, link } = resolved
  if (event === undefined || link !== undefined) return encodeEvent(resolved, ids)
  const known = sent[ids].get(event)
  if (known !== undefined) return known
  const encoded = new Encoded(encodeEvent(resolved, ids).serializeBinary())
  sent[ids].set(event, encoded)
  return encoded
}

const encodeEvent = ({ event, link }: Resolved, ids: Ids): Streams.ReadResp => {
  const read = new streams.ReadResp.ReadEvent()
  if (event !== undefined) read.setEvent(fill(new streams.ReadResp.ReadEvent.RecordedEvent(), event, ids))
  if (link !== undefined) read.setLink(fill(new streams.ReadResp.ReadEvent.RecordedEvent(), link, ids))
  read.setCommitPosition(String((link ?? event)!.position))
  const response = new streams.ReadResp()
  response.setEvent(read)
  return response
}
