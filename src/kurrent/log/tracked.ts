/**
 * Appends events together with a tracking move. A tracking is a stream of its own, whose newest event contains the
 * position; the next event is in the same append to several streams.
 */
import { randomUUID } from "node:crypto"
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderError, RecorderFailure, TrackingConflict, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { assertDistinctStreams } from "../../internal/backend/exclusiveAppend.ts"
import { noteOf } from "../../internal/backend/trackingNote.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import type { Check } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Append } from "../../Recorder.ts"
import type { Tracked } from "../../TrackedAppend.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import * as Tracking from "../../Tracking.ts"
import type { RecordedEvent } from "../client/events.ts"
import { updateStreamMetadata } from "../client/metadata.ts"
import type { Connection } from "../connection/connection.ts"
import type { Appends } from "./appends.ts"
import { toAppended } from "./appends.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"
import { failure, makeRefusals, untilVisible } from "./refusals.ts"

const TYPE = "tracking"

/** How many streams are read at once to find out why an append was refused. */
const READS = 16

/** The data of the newest event of a tracking: positions can be too large for the numbers of JSON. */
interface Data extends Partial<Tracking.Note> {
  readonly position: string
}

/** The place of a tracking. */
interface Place {
  readonly progress: Tracking.Progress
  /** The revision of the newest event. */
  readonly revision: bigint
  /** Whether the server hides the events before the newest, and removes them when it is scavenged. */
  readonly isTrimmed: boolean
}

