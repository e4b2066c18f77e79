/** Why an append to a stream was, or will be, refused. */
import { Effect, Schedule } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure, WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { Append, ExpectedVersion } from "../../Recorder.ts"
import type { StreamName } from "../../StreamName.ts"
import type { WrongExpectedRevision } from "../connection/KurrentError.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"

/** The operation of every append. */
export const APPEND = "append"

/** How long, and how often, to look for the events that caused a refusal before they are assumed to be hidden. */
export const untilVisible = Schedule.upTo(Schedule.exponential("10 millis"), { duration: "2 seconds" })

/** An append that can't be recorded. */
export const failure = (reason: string): RecorderFailure => new RecorderFailure({ operation: APPEND, reason })

export const deleted = (stream: string): string =>
  `the stream "${stream}" was deleted or truncated on the server, where its versions continue after the deleted ones; use another id`

/** What the metadata of a stream hide of it. */
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

/** Decides about refusals by the events and the metadata of the streams with these names. */
export const makeRefusals = (names: Names, log: Log) => {
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
   * Decides with which error a refused append fails. A writer that begins a stream has seen no events of it, and if
   * none will ever be readable, retrying would never end. The events that caused the refusal may become readable a
   * moment after it, so a read alone does not decide; the refusal together with what the stream's metadata hide does.
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
        schedule: untilVisible,
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

  return { actualVersion, refuseDeleted, wrongVersion }
}
