/** Appends to one stream, one at a time (`Append`) or many over one open call (`BatchAppend`). */
import type * as Grpc from "@grpc/grpc-js"
import type { Caller, Context } from "./context.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import type { Outcome, Proposed, Target } from "./Log.ts"
import * as Log from "./Log.ts"
import { oversized } from "./messageSize.ts"
import type { Shared, Status, Streams } from "./protocol.ts"
import { googleEmpty, shared, streams } from "./protocol.ts"

/** How long the server waits for the rest of an append. */
const writeTimeout = 2000

const emptyId = "00000000-0000-0000-0000-000000000000"

/** Writes unless a fault prevents it, and responds unless the connection is lost or the server never would. */
export const write = (
  context: Context,
  caller: Caller,
  kind: "appends" | "deletes",
  run: (log: Log.Log) => { readonly outcome: Outcome; readonly groups: ReadonlyArray<Log.Group> },
  answer: (outcome: Exclude<Outcome, { readonly result: "unanswerable" }>) => void,
  refuse: (refusal: Errors.Refusal) => void
): void => {
  const { faults, writer } = context
  const proceed = () => {
    if (kind === "appends" && faults.takeDropBeforeWrite()) return context.dropConnection(caller)
    writer.submit((log) => {
      const { groups, outcome } = run(log)
      return {
        groups,
        refused: outcome.result === "failed",
        repeated: outcome.result === "success" && groups.length === 0,
        giveUp: () => refuse(Errors.timedOut),
        answer: () => {
          if (kind === "appends" && faults.takeDropAfterWrite()) return context.dropConnection(caller)
          if (outcome.result !== "unanswerable") answer(outcome)
        }
      }
    })
  }
  faults.enter(kind, proceed, refuse)
}

/** The bytes by which the server measures an event. */
export const sizeOnDisk = ({ data, metadata, type }: Proposed): number =>
  data.length + metadata.length + 2 * type.length

/** Whether an older append failed because the stream is gone, and not because of its revision. */
export const isGone = ({ expected, softDeleted, tombstoned }: Log.Failure): boolean =>
  tombstoned || (softDeleted && expected === Log.streamExists)

interface ProposedMessage {
  getId(): Shared.UUID | undefined
  getMetadataMap(): { get(key: string): string | undefined }
  getCustomMetadata_asU8(): Uint8Array
  getData_asU8(): Uint8Array
}

type Read = { readonly event: Proposed } | { readonly refusal: Errors.Refusal }

const proposedOf = (message: ProposedMessage): Read => {
  const fields = message.getMetadataMap()
  const type = fields.get("type")
  const contentType = fields.get("content-type")
  if (type === undefined) return { refusal: Errors.requiredMetadataMissing("type") }
  if (contentType === undefined) return { refusal: Errors.requiredMetadataMissing("content-type") }
  const id = Encode.uuidText(message.getId())
  if (id === undefined || id === emptyId || type === "") return { refusal: Errors.thrown }
  return {
    event: {
      id,
      type,
      json: contentType === "application/json",
      data: message.getData_asU8(),
      metadata: message.getCustomMetadata_asU8()
    }
  }
}

const isStreamName = (name: string) => name !== "" && name !== "$$"

const toTarget = (stream: string, expected: number): ReadonlyArray<Target> => [{ stream, expected }]
const toEvents = (events: ReadonlyArray<Proposed>) => events.map((event) => ({ target: 0, event }))

