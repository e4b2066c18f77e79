/** Converts the client's errors to the library's: calls fail with nothing else. */
import { ErrorType } from "@kurrent/kurrentdb-client"
import { messageOf } from "../../internal/errors/messageOf.ts"
import type { KurrentError } from "./KurrentError.ts"
import {
  KurrentFailure,
  KurrentUnavailable,
  MaximumSubscribersReached,
  PersistentSubscriptionDropped,
  PersistentSubscriptionExists,
  PersistentSubscriptionNotFound,
  StreamNotFound,
  StreamTombstoned,
  Unsupported,
  WrongExpectedRevision
} from "./KurrentError.ts"

/** What a call on a stream can fail with. */
export type CallError = KurrentError | StreamNotFound | StreamTombstoned | WrongExpectedRevision

/** Fields that the client's errors may have. */
interface Raw {
  /** Of errors that the client's batches throw; see {@link BATCH_ERRORS}. */
  readonly name?: unknown
  readonly type?: unknown
  readonly code?: unknown
  readonly streamName?: unknown
  readonly stream?: unknown
  readonly expectedState?: unknown
  readonly actualState?: unknown
  readonly maxAppendSize?: unknown
  readonly maxSize?: unknown
  readonly feature?: unknown
  readonly minimumVersion?: unknown
  readonly violations?: ReadonlyArray<Pick<Raw, "streamName" | "expectedState" | "actualState">>
  readonly leader?: { readonly address: string; readonly port: number }
}

/** Codes of gRPC. */
const CANCELLED = 1
const DEADLINE_EXCEEDED = 4
const RESOURCE_EXHAUSTED = 8
const FAILED_PRECONDITION = 9
const ABORTED = 10
const UNAVAILABLE = 14
const PERMISSION_DENIED = 7
const UNAUTHENTICATED = 16

/**
 * The messages of a node that is starting, is overloaded, or waits for the election of a leader. Batched appends report
 * them without a code, other calls sometimes with a meaningless one.
 */
const NOT_HANDLED = /server is (?:not ready|(?:too )?busy)|no leader info available|NotHandledReason/i

/** The client's batches throw plain errors, which only their names tell apart. */
const BATCH_ERRORS: ReadonlyMap<unknown, ErrorType> = new Map([
  ["StreamNotFoundError", ErrorType.STREAM_NOT_FOUND],
  ["StreamDeletedError", ErrorType.STREAM_DELETED],
  ["NotLeaderError", ErrorType.NOT_LEADER],
  ["AccessDeniedError", ErrorType.ACCESS_DENIED],
  ["UnavailableError", ErrorType.UNAVAILABLE],
  ["DeadlineExceededError", ErrorType.DEADLINE_EXCEEDED]
])

/** The type of an error, however the client has thrown it. */
const typeOf = ({ type, name }: Raw): unknown => type ?? BATCH_ERRORS.get(name)

/** The failure of a call on a stream (if it names none, `stream` is empty). */
export const toCallError = (operation: string, stream: string, cause: unknown): CallError => {
  const error = (typeof cause === "object" && cause !== null ? cause : {}) as Raw
  const name = textOf(error.streamName) ?? textOf(error.stream) ?? stream
  const message = messageOf(cause) || `${textOf(error.type) ?? "unknown"} error`
  const unavailable = (reason: string) => new KurrentUnavailable({ operation, reason, cause })
  const failure = (reason: string) => new KurrentFailure({ operation, reason, cause })
  switch (typeOf(error)) {
    case ErrorType.WRONG_EXPECTED_VERSION:
      return new WrongExpectedRevision({
        stream: name,
        expected: toExpected(error.expectedState),
        actual: toExpected(error.actualState)
      })
    case ErrorType.APPEND_CONSISTENCY_VIOLATION: {
      const [violation] = error.violations ?? []
      return new WrongExpectedRevision({
        stream: textOf(violation?.streamName) ?? stream,
        expected: toExpected(violation?.expectedState),
        actual: toExpected(violation?.actualState)
      })
    }
    case ErrorType.STREAM_NOT_FOUND:
    case ErrorType.NO_STREAM:
      return new StreamNotFound({ stream: name })
    case ErrorType.STREAM_DELETED:
    case ErrorType.STREAM_TOMBSTONED:
      return new StreamTombstoned({ stream: name })
    case ErrorType.NOT_LEADER:
      return unavailable(
        `the server is not the leader${error.leader === undefined ? "" : `; ${hostOf(error.leader)} is`}`
      )
    case ErrorType.UNAVAILABLE:
    case ErrorType.CANCELLED:
      return unavailable(message)
    case ErrorType.DEADLINE_EXCEEDED:
    case ErrorType.TIMEOUT:
      return unavailable(`the server did not answer in time (${message})`)
    case ErrorType.UNSUPPORTED:
      return failure(unsupported(error))
    case ErrorType.ACCESS_DENIED:
      return failure(accessDenied(message))
    case ErrorType.MAXIMUM_APPEND_SIZE_EXCEEDED:
    case ErrorType.TRANSACTION_MAX_SIZE_EXCEEDED:
    case ErrorType.APPEND_RECORD_SIZE_EXCEEDED:
      return failure(tooLarge(message, error.maxAppendSize ?? error.maxSize))
  }
  if (NOT_HANDLED.test(message)) return unavailable(message.replace("Could not recognize ", ""))
  // the client does not recognise the server's answer to appends to several streams
  if (error.code === FAILED_PRECONDITION && /\bleader\b/i.test(message)) return unavailable(message)
  if (message.includes("MaximumAppendEventSizeExceeded") || error.code === RESOURCE_EXHAUSTED)
    return failure(tooLarge(message))
  switch (error.code) {
    case CANCELLED:
    case DEADLINE_EXCEEDED:
    case ABORTED:
    case UNAVAILABLE:
      return unavailable(message)
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return failure(accessDenied(message))
  }
  return failure(message)
}

