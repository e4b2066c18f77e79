/** Reads of one stream and of $all, in both directions. */
import type * as Grpc from "@grpc/grpc-js"
import type { Context } from "./context.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import type { Filter } from "./filter.ts"
import { everything } from "./filter.ts"
import type { LogEvent } from "./Log.ts"
import * as Log from "./Log.ts"
import type { Streams } from "./protocol.ts"
import { streams } from "./protocol.ts"
import type { Sender } from "./Sender.ts"

export type ReadCall = Grpc.ServerWritableStream<Streams.ReadReq, Streams.ReadResp>

/** The parameters of every read. */
export interface Request {
  readonly backward: boolean
  readonly resolveLinks: boolean
  readonly ids: Encode.Ids
  /** Whether the client wants to know where the stream ends. */
  readonly compatibility: number
}

/** A position, or an end of the log. */
export type Position = "start" | "end" | { readonly commit: number; readonly prepare: number }

export const readStream = async (
  context: Context,
  sender: Sender,
  request: Request,
  stream: string,
  from: "start" | "end" | number,
  count: number
): Promise<Errors.Refusal | undefined> => {
  const { log } = context
  const found = log.find(stream)
  if (stream === "") return Errors.thrown
  if (count === 0 || (from === "end" && !request.backward)) return Errors.unknown("Unexpected ReadStreamResult: Error")
  if (found === "deleted") return Errors.streamDeleted(stream)
  if (found === "notFound") {
    const missing = new streams.ReadResp.StreamNotFound()
    missing.setStreamIdentifier(Encode.streamIdentifier(stream))
    const response = new streams.ReadResp()
    response.setStreamNotFound(missing)
    await sender.send(response)
    return undefined
  }
  const first = log.firstRevision(stream)
  const start = from === "start" ? 0 : from === "end" ? Number.POSITIVE_INFINITY : from
  const step = request.backward ? -1 : 1
  let revision = request.backward ? Math.min(start, log.lastRevision(stream)) : Math.max(start, first)
  const says = request.compatibility >= 1
  if (says && !request.backward && revision > log.lastRevision(stream) + 1) {
    const response = new streams.ReadResp()
    response.setFirstStreamPosition(String(log.lastRevision(stream) + 1))
    await sender.send(response)
  }
  for (let read = 0; read < count && revision >= first && revision <= log.lastRevision(stream); read += 1) {
    const event = log.eventAt(stream, revision)
    // a tombstone was appended during the read
    if (event === undefined || sender.closed) break
    const waits = sender.send(Encode.readEvent(resolved(log, event, request.resolveLinks), request.ids))
    if (waits !== undefined) await waits
    revision += step
  }
  if (says) {
    const response = new streams.ReadResp()
    response.setLastStreamPosition(Log.revisionText(log.lastRevision(stream)))
    await sender.send(response)
  }
  return undefined
}

export const readAll = async (
  context: Context,
  sender: Sender,
  request: Request,
  filter: Filter | undefined,
  from: Position,
  count: number
): Promise<Errors.Refusal | undefined> => {
  const { faults, log } = context
  const invalid = Errors.unknown(
    `Unexpected ${filter === undefined ? "ReadAllResult" : "FilteredReadAllResult"}: InvalidPosition`
  )
  const position = from === "start" ? { commit: 0, prepare: 0 } : from
  if (position !== "end" && position.prepare > position.commit) return Errors.thrown
  // the server would read empty pages forever
  if (count === 0) return sender.cancelled
  const wanted = filter ?? everything
  let index: number
  if (request.backward) {
    const start = position === "end" ? log.head : position.commit
    if (start > log.head || !log.isRecordStart(start)) return invalid
    index = log.indexFrom(start) - 1
    if (position === "end" && log.newest > 1 && faults.takePartialHead()) index -= 1
  } else {
    if (position === "end" || position.commit > log.lastPosition) return undefined
    if (!log.isRecordStart(position.commit)) return invalid
    index = log.indexFrom(position.commit)
  }
  const step = request.backward ? -1 : 1
  for (let read = 0; read < count && !sender.closed; index += step) {
    const event = log.events[index]
    if (event === undefined) break
    if (filter !== undefined) {
      const looks = faults.look()
      if (looks !== undefined) await looks
    }
    if (!wanted(event)) continue
    read += 1
    const waits = sender.send(Encode.readEvent(resolved(log, event, request.resolveLinks), request.ids))
    if (waits !== undefined) await waits
  }
  return undefined
}

export const resolved = (log: Log.Log, event: LogEvent, resolveLinks: boolean): Log.Resolved =>
  resolveLinks ? log.resolve(event) : { event, link: undefined }