export const append =
  (context: Context) =>
  (
    call: Grpc.ServerReadableStream<Streams.AppendReq, Streams.AppendResp>,
    callback: Grpc.sendUnaryData<Streams.AppendResp>
  ) => {
    let ended = false
    const refuse = (refusal: Errors.Refusal) => {
      if (!ended) callback(Errors.serviceError(refusal))
      ended = true
    }
    const denied = context.denies(call)
    if (denied !== undefined) return refuse(denied)

    const { maxAppendEventSize, maxAppendSize } = context.settings
    let options: Streams.AppendReq.Options | undefined
    const events: Array<Proposed> = []
    let size = 0
    call.on("data", (request: Streams.AppendReq) => {
      if (ended) return
      const tooLarge = oversized(request)
      if (tooLarge !== undefined) return refuse(tooLarge)
      const message = request.getProposedMessage()
      if (options === undefined || message === undefined) {
        if (options !== undefined || !request.hasOptions()) return refuse(Errors.thrown)
        options = request.getOptions()
        return
      }
      const read = proposedOf(message)
      if ("refusal" in read) return refuse(read.refusal)
      const its = sizeOnDisk(read.event)
      if (its > maxAppendEventSize) {
        return refuse(Errors.maximumAppendEventSizeExceeded(read.event.id, its, maxAppendEventSize))
      }
      size += its
      if (size > maxAppendSize) return refuse(Errors.maximumAppendSizeExceeded(maxAppendSize))
      events.push(read.event)
    })
    call.on("end", () => {
      if (ended) return
      if (options === undefined) return refuse(Errors.thrown)
      const stream = Encode.streamName(options.getStreamIdentifier())
      const expected = expectedRevision(options)
      if (expected === undefined) return refuse(Errors.invalidArgument("'None' is not a valid expected revision"))
      if (!isStreamName(stream)) return refuse(Errors.thrown)
      const deniedWrite = context.deniesWrite(call, stream)
      if (deniedWrite !== undefined) return refuse(deniedWrite)
      write(
        context,
        call,
        "appends",
        (log) => log.append(toTarget(stream, expected), toEvents(events)),
        (outcome) => {
          const failure = outcome.result === "failed" ? outcome.failures[0]! : undefined
          if (failure !== undefined && isGone(failure)) refuse(Errors.streamDeleted(stream))
          else callback(null, appendResponse(outcome))
        },
        refuse
      )
    })
  }

const expectedRevision = (options: Streams.AppendReq.Options): number | undefined => {
  if (options.hasRevision()) return Number(options.getRevision())
  if (options.hasNoStream()) return Log.noStream
  if (options.hasAny()) return Log.any
  return options.hasStreamExists() ? Log.streamExists : undefined
}

const appendResponse = (outcome: Exclude<Outcome, { readonly result: "unanswerable" }>): Streams.AppendResp => {
  const response = new streams.AppendResp()
  if (outcome.result === "failed") {
    const { actual, expected } = outcome.failures[0]!
    const wrong = new streams.AppendResp.WrongExpectedVersion()
    const empty = new shared.Empty()
    if (expected === Log.any) wrong.setExpectedAny(empty)
    else if (expected === Log.streamExists) wrong.setExpectedStreamExists(empty)
    else if (expected === Log.noStream) wrong.setExpectedNoStream(empty)
    else wrong.setExpectedRevision(String(expected))
    if (actual < 0) wrong.setCurrentNoStream(empty)
    else wrong.setCurrentRevision(Log.revisionText(actual))
    response.setWrongExpectedVersion(wrong)
    return response
  }
  const success = new streams.AppendResp.Success()
  const revision = outcome.revisions[0]!
  if (revision < 0) success.setNoStream(new shared.Empty())
  else success.setCurrentRevision(String(revision))
  if (outcome.position === undefined) {
    success.setNoPosition(new shared.Empty())
  } else {
    const position = new streams.AppendResp.Position()
    position.setCommitPosition(String(outcome.position))
    position.setPreparePosition(String(outcome.position))
    success.setPosition(position)
  }
  response.setSuccess(success)
  return response
}

/** A batched append, of which more may come. */
interface Pending {
  readonly stream: string
  readonly expected: number
  readonly events: Array<Proposed>
  size: number
  readonly timer: NodeJS.Timeout
}

