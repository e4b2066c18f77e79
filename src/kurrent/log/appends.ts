/** Appends to one stream and to several. */
import { Effect } from "effect"
import type { RecorderError, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { assertDistinctStreams } from "../../internal/backend/exclusiveAppend.ts"
import { lastVersion } from "../../internal/backend/versions.ts"
import type { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import { fromStorage } from "../../Position.ts"
import type { Append, Appended, ExpectedVersion, Recorder } from "../../Recorder.ts"
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

export interface Appends {
  readonly append: Recorder["Service"]["append"]
  readonly appendToStreams: MultiStreamAppend["Service"]["append"]
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

  const appendToStreams: Appends["appendToStreams"] = (appends, checks = []) =>
    Effect.suspend(() => {
      assertDistinctStreams(appends, checks)
      const parts = [...appends, ...checks]
      const problem = firstOf(appends, problemOf) ?? sameIgnoringCase(parts)
      if (problem !== undefined) return Effect.fail(failure(problem))
      const requests = appends.map(({ stream, expected, events }) => ({
        streamName: names.toServer(stream),
        expectedState: toState(expected),
        events: events.map((event) => toClientEvent(toEvent(event, false)))
      }))
      const send = connection.write(APPEND, "", (client) =>
        checks.length === 0
          ? client.multiStreamAppend(requests)
          : client.appendRecords(
              requests.flatMap(({ streamName, events }) => events.map((record) => ({ streamName, record }))),
              parts.map(({ stream, expected }) => ({
                type: "stream_state" as const,
                streamName: names.toServer(stream),
                expectedState: toState(expected)
              }))
            )
      )
      const refuse = (error: CallError) => {
        const part =
          error._tag === "WrongExpectedRevision"
            ? parts.find(({ stream }) => names.toServer(stream) === error.stream)
            : undefined
        return error._tag === "WrongExpectedRevision" && part !== undefined
          ? wrongVersion(part, error)
          : Effect.fail(toAppendError(parts[0]?.stream ?? "", error))
      }
      const sent = send.pipe(
        Effect.catch(refuse),
        Effect.map(({ position }) => {
          const appended = { versions: appends.map(lastVersion), position: fromStorage(position) }
          const [only, ...others] = appends
          return only.events.length === 1 && others.length === 0
            ? { ...appended, positions: [[appended.position]] }
            : appended
        })
      )
      return Effect.andThen(refuseDeleted(appends), sent)
    })

  return { append, appendToStreams }
}

/** The server returns the position of the last event. That is the position of each only if there is one. */
const withPositions = ({ events }: Append, appended: Appended): Appended =>
  events.length === 1 ? { ...appended, positions: [appended.position] } : appended

const toAppendError = (stream: string, error: CallError): RecorderError =>
  error._tag === "StreamTombstoned"
    ? failure(`the stream "${stream}" has a tombstone, so its name can't be used again; use another id`)
    : toRecorderError(APPEND, error)
