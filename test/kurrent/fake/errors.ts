/** The errors of the server: gRPC codes with trailers, or a `google.rpc.Status` with details. */
import * as Grpc from "@grpc/grpc-js"
import * as Log from "./Log.ts"
import type { ErrorsV2, Status } from "./protocol.ts"
import { errorsV2, googleAny, googleEmpty, shared, status } from "./protocol.ts"

/** An error with which a call ends. */
export interface Refusal {
  readonly code: Grpc.status
  readonly details: string
  readonly trailers?: Readonly<Record<string, string | Buffer>>
  /** The form of the newer protocol, if it differs. */
  readonly v2?: Refusal
  /** The form for one of the batched appends, if the others continue. */
  readonly batch?: string
}

/** The form in which grpc-js accepts an error. */
export const serviceError = ({ code, details, trailers }: Refusal): Grpc.ServiceError => {
  const metadata = new Grpc.Metadata()
  for (const [key, value] of Object.entries(trailers ?? {})) metadata.set(key, value)
  return Object.assign(new Error(details), { code, details, metadata })
}

const refusal = (code: Grpc.status, details: string, trailers?: Readonly<Record<string, string | Buffer>>): Refusal =>
  trailers === undefined ? { code, details } : { code, details, trailers }

/** A name in a trailer, which HTTP allows in ASCII only. */
const ascii = (name: string) => name.replace(/[^\x20-\x7e]/g, "?")

export const invalidArgument = (details: string) => refusal(Grpc.status.INVALID_ARGUMENT, details)
export const unknown = (details: string) => refusal(Grpc.status.UNKNOWN, details)
/** What the server's framework reports of an uncaught exception. */
export const thrown = unknown("Exception was thrown by handler.")
export const unavailable = (details: string) => refusal(Grpc.status.UNAVAILABLE, details)

export const accessDenied = refusal(Grpc.status.PERMISSION_DENIED, "Access Denied", { exception: "access-denied" })
export const unauthenticated = refusal(Grpc.status.UNAUTHENTICATED, "Bad credentials")

export const notLeader = (host: string, port: number): Refusal => ({
  ...refusal(Grpc.status.NOT_FOUND, "Leader info available", {
    exception: "not-leader",
    "leader-endpoint-host": host,
    "leader-endpoint-port": String(port)
  }),
  // with details of a kind that the client does not know
  v2: refusal(
    Grpc.status.FAILED_PRECONDITION,
    `The server is not the leader node and cannot handle the request. Please retry your request against the leader node directly at ${host}:${port}`
  )
})

/** Why a node refuses all requests: it is starting, it is too busy, or the cluster is electing a leader. */
export type NotHandled = "starting" | "busy" | "electing"

export const notHandled: Readonly<Record<NotHandled, Refusal>> = {
  starting: {
    ...refusal(Grpc.status.UNAVAILABLE, "Server Is Not Ready"),
    batch: "Server Is Not Ready",
    v2: refusal(
      Grpc.status.UNAVAILABLE,
      "The server is not yet ready to handle requests. Please try again after 3 seconds."
    )
  },
  busy: {
    ...refusal(Grpc.status.UNAVAILABLE, "Server Is Too Busy"),
    batch: "Server Is Busy",
    v2: refusal(
      Grpc.status.UNAVAILABLE,
      "The server is currently overloaded and cannot handle the request. Please try again after 5 seconds."
    )
  },
  electing: {
    ...refusal(Grpc.status.UNKNOWN, "No leader info available in response"),
    batch: "No leader info available in response",
    v2: refusal(Grpc.status.INTERNAL, "Append failed to process callback message")
  }
}

/** A write that took too long. */
export const timedOut: Refusal = {
  ...refusal(Grpc.status.ABORTED, "Operation timed out: Commit timeout"),
  batch: "Timeout",
  v2: refusal(Grpc.status.DEADLINE_EXCEEDED, "Operation timed out. Please try again after 3 seconds.")
}

export const streamDeleted = (stream: string) =>
  refusal(Grpc.status.FAILED_PRECONDITION, `Event stream '${stream}' is deleted.`, {
    exception: "stream-deleted",
    "stream-name": ascii(stream)
  })

export const wrongExpectedVersion = (operation: string, stream: string, expected: number, actual: number) =>
  refusal(
    Grpc.status.FAILED_PRECONDITION,
    `${operation} failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${expected}, Actual version: ${actual}`,
    {
      exception: "wrong-expected-version",
      "stream-name": ascii(stream),
      "expected-version": String(expected),
      "actual-version": String(actual)
    }
  )

