/** Appends to one stream and to several. */
import { Effect, Schedule } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { assertDistinctStreams } from "../../internal/backend/exclusiveAppend.ts"
import { lastVersion } from "../../internal/backend/versions.ts"
import type { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import { fromStorage } from "../../Position.ts"
import type { Append, Appended, ExpectedVersion, Recorder } from "../../Recorder.ts"
import type { StreamName } from "../../StreamName.ts"
import { toClientEvent } from "../client/events.ts"
import { alikeStreams } from "../client/sameIgnoringCase.ts"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import type { WrongExpectedRevision } from "../connection/KurrentError.ts"
import { toEvent, unstorable } from "./codec.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"

const APPEND = "append"

const WITHOUT_POSITION =
  "the server does not report the position of the append; the stream was deleted meanwhile, or the server is older than 22.6"

/** For how long, and how often, to look for the events that caused a refusal before they are taken to be hidden. */
const SOON = Schedule.upTo(Schedule.exponential("10 millis"), { duration: "2 seconds" })

const failure = (reason: string): RecorderFailure => new RecorderFailure({ operation: APPEND, reason })

/** The server's form of an expected version. A version that no stream can have becomes a revision that none has. */
const toState = (expected: ExpectedVersion) =>
  expected === "NoStream"
    ? ("no_stream" as const)
    : Number.isSafeInteger(expected) && expected >= 0
      ? BigInt(expected)
      : 2n ** 62n

const firstOf = <A, B>(all: ReadonlyArray<A>, find: (one: A) => B | undefined): B | undefined => {
  for (const one of all) {
    const found = find(one)
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

  /** The version of a stream. A deleted stream has none, although the server continues its numbering. */
  const actualVersion = (stream: StreamName) =>
    Effect.map(
      log.readStream({ stream, direction: "backward", limit: 1 }),
      ([last]): ExpectedVersion => last?.version ?? "NoStream"
    )

  const metadataOf = (stream: StreamName) =>
    Effect.map(
      log.readServerStream(`$$${names.toServer(stream)}`, { direction: "backward", from: "end", limit: 1 }),
      ([last]): Rules => rulesOf(last?.event?.data)
    )

  /**
   * Decides what a refused append fails with. A writer that begins a stream has seen no events of it, and if none will
   * ever be readable, retrying would never end. The events that caused the refusal may become readable a moment after
   * it, so a read alone does not decide; the refusal together with what the stream's metadata hides does.
   */
  const wrongVersion = (
    { stream, expected }: Pick<Append, "stream" | "expected">,
    { actual }: WrongExpectedRevision
  ): Effect.Effect<never, WrongExpectedVersion | RecorderError> => {
    const wrong = (actual: ExpectedVersion) => Effect.fail(new WrongExpectedVersion({ stream, expected, actual }))
    if (actual === "NoStream") return wrong(actual)
    if (typeof actual === "bigint" && expected !== "NoStream") return wrong(Number(actual))
    return Effect.gen(function* () {
      const { begins, isAged } = yield* metadataOf(stream)
      if (typeof actual === "bigint" && actual < begins) return yield* Effect.fail(failure(deleted(stream)))
      if (typeof actual === "bigint" && !isAged) return yield* wrong(Number(actual))
      // the events are too old to be visible, or not visible yet
      const found = yield* Effect.repeat(actualVersion(stream), {
        schedule: SOON,
        while: (found) => found === "NoStream"
      })
      return yield* found === "NoStream" ? Effect.fail(failure(deleted(stream))) : wrong(found)
    })
  }

  /**
   * A deleted stream continues its numbering when it is appended to: its first event would be one in the middle, based
   * on a state that nobody knows.
   */
  const refuseDeleted = (appends: ReadonlyArray<Append>): Effect.Effect<void, RecorderError> =>
    Effect.forEach(
      appends.filter(({ expected }) => expected === "NoStream"),
      ({ stream }) =>
        Effect.flatMap(metadataOf(stream), ({ begins }) =>
          begins > 0n ? Effect.fail(failure(deleted(stream))) : Effect.void
        ),
      { concurrency: 16, discard: true }
    )

  const append = (one: Append): Effect.Effect<Appended, WrongExpectedVersion | RecorderError> =>
    Effect.suspend(() => {
      const problem = problemOf(one)
      if (problem !== undefined) return Effect.fail(failure(problem))
      const { stream, expected, events } = one
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
              ? wrongVersion(one, error)
              : Effect.fail(toAppendError(stream, error)),
          onSuccess: ({ nextExpectedRevision, position }) => {
            const version = Number(nextExpectedRevision)
            if (version !== lastVersion(one)) {
              return Effect.fail(failure(`${deleted(stream)}; the append was recorded at version ${version}`))
            }
            return position === undefined
              ? Effect.fail(failure(WITHOUT_POSITION))
              : Effect.succeed(withPositions(one, { version, position: fromStorage(position.commit) }))
          }
        }
      )
      return expected === "NoStream" ? Effect.andThen(refuseDeleted([one]), sent) : sent
    })

  const appendToStreams: Appends["appendToStreams"] = (appends, checks = []) =>
    Effect.suspend(() => {
      assertDistinctStreams(appends, checks)
      const parts = [...appends, ...checks]
      const problem = firstOf(appends, problemOf) ?? alikeStreams(parts)
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

const deleted = (stream: string): string =>
  `the stream "${stream}" was deleted or truncated on the server, where its versions continue after the deleted ones; use another id`

/** The server returns the position of the last event. That is the position of each only if there is one. */
const withPositions = ({ events }: Append, appended: Appended): Appended =>
  events.length === 1 ? { ...appended, positions: [appended.position] } : appended

const toAppendError = (stream: string, error: CallError): RecorderError =>
  error._tag === "StreamTombstoned"
    ? failure(`the stream "${stream}" has a tombstone, so its name can't be used again; use another id`)
    : toRecorderError(APPEND, error)

/** What the metadata of a stream hides of the stream. */
interface Rules {
  /** The first revision that can be read. */
  readonly begins: bigint
  /** Whether events are hidden once they reach an age. */
  readonly isAged: boolean
}

const rulesOf = (metadata: unknown): Rules => {
  const { $tb, $maxAge }: { readonly $tb?: unknown; readonly $maxAge?: unknown } =
    typeof metadata === "object" && metadata !== null ? metadata : {}
  return {
    begins: typeof $tb === "number" && Number.isInteger($tb) && $tb > 0 ? BigInt($tb) : 0n,
    isAged: $maxAge !== undefined
  }
}