/** The failure of a call that names no stream. */
export const toKurrentError = (operation: string, cause: unknown): KurrentError => {
  const error = toCallError(operation, "", cause)
  return error._tag === "KurrentUnavailable" || error._tag === "KurrentFailure"
    ? error
    : new KurrentFailure({ operation, reason: error.message, cause })
}

/** An error of a kind that a call can fail with as it is; of another kind it is a failure that nobody expects. */
export const only =
  <Tag extends CallError["_tag"] = never>(operation: string, ...tags: ReadonlyArray<Tag>) =>
  (error: CallError): KurrentError | Extract<CallError, { readonly _tag: Tag }> =>
    isKurrentError(error) || tags.some((tag) => tag === error._tag)
      ? (error as KurrentError | Extract<CallError, { readonly _tag: Tag }>)
      : new KurrentFailure({ operation, reason: error.message, cause: error })

const isKurrentError = (error: CallError): error is KurrentError =>
  error._tag === "KurrentUnavailable" || error._tag === "KurrentFailure"

/** What the client threw, as far as it is known. */
const rawOf = (error: CallError): Raw =>
  isKurrentError(error) && typeof error.cause === "object" && error.cause !== null ? error.cause : {}

/** Whether the server knows the user and denies the rights, or does not know the user. */
export const isAccessDenied = (error: CallError): boolean => {
  if (error._tag !== "KurrentFailure") return false
  const raw = rawOf(error)
  return typeOf(raw) === ErrorType.ACCESS_DENIED || raw.code === PERMISSION_DENIED || raw.code === UNAUTHENTICATED
}

/** An error of a call that not every version of the server has. */
export const orUnsupported = <E extends CallError>(error: E): E | Unsupported => {
  const raw = rawOf(error)
  return raw.type === ErrorType.UNSUPPORTED && error._tag === "KurrentFailure"
    ? new Unsupported({
        operation: error.operation,
        reason: error.reason,
        since: textOf(raw.minimumVersion) ?? "a later version"
      })
    : error
}

/** What a call on a persistent subscription can fail with. */
export type GroupError =
  | CallError
  | PersistentSubscriptionExists
  | PersistentSubscriptionNotFound
  | MaximumSubscribersReached
  | PersistentSubscriptionDropped

/** An error of a call on a persistent subscription. */
export const toGroupError =
  (stream: string, group: string) =>
  (error: CallError): GroupError => {
    switch (rawOf(error).type) {
      case ErrorType.PERSISTENT_SUBSCRIPTION_EXISTS:
        return new PersistentSubscriptionExists({ stream, group })
      case ErrorType.PERSISTENT_SUBSCRIPTION_DOES_NOT_EXIST:
        return new PersistentSubscriptionNotFound({ stream, group })
      case ErrorType.MAXIMUM_SUBSCRIBERS_REACHED:
        return new MaximumSubscribersReached({ stream, group })
      case ErrorType.PERSISTENT_SUBSCRIPTION_DROPPED:
        return new PersistentSubscriptionDropped({ stream, group })
    }
    return error
  }

/** Why an older server can't do something; the client names features by its own methods. */
const unsupported = ({ feature, minimumVersion }: Raw): string => {
  const what =
    feature === "multiStreamAppend"
      ? "append to several streams at once"
      : feature === "appendRecords"
        ? "check streams that are not appended to, or mix the events of several streams"
        : `do ${textOf(feature) ?? "this"}`
  const minimum = textOf(minimumVersion)
  const needed = minimum === undefined ? "a later version of KurrentDB" : `KurrentDB ${minimum} or later`
  return `this server can't ${what}; that needs ${needed}`
}

const accessDenied = (message: string): string =>
  `access denied; check the user name, the password and the rights of the user (${message})`

const tooLarge = (message: string, limit?: unknown): string =>
  `the append is larger than the server accepts${limit === undefined ? "" : ` (${limit} bytes)`}; append fewer events at once, or smaller ones, or raise MaxAppendSize and MaxAppendEventSize of the server (${message})`

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" && value !== "unknown stream" ? value : undefined

const hostOf = ({ address, port }: { readonly address: string; readonly port: number }) => `${address}:${port}`

/** For deletes, the client passes on the server's numbers: -1 and -2. */
const toExpected = (state: unknown): WrongExpectedRevision["expected"] => {
  if (typeof state === "bigint" || typeof state === "number") {
    const revision = BigInt(state)
    if (revision >= 0n) return revision
    return revision === -1n ? "NoStream" : revision === -2n ? "Any" : "StreamExists"
  }
  return state === "no_stream" ? "NoStream" : state === "any" ? "Any" : "StreamExists"
}