export const maximumAppendSizeExceeded = (maximum: number) =>
  refusal(Grpc.status.INVALID_ARGUMENT, `Maximum Append Size of ${maximum} Exceeded.`, {
    exception: "maximum-append-size-exceeded",
    "maximum-append-size": String(maximum)
  })

export const maximumAppendEventSizeExceeded = (id: string, size: number, maximum: number) =>
  refusal(
    Grpc.status.INVALID_ARGUMENT,
    `Event with Id: ${id}, Size: ${size}, exceeds Maximum Append Event Size of ${maximum}.`,
    {
      exception: "maximum-append-event-size-exceeded",
      "event-id": id,
      "proposed-append-event-size": String(size),
      "maximum-append-event-size": String(maximum)
    }
  )

export const requiredMetadataMissing = (property: string) =>
  refusal(Grpc.status.INVALID_ARGUMENT, `Required Metadata Property '${property}' is missing`, {
    exception: "missing-required-metadata-property",
    "required-metadata-properties": "type,content-type"
  })

export const messageTooLarge = (size: number, maximum: number) =>
  refusal(
    Grpc.status.RESOURCE_EXHAUSTED,
    `Received message exceeds the maximum configured message size. (${size} vs. ${maximum})`
  )

export const persistentSubscription = {
  doesNotExist: (stream: string, group: string) =>
    ofGroup(Grpc.status.NOT_FOUND, "does not exist.", "persistent-subscription-does-not-exist", stream, group),
  exists: (stream: string, group: string) =>
    ofGroup(Grpc.status.ALREADY_EXISTS, "exists.", "persistent-subscription-exists", stream, group),
  dropped: (stream: string, group: string) =>
    ofGroup(Grpc.status.CANCELLED, "was dropped.", "persistent-subscription-dropped", stream, group),
  maximumSubscribers: (stream: string, group: string) =>
    refusal(
      Grpc.status.FAILED_PRECONDITION,
      `Maximum subscriptions reached for subscription group ${group} on stream ${stream}.`,
      { exception: "maximum-subscribers-reached", "stream-name": ascii(stream), "group-name": ascii(group) }
    )
}

const ofGroup = (code: Grpc.status, what: string, exception: string, stream: string, group: string) =>
  refusal(code, `Subscription group ${group} on stream ${stream} ${what}`, {
    exception,
    "stream-name": ascii(stream),
    "group-name": ascii(group)
  })

interface Serializable {
  serializeBinary(): Uint8Array
}

const statusOf = (code: number, message: string, details: Serializable, type: string): Status.Status => {
  const packed = new googleAny.Any()
  packed.pack(details.serializeBinary(), type)
  const value = new status.Status()
  value.setCode(code as Parameters<Status.Status["setCode"]>[0])
  value.setMessage(message)
  value.setDetails(packed)
  return value
}

/** The errors within the responses to batched appends. */
export const batch = {
  wrongExpectedVersion: (expected: number, actual: number) => {
    const details = new shared.WrongExpectedVersion()
    const empty = new googleEmpty.Empty()
    if (actual < 0) details.setCurrentNoStream(empty)
    else details.setCurrentStreamRevision(Log.revisionText(actual))
    if (expected === Log.any) details.setExpectedAny(empty)
    else if (expected === Log.streamExists) details.setExpectedStreamExists(empty)
    else if (expected === Log.noStream) details.setExpectedNoStream(empty)
    else details.setExpectedStreamPosition(String(expected))
    return statusOf(
      Grpc.status.FAILED_PRECONDITION,
      "WrongExpectedVersion",
      details,
      "event_store.client.WrongExpectedVersion"
    )
  },
  streamDeleted: (stream: string) => {
    const identifier = new shared.StreamIdentifier()
    identifier.setStreamName(Buffer.from(stream))
    const details = new shared.StreamDeleted()
    details.setStreamIdentifier(identifier)
    return statusOf(Grpc.status.FAILED_PRECONDITION, "StreamDeleted", details, "event_store.client.StreamDeleted")
  },
  timeout: () => statusOf(Grpc.status.DEADLINE_EXCEEDED, "Timeout", new shared.Timeout(), "event_store.client.Timeout"),
  accessDenied: () =>
    statusOf(
      Grpc.status.PERMISSION_DENIED,
      "Access Denied",
      new shared.AccessDenied(),
      "event_store.client.AccessDenied"
    ),
  maximumAppendSizeExceeded: (maximum: number) => {
    const details = new shared.MaximumAppendSizeExceeded()
    details.setMaxappendsize(maximum)
    return statusOf(
      Grpc.status.INVALID_ARGUMENT,
      "MaximumAppendSizeExceeded",
      details,
      "event_store.client.MaximumAppendSizeExceeded"
    )
  },
  maximumAppendEventSizeExceeded: () =>
    statusOf(
      Grpc.status.INVALID_ARGUMENT,
      "MaximumAppendEventSizeExceeded",
      new shared.Empty(),
      "event_store.client.MaximumAppendEventSizeExceeded"
    ),
  badRequest: (message: string) => {
    const details = new shared.BadRequest()
    details.setMessage(message)
    return statusOf(Grpc.status.INVALID_ARGUMENT, "BadRequest", details, "event_store.client.BadRequest")
  },
  of: ({ code, details }: Refusal) => statusOf(code, details, new shared.Unknown(), "event_store.client.Unknown"),
  /** Without a code, and with empty details. */
  notHandled: (message: string) => statusOf(Grpc.status.OK, message, new googleEmpty.Empty(), "google.protobuf.Empty")
}

