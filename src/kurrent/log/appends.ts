/** Appends to one stream and to several. */
import { Effect } from "effect"
import type { RecorderError, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { isRecorderError } from "../../EventSourcingError.ts"
import { assertDistinctStreams } from "../../internal/backend/exclusiveAppend.ts"
import { lastVersion } from "../../internal/backend/versions.ts"
import type { AppendedToStreams, Check, MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Append, Appended, ExpectedVersion, Recorder } from "../../Recorder.ts"
import type { StreamName } from "../../StreamName.ts"
import type { EventToAppend } from "../client/events.ts"
import { toClientEvent } from "../client/events.ts"
import { sameIgnoringCase } from "../client/sameIgnoringCase.ts"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import { toEvent, unstorable } from "./codec.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"
import { APPEND, deleted, failure, makeRefusals } from "./refusals.ts"

const WITHOUT_POSITION =
  "the server does not report the position of the append; the stream was deleted meanwhile, or the server is older than 22.6"

/** The server's form of an expected version. A version that no stream can have becomes a revision that none has. */
const toState = (expected: ExpectedVersion) =>
  expected === "NoStream"
    ? ("no_stream" as const)
    : Number.isSafeInteger(expected) && expected >= 0
      ? BigInt(expected)
      : 2n ** 62n

const firstOf = <A, B>(all: ReadonlyArray<A>, find: (element: A) => B | undefined): B | undefined => {
  for (const element of all) {
    const found = find(element)
    if (found !== undefined) return found
  }
  return undefined
}

/** An event for a stream of the server that is not one of the log, such as that of a tracking. */
export interface SideAppend {
  readonly stream: string
  readonly expected: "no_stream" | bigint
  readonly event: EventToAppend
}

/** What the server returns for an append to several streams: the position of the last event. */
export interface Sent {
  readonly position: bigint
  readonly responses?: ReadonlyArray<{ readonly streamName: string; readonly revision: bigint }>
}

export interface Appends {
  readonly append: Recorder["Service"]["append"]
  readonly appendToStreams: MultiStreamAppend["Service"]["append"]
  /** Why these can't be in one append, or `undefined` if they can. */
  readonly problemOfAll: (appends: ReadonlyArray<Append>, checks: ReadonlyArray<Check>) => string | undefined
  /**
   * Sends what {@link problemOfAll} has no problem with, after an event for another stream if there is one. An append
   * to a stream that was deleted is refused before.
   */
  readonly sendAll: (
    appends: ReadonlyArray<Append>,
    checks: ReadonlyArray<Check>,
    side?: SideAppend
  ) => Effect.Effect<Sent, CallError | RecorderError>
  /** The error of a refused append. */
  readonly refusal: (
    parts: ReadonlyArray<Check>,
    error: CallError
  ) => Effect.Effect<never, WrongExpectedVersion | RecorderError>
}

/** Appends to the streams with these names. */
export const make = (connection: Connection, names: Names, log: Log): Appends => {
  const problemOf = ({ stream, events }: Append): string | undefined =>
    names.problem(stream) ?? firstOf(events, unstorable)

  const { refuseDeleted, wrongVersion } = makeRefusals(names, log)

  const append = (request: Append): Effect.Effect<Appended, WrongExpectedVersion | RecorderError> =>
    Effect.suspend(() => {
      const problem = problemOf(request)
      if (problem !== undefined) return Effect.fail(failure(problem))
      const { stream, expected, events } = request
      const name = names.toServer(stream)
      const sent = Effect.matchEffect(
        connection.write(APPEND, name, (client) =>
          client.appendToStream(
            name,
            events.map((event) => toClientEvent(toEvent(event, true))),
            { streamState: toState(expected), deadline: connection.deadline }
          )
        ),
        {
          onFailure: (error) =>
            error._tag === "WrongExpectedRevision"
              ? wrongVersion(request, error)
              : Effect.fail(toAppendError(stream, error)),
          onSuccess: ({ nextExpectedRevision, position }) => {
            const version = Number(nextExpectedRevision)
            if (version !== lastVersion(request)) {
              return Effect.fail(failure(`${deleted(stream)}; the append was recorded at version ${version}`))
            }
            return position === undefined
              ? Effect.fail(failure(WITHOUT_POSITION))
              : Effect.succeed(withPositions(request, { version, position: fromStorage(position.commit) }))
          }
        }
      )
      return expected === "NoStream" ? Effect.andThen(refuseDeleted([request]), sent) : sent
    })

  const problemOfAll: Appends["problemOfAll"] = (appends, checks) =>
    firstOf(appends, problemOf) ?? sameIgnoringCase([...appends, ...checks])

  const sendAll: Appends["sendAll"] = (appends, checks, side) => {
    const requests = appends.map(({ stream, expected, events }) => ({
      streamName: names.toServer(stream),
      expectedState: toState(expected),
      events: events.map((event) => toClientEvent(toEvent(event, false)))
    }))
    if (side !== undefined) {
      // first, so that the position that the server returns is that of the last event of the log
      requests.unshift({
        streamName: side.stream,
        expectedState: side.expected,
        events: [toClientEvent(side.event)]
      })
    }
    const send = connection.write(APPEND, "", (client): Promise<Sent> => {
      if (checks.length === 0) return client.multiStreamAppend(requests)
      const checked = checks.map(({ stream, expected }) => ({
        streamName: names.toServer(stream),
        expectedState: toState(expected)
      }))
      return client.appendRecords(
        requests.flatMap(({ streamName, events }) => events.map((record) => ({ streamName, record }))),
        [...requests, ...checked].map(({ streamName, expectedState }) => ({
          type: "stream_state" as const,
          streamName,
          expectedState
        }))
      )
    })
    return Effect.andThen(refuseDeleted(appends), send)
  }

  const refusal: Appends["refusal"] = (parts, error) => {
    const part = "stream" in error ? parts.find(({ stream }) => names.toServer(stream) === error.stream) : undefined
    return error._tag === "WrongExpectedRevision" && part !== undefined
      ? wrongVersion(part, error)
      : Effect.fail(toAppendError(part?.stream, error))
  }

  const appendToStreams: Appends["appendToStreams"] = (appends, checks = []) =>
    Effect.suspend(() => {
      assertDistinctStreams(appends, checks)
      const problem = problemOfAll(appends, checks)
      if (problem !== undefined) return Effect.fail(failure(problem))
      return sendAll(appends, checks).pipe(
        Effect.catch((error) =>
          isRecorderError(error) ? Effect.fail(error) : refusal([...appends, ...checks], error)
        ),
        Effect.map(({ position }) => toAppended(appends, fromStorage(position)))
      )
    })

  return { append, appendToStreams, problemOfAll, sendAll, refusal }
}

/** {@link withPositions} of an append to several streams. */
export const toAppended = (appends: ReadonlyArray<Append>, position: Position): AppendedToStreams => {
  const appended = { versions: appends.map(lastVersion), position }
  const [only, ...others] = appends
  return only?.events.length === 1 && others.length === 0 ? { ...appended, positions: [[position]] } : appended
}

/** The server returns the position of the last event. That is the position of each only if there is one. */
const withPositions = ({ events }: Append, appended: Appended): Appended =>
  events.length === 1 ? { ...appended, positions: [appended.position] } : appended

/** `stream` is the stream of the log that the error is about, if it is about one. */
const toAppendError = (stream: StreamName | undefined, error: CallError): RecorderError =>
  error._tag === "StreamTombstoned"
    ? failure(`the stream "${stream ?? error.stream}" has a tombstone, so its name can't be used again; use another id`)
    : toRecorderError(APPEND, error)