/** Tracked appends to the log with these names. The server has to support appends to several streams. */
export const make = (connection: Connection, names: Names, log: Log, appender: Appends): TrackedAppend["Service"] => {
  const { actualVersion } = makeRefusals(names, log)

  /** The places of the trackings that this process has last moved or read. The server verifies them. */
  const known = new Map<string, Place>()

  const read = (stream: string): Effect.Effect<Place | undefined, RecorderError> =>
    Effect.gen(function* () {
      const [last, before] = yield* log.readServerStream(stream, { direction: "backward", from: "end", limit: 2 })
      if (last?.event === undefined) {
        known.delete(stream)
        return undefined
      }
      const progress = yield* progressIn(last.event)
      const place: Place = { progress, revision: last.event.revision, isTrimmed: before === undefined }
      known.set(stream, place)
      return place
    })

  /**
   * A tracking that another writer has moved: the event for which the server refuses an append becomes readable a
   * moment later.
   */
  const readFrom = (stream: string, revision: bigint): Effect.Effect<Place, RecorderError> =>
    Effect.flatMap(
      Effect.repeat(read(stream), {
        schedule: untilVisible,
        while: (place) => place === undefined || place.revision < revision
      }),
      (place) =>
        place === undefined || place.revision < revision
          ? Effect.fail(
              failure(
                `the stream "${stream}" of a tracking was truncated on the server: where the tracking is can't be read`
              )
            )
          : Effect.succeed(place)
    )

  /** The position of the last event, if exactly these events are recorded. */
  const recordedBefore = ({ stream, expected, events }: Append): Effect.Effect<Position | undefined, RecorderError> => {
    const after = expected === "NoStream" ? undefined : expected
    return Effect.map(log.readStream({ stream, after, limit: events.length }), (found) =>
      events.every(({ id }, i) => found[i]?.id === id) ? found[events.length - 1]?.position : undefined
    )
  }

  /** The result of an append that was already recorded together with its move. */
  const repeated = Effect.fnUntraced(function* (
    appends: ReadonlyArray<Append>,
    move: Tracking.Move,
    place: Place | undefined
  ): Effect.fn.Return<Tracked | undefined, RecorderError> {
    if (appends.length === 0 || place === undefined || place.progress.position < move.to) return undefined
    const positions = yield* Effect.forEach(appends, recordedBefore, { concurrency: READS })
    let last: Position | undefined
    for (const position of positions) {
      if (position === undefined) return undefined
      if (last === undefined || position > last) last = position
    }
    return last === undefined ? undefined : toAppended(appends, last)
  })

  /**
   * The error if the tracking is not where the move starts. A stream that is not at its expected version is reported
   * first.
   */
  const conflict = Effect.fnUntraced(function* (
    parts: ReadonlyArray<Check>,
    { key, from }: Tracking.Move,
    place: Place | undefined
  ): Effect.fn.Return<never, WrongExpectedVersion | TrackingConflict | RecorderError> {
    const versions = yield* Effect.forEach(parts, ({ stream }) => actualVersion(stream), {
      concurrency: READS
    })
    for (const [i, { stream, expected }] of parts.entries()) {
      const actual = versions[i] ?? "NoStream"
      if (actual !== expected) return yield* new WrongExpectedVersion({ stream, expected, actual })
    }
    const { projection, upstream } = key
    return yield* new TrackingConflict({ projection, upstream, expected: from, actual: place?.progress.position })
  })

  /** Makes the server keep only the newest event. If that fails, the next reader of the tracking tries again. */
  const trim = (stream: string): Effect.Effect<void> =>
    Effect.ignore(updateStreamMetadata(connection, stream, (metadata) => ({ ...metadata, maxCount: 1 })))

  const append: TrackedAppend["Service"]["append"] = (appends, move, checks = []) =>
    Effect.gen(function* () {
      assertDistinctStreams(appends, checks)
      const problem = Tracking.refusal(move) ?? appender.problemOfAll(appends, checks)
      if (problem !== undefined) return yield* Effect.fail(failure(problem))
      const stream = names.tracking(move.key)
      const parts = [...appends, ...checks]
      const cached = known.get(stream)
      const place = cached?.progress.position === move.from ? cached : yield* read(stream)
      if (place?.progress.position !== move.from) {
        return (yield* repeated(appends, move, place)) ?? (yield* conflict(parts, move, place))
      }
      const { note, to } = move
      const data: Data = { position: `${to}`, ...note }
      const side = {
        stream,
        expected: place === undefined ? ("no_stream" as const) : place.revision,
        event: { id: randomUUID(), type: TYPE, data, metadata: {} }
      }
      return yield* Effect.matchEffect(appender.sendAll(appends, checks, side), {
        onSuccess: ({ position, responses }) => {
          const revision = responses?.find(({ streamName }) => streamName === stream)?.revision
          if (revision === undefined) known.delete(stream)
          else known.set(stream, { progress: { position: to, note }, revision, isTrimmed: true })
          const tracked: Tracked =
            appends.length === 0 ? { versions: [], position: undefined } : toAppended(appends, fromStorage(position))
          return Effect.as(place?.isTrimmed === true ? Effect.void : trim(stream), tracked)
        },
        onFailure: (error): Effect.Effect<Tracked, WrongExpectedVersion | TrackingConflict | RecorderError> => {
          known.delete(stream)
          if (isRecorderError(error)) return Effect.fail(error)
          if (error._tag !== "WrongExpectedRevision") return appender.refusal(parts, error)
          const { actual } = error
          const isMoved = error.stream === stream
          return Effect.gen(function* () {
            const now = isMoved && typeof actual === "bigint" ? yield* readFrom(stream, actual) : yield* read(stream)
            const before = yield* repeated(appends, move, now)
            return before ?? (yield* isMoved ? conflict(parts, move, now) : appender.refusal(parts, error))
          })
        }
      })
    })

  const progress: TrackedAppend["Service"]["progress"] = (key) =>
    Effect.map(read(names.tracking(key)), (place) => place?.progress)

  return TrackedAppend.of({
    append,
    position: (key) => Effect.map(progress(key), (found) => found?.position),
    progress
  })
}

const progressIn = ({ stream, data }: RecordedEvent): Effect.Effect<Tracking.Progress, RecorderFailure> =>
  Effect.try({
    try: () => {
      const { position, ...note } = data as Partial<Data>
      if (typeof position !== "string") throw new Error("its data has no position")
      return { position: fromStorage(BigInt(position)), note: noteOf(note) }
    },
    catch: (cause) => {
      const reason = `the newest event of stream "${stream}" is not a tracking: ${messageOf(cause)}`
      return new RecorderFailure({ operation: "read a tracking position", reason, cause })
    }
  })