const detailed = (code: Grpc.status, message: string, details: Serializable, type: string) =>
  refusal(code, message, {
    "grpc-status-details-bin": Buffer.from(
      statusOf(code, message, details, `kurrentdb.protocol.v2.streams.errors.${type}`).serializeBinary()
    )
  })

/** What a check expected and what it found, for an `AppendRecords` that was refused. */
export interface Violation {
  readonly check: number
  readonly stream: string
  readonly expected: number
  readonly actual: number
}

/** The errors of the newer protocol. */
export const v2 = {
  revisionConflict: (stream: string, expected: number, actual: number) => {
    const details = new errorsV2.StreamRevisionConflictErrorDetails()
    details.setStream(stream)
    details.setExpectedRevision(String(expected))
    details.setActualRevision(String(actual))
    return detailed(
      Grpc.status.FAILED_PRECONDITION,
      `Append failed due to a revision conflict on stream '${stream}'. Expected revision: ${expected}. Actual revision: ${actual}.`,
      details,
      "StreamRevisionConflictErrorDetails"
    )
  },
  tombstoned: (stream: string) => {
    const details = new errorsV2.StreamTombstonedErrorDetails()
    details.setStream(stream)
    return detailed(
      Grpc.status.FAILED_PRECONDITION,
      `Stream '${stream}' has been tombstoned. It has been permanently removed from the system and cannot be restored.`,
      details,
      "StreamTombstonedErrorDetails"
    )
  },
  alreadyInSession: (stream: string) => {
    const details = new errorsV2.StreamAlreadyInAppendSessionErrorDetails()
    details.setStream(stream)
    return detailed(
      Grpc.status.ABORTED,
      `Stream '${stream}' is already part of this append session. Appending to the same stream multiple times is currently not supported.`,
      details,
      "StreamAlreadyInAppendSessionErrorDetails"
    )
  },
  noRequests: refusal(
    Grpc.status.FAILED_PRECONDITION,
    "Append session started, but no append requests were sent before ending the session."
  ),
  recordTooLarge: (stream: string, recordId: string, size: number, maximum: number) => {
    const details = new errorsV2.AppendRecordSizeExceededErrorDetails()
    details.setStream(stream)
    details.setRecordId(recordId)
    details.setSize(size)
    details.setMaxSize(maximum)
    return detailed(
      Grpc.status.INVALID_ARGUMENT,
      `The size of record ${recordId} (${size}) exceeds the maximum allowed size of ${maximum} bytes by ${size - maximum}`,
      details,
      "AppendRecordSizeExceededErrorDetails"
    )
  },
  transactionTooLarge: (size: number, maximum: number) => {
    const details = new errorsV2.AppendTransactionSizeExceededErrorDetails()
    details.setSize(size)
    details.setMaxSize(maximum)
    return detailed(
      Grpc.status.ABORTED,
      `The total size of the append transaction (${size}) exceeds the maximum allowed size of ${maximum} bytes by ${size - maximum}`,
      details,
      "AppendTransactionSizeExceededErrorDetails"
    )
  },
  consistencyViolation: (violations: ReadonlyArray<Violation>) => {
    const details = new errorsV2.AppendConsistencyViolationErrorDetails()
    details.setViolationsList(violations.map(violationOf))
    return detailed(
      Grpc.status.FAILED_PRECONDITION,
      "Append failed due to consistency violations.",
      details,
      "AppendConsistencyViolationErrorDetails"
    )
  }
}

const violationOf = ({ actual, check, expected, stream }: Violation): ErrorsV2.ConsistencyViolation => {
  const state = new errorsV2.ConsistencyViolation.StreamStateViolation()
  state.setStream(stream)
  state.setExpectedState(String(expected))
  state.setActualState(String(actual))
  const violation = new errorsV2.ConsistencyViolation()
  violation.setCheckIndex(check)
  violation.setStreamState(state)
  return violation
}
