/** Appends and deletes. */
import { Effect } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import { only, orUnsupported } from "../connection/errors.ts"
import type { KurrentError, StreamTombstoned, Unsupported } from "../connection/KurrentError.ts"
import { KurrentFailure, StreamNotFound, WrongExpectedRevision } from "../connection/KurrentError.ts"
import type { EventToAppend } from "./events.ts"
import { toClientEvent, unappendable, unappendableToStreams } from "./events.ts"
import { currentRevision, positionOf } from "./reads.ts"
import { repeatedStream, sameIgnoringCase } from "./sameIgnoringCase.ts"
import type { ExpectedRevision } from "./values.ts"
import * as Values from "./values.ts"

/** What an append returns. */
export interface Appended {
  /** The revision of the last event. */
  readonly revision: bigint
  /** The position of the last event. */
  readonly position: bigint
}

/** What is appended to one of several streams. */
export interface StreamAppend {
  readonly stream: string
  readonly expected: ExpectedRevision
  readonly events: ReadonlyArray<EventToAppend>
}

/** An event that is appended among events of other streams. */
export interface RecordToAppend extends EventToAppend {
  readonly stream: string
}

/** Where a stream has to be, whether it is appended to or not. */
export interface Check {
  readonly stream: string
  readonly expected: Exclude<ExpectedRevision, "Any">
}

/** What an append to several streams returns. */
export interface AppendedToStreams {
  /** The position of the last event. */
  readonly position: bigint
  /** The revision of the last event in each stream that was appended to. */
  readonly revisions: ReadonlyMap<string, bigint>
}

/** What a delete returns. */
export interface Deleted {
  /** The position of the delete in the total order; `undefined` if the server does not report it. */
  readonly position: bigint | undefined
}

/** What an append can fail with. */
export type AppendError = KurrentError | WrongExpectedRevision | StreamTombstoned

const APPEND = "append"
const narrow = only(APPEND, "WrongExpectedRevision", "StreamTombstoned")

const firstProblem = <A>(all: ReadonlyArray<A>, problemOf: (element: A) => string | undefined): string | undefined => {
  for (const element of all) {
    const problem = problemOf(element)
    if (problem !== undefined) return problem
  }
  return undefined
}

const problemOfRepeated = (parts: ReadonlyArray<{ readonly stream: string }>, what: string): string | undefined => {
  const repeated = repeatedStream(parts)
  return repeated === undefined ? undefined : `"${repeated}" is ${what} twice in one append`
}

const NOTHING = "there are no events to append"

/** Events without an id get one here, once for all attempts. */
export const append = (
  connection: Connection,
  stream: string,
  events: ReadonlyArray<EventToAppend>,
  { expected }: { readonly expected: ExpectedRevision }
): Effect.Effect<Appended, AppendError> => {
  const problem =
    Values.streamProblem(stream) ??
    Values.expectedProblem(expected) ??
    (events.length === 0 ? NOTHING : undefined) ??
    firstProblem(events, unappendable)
  if (problem !== undefined) return Effect.fail(new KurrentFailure({ operation: APPEND, reason: problem }))
  const sent = events.map(toClientEvent)
  const send = connection.write(APPEND, stream, (client) =>
    client.appendToStream(stream, sent, { streamState: Values.toState(expected), deadline: connection.deadline })
  )
  return send.pipe(
    Effect.mapError(narrow),
    Effect.catchTag("StreamTombstoned", (error) =>
      expected === "StreamExists" ? orSoftDeleted(connection, stream, error) : Effect.fail(error)
    ),
    Effect.flatMap(({ nextExpectedRevision, position }) =>
      Effect.map(positionOf(APPEND, position?.commit), (position) => ({ revision: nextExpectedRevision, position }))
    )
  )
}

/** The server refuses a deleted stream that is expected to exist as if it had a tombstone. */
const orSoftDeleted = (
  connection: Connection,
  stream: string,
  error: StreamTombstoned
): Effect.Effect<never, AppendError> =>
  Effect.flatMap(currentRevision(connection, stream), (actual) =>
    Effect.fail(actual === "NoStream" ? new WrongExpectedRevision({ stream, expected: "StreamExists", actual }) : error)
  )