export const batchAppend =
  (context: Context) =>
  (call: Grpc.ServerDuplexStream<Streams.BatchAppendReq, Streams.BatchAppendResp>): void => {
    const denied = context.denies(call)
    if (denied !== undefined) {
      call.emit("error", Errors.serviceError(denied))
      return
    }
    const { maxAppendEventSize, maxAppendSize } = context.settings
    const pending = new Map<string, Pending>()
    let unanswered = 0
    let ended = false

    const refuse = (refusal: Errors.Refusal) => {
      if (!ended) call.emit("error", Errors.serviceError(refusal))
      ended = true
    }
    const respond = (
      id: Shared.UUID | undefined,
      stream: string,
      fill: (response: Streams.BatchAppendResp) => unknown
    ) => {
      if (call.cancelled || ended) return
      const response = new streams.BatchAppendResp()
      response.setCorrelationId(id)
      response.setStreamIdentifier(Encode.streamIdentifier(stream))
      fill(response)
      call.write(response)
    }
    const fail = (id: Shared.UUID | undefined, stream: string, status: Status.Status) =>
      respond(id, stream, (response) => response.setError(status))

    const open = (request: Streams.BatchAppendReq, key: string) => {
      const options = request.getOptions()
      if (options === undefined || pending.has(key)) return
      const id = request.getCorrelationId()
      const stream = Encode.streamName(options.getStreamIdentifier())
      const patience = Math.min(writeTimeout, requestedTimeout(options))
      if (patience <= 0) return fail(id, stream, Errors.batch.timeout())
      const expected = expectedPosition(options)
      if (expected === undefined) return fail(id, stream, Errors.batch.badRequest("expected position"))
      const timer = setTimeout(() => {
        if (pending.delete(key)) fail(id, stream, Errors.batch.timeout())
      }, patience)
      timer.unref()
      pending.set(key, { stream, expected, events: [], size: 0, timer })
    }

    call.on("data", (request: Streams.BatchAppendReq) => {
      if (ended) return
      const tooLarge = oversized(request)
      if (tooLarge !== undefined) return refuse(tooLarge)
      const id = request.getCorrelationId()
      const key = Encode.uuidText(id) ?? ""
      open(request, key)
      const batch = pending.get(key)
      if (batch === undefined) return
      const { events, expected, stream, timer } = batch
      const giveUp = (status: Status.Status) => {
        clearTimeout(timer)
        pending.delete(key)
        fail(id, stream, status)
      }
      for (const message of request.getProposedMessagesList()) {
        const read = proposedOf(message)
        if ("refusal" in read) return giveUp(Errors.batch.badRequest(read.refusal.details))
        const size = sizeOnDisk(read.event)
        if (size > maxAppendEventSize) return giveUp(Errors.batch.maximumAppendEventSizeExceeded())
        batch.size += size
        events.push(read.event)
      }
      if (batch.size > maxAppendSize) return giveUp(Errors.batch.maximumAppendSizeExceeded(maxAppendSize))
      if (!request.getIsFinal()) return
      clearTimeout(timer)
      pending.delete(key)
      if (!isStreamName(stream)) return fail(id, stream, Errors.batch.badRequest("stream name"))
      if (context.deniesWrite(call, stream) !== undefined) return fail(id, stream, Errors.batch.accessDenied())
      unanswered += 1
      write(
        context,
        call,
        "appends",
        (log) => log.append(toTarget(stream, expected), toEvents(events)),
        (outcome) => {
          unanswered -= 1
          respond(id, stream, (response) => fillBatchResponse(response, stream, outcome))
          if (!ended && call.readableEnded && unanswered === 0) call.end()
        },
        (refusal) => {
          if (refusal.batch === undefined) return refuse(refusal)
          unanswered -= 1
          const isLate = refusal === Errors.timedOut
          fail(id, stream, isLate ? Errors.batch.timeout() : Errors.batch.notHandled(refusal.batch))
        }
      )
    })
    call.on("end", () => {
      if (!ended && unanswered === 0) call.end()
    })
  }

const requestedTimeout = (options: Streams.BatchAppendReq.Options): number => {
  const duration = options.getDeadline()
  if (duration !== undefined) return duration.getSeconds() * 1000 + duration.getNanos() / 1e6
  const deadline = options.getDeadline21100()
  return deadline === undefined ? Number.POSITIVE_INFINITY : deadline.toDate().getTime() - Date.now()
}

const expectedPosition = (options: Streams.BatchAppendReq.Options): number | undefined => {
  if (options.hasStreamPosition()) return Number(options.getStreamPosition())
  if (options.hasNoStream()) return Log.noStream
  if (options.hasAny()) return Log.any
  return options.hasStreamExists() ? Log.streamExists : undefined
}

const fillBatchResponse = (
  response: Streams.BatchAppendResp,
  stream: string,
  outcome: Exclude<Outcome, { readonly result: "unanswerable" }>
): void => {
  if (outcome.result === "failed") {
    const failure = outcome.failures[0]!
    response.setError(
      isGone(failure)
        ? Errors.batch.streamDeleted(stream)
        : Errors.batch.wrongExpectedVersion(failure.expected, failure.actual)
    )
    return
  }
  const success = new streams.BatchAppendResp.Success()
  const revision = outcome.revisions[0]!
  if (revision < 0) success.setNoStream(new googleEmpty.Empty())
  else success.setCurrentRevision(String(revision))
  if (outcome.position === undefined) {
    success.setNoPosition(new googleEmpty.Empty())
  } else {
    const position = new shared.AllStreamPosition()
    position.setCommitPosition(String(outcome.position))
    position.setPreparePosition(String(outcome.position))
    success.setPosition(position)
  }
  response.setSuccess(success)
}