const toMany = (answer: {
  readonly position: bigint
  readonly responses?: ReadonlyArray<{ readonly streamName: string; readonly revision: bigint }>
}): AppendedToStreams => ({
  position: answer.position,
  revisions: new Map(answer.responses?.map(({ streamName, revision }) => [streamName, revision]))
})

const narrowMany = (error: CallError): AppendError | Unsupported => {
  const supported = orUnsupported(error)
  return supported._tag === "Unsupported" ? supported : narrow(supported)
}

export const appendToStreams = (
  connection: Connection,
  appends: ReadonlyArray<StreamAppend>
): Effect.Effect<AppendedToStreams, AppendError | Unsupported> => {
  const problem =
    (appends.length === 0 ? NOTHING : undefined) ??
    firstProblem(
      appends,
      ({ stream, expected, events }) =>
        Values.streamProblem(stream) ??
        Values.expectedProblem(expected) ??
        (events.length === 0 ? `${NOTHING} to "${stream}"` : firstProblem(events, unappendableToStreams))
    ) ??
    problemOfRepeated(appends, "appended to") ??
    sameIgnoringCase(appends)
  if (problem !== undefined) return Effect.fail(new KurrentFailure({ operation: APPEND, reason: problem }))
  const requests = appends.map(({ stream, expected, events }) => ({
    streamName: stream,
    expectedState: Values.toState(expected),
    events: events.map(toClientEvent)
  }))
  return connection
    .write(APPEND, "", (client) => client.multiStreamAppend(requests))
    .pipe(Effect.mapError(narrowMany), Effect.map(toMany))
}

export const appendRecords = (
  connection: Connection,
  records: ReadonlyArray<RecordToAppend>,
  checks: ReadonlyArray<Check>
): Effect.Effect<AppendedToStreams, AppendError | Unsupported> => {
  const problem =
    (records.length === 0 ? NOTHING : undefined) ??
    firstProblem(records, (record) => Values.streamProblem(record.stream) ?? unappendableToStreams(record)) ??
    firstProblem(checks, ({ stream, expected }) => Values.streamProblem(stream) ?? Values.expectedProblem(expected)) ??
    problemOfRepeated(checks, "checked") ??
    sameIgnoringCase([...records, ...checks])
  if (problem !== undefined) return Effect.fail(new KurrentFailure({ operation: APPEND, reason: problem }))
  const sent = records.map((record) => ({ streamName: record.stream, record: toClientEvent(record) }))
  const conditions = checks.map(({ stream, expected }) => ({
    type: "stream_state" as const,
    streamName: stream,
    expectedState: Values.toState(expected)
  }))
  return connection
    .write(APPEND, "", (client) => client.appendRecords(sent, conditions))
    .pipe(Effect.mapError(narrowMany), Effect.map(toMany))
}

/** What a delete can fail with. */
export type DeleteError = KurrentError | StreamNotFound | StreamTombstoned | WrongExpectedRevision

/** How a stream is deleted. */
export interface DeleteOptions {
  /** Where the stream has to be. Default `Any`: it only has to exist. */
  readonly expected?: "Any" | bigint | undefined
}

const remove =
  (operation: "delete a stream" | "tombstone a stream") =>
  (
    connection: Connection,
    stream: string,
    { expected = "Any" }: DeleteOptions = {}
  ): Effect.Effect<Deleted, DeleteError> => {
    const problem = Values.streamProblem(stream) ?? Values.expectedProblem(expected)
    if (problem !== undefined) return Effect.fail(new KurrentFailure({ operation, reason: problem }))
    const options = {
      expectedRevision: expected === "Any" ? ("any" as const) : expected,
      deadline: connection.deadline
    }
    return connection
      .write(operation, stream, (client) =>
        operation === "delete a stream" ? client.deleteStream(stream, options) : client.tombstoneStream(stream, options)
      )
      .pipe(
        Effect.mapError(only(operation, "WrongExpectedRevision", "StreamNotFound", "StreamTombstoned")),
        Effect.catchTag(
          "WrongExpectedRevision",
          (error): Effect.Effect<never, DeleteError> =>
            Effect.fail(expected === "Any" && error.actual === "NoStream" ? new StreamNotFound({ stream }) : error)
        ),
        Effect.map(({ position }) => ({ position: position?.commit }))
      )
  }

export const deleteStream = remove("delete a stream")
export const tombstoneStream = remove("tombstone a stream")
