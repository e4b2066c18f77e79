import { Result } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { RecorderFailure, TrackingConflict, WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { AppendedToStreams, Check } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import type { Append, Appended, ExpectedVersion } from "../../Recorder.ts"
import type { Tracked } from "../../TrackedAppend.ts"
import * as Tracking from "../../Tracking.ts"
import { firstVersion, lastVersion } from "./versions.ts"

/** A log that nobody else changes during these calls. */
export interface ExclusiveLog {
  readonly lastVersion: (stream: string) => ExpectedVersion
  /** The ids and positions of up to `count` events of a stream, starting at a version. */
  readonly eventsFrom: (
    stream: string,
    version: number,
    count: number
  ) => ReadonlyArray<{ readonly id: string; readonly position: Position }>
  /** Adds events after the last one. Returns the position of each. */
  readonly insert: (append: Append, firstVersion: number) => ReadonlyArray<Position>
}

/** A tracking move made under exclusive access. */
export interface ExclusiveTracking {
  /** The requested move. */
  readonly requested: Tracking.Move
  /** Whether the tracking has already reached the target of the move, or passed it. */
  readonly isDone: () => boolean
  readonly move: () => TrackingConflict | undefined
}

/** The tracking of a key, by where its position is stored. */
export const exclusiveTracking = (
  requested: Tracking.Move,
  stored: { readonly get: () => Position | undefined; readonly set: (position: Position) => void }
): ExclusiveTracking => ({
  requested,
  isDone: () => (stored.get() ?? -1n) >= requested.to,
  move: () => {
    const { key, from, to } = requested
    const actual = stored.get()
    const { projection, upstream } = key
    if (actual !== from) return new TrackingConflict({ projection, upstream, expected: from, actual })
    stored.set(to)
    return undefined
  }
})

/** The result of an append with events at these positions. */
const appendedAt = (append: Append, positions: ReadonlyArray<Position>): AppendedAt => ({
  version: lastVersion(append),
  position: positions[append.events.length - 1] as Position,
  positions
})

/** The result of an append all of whose positions are known. */
interface AppendedAt extends Appended {
  readonly positions: ReadonlyArray<Position>
}

/** The places of the events, if all of the events are already recorded (G7). */
const recordedBefore = (log: ExclusiveLog, append: Append): AppendedAt | undefined => {
  const { stream, expected, events } = append
  const existing = log.eventsFrom(stream, firstVersion(expected), events.length)
  return existing.length === events.length && events.every(({ id }, i) => existing[i]?.id === id)
    ? appendedAt(
        append,
        existing.map(({ position }) => position)
      )
    : undefined
}

/** Why an append can't be recorded, whatever its streams contain. No database stores fractions of a millisecond. */
const refuse = (appends: ReadonlyArray<Append>, tracking?: ExclusiveTracking): RecorderFailure | undefined => {
  const backward = tracking === undefined ? undefined : Tracking.refusal(tracking.requested)
  if (backward !== undefined) return new RecorderFailure({ operation: "append", reason: backward })
  for (const { events } of appends) {
    for (const { id, recordedAt } of events) {
      if (Number.isSafeInteger(recordedAt)) continue
      const reason = `the time ${recordedAt} of event "${id}" is not a whole number of milliseconds`
      return new RecorderFailure({ operation: "append", reason })
    }
  }
  return undefined
}

const mismatch = (log: ExclusiveLog, { stream, expected }: Check): WrongExpectedVersion | undefined => {
  const actual = log.lastVersion(stream)
  return actual === expected ? undefined : new WrongExpectedVersion({ stream, expected, actual })
}

const insert = (log: ExclusiveLog, append: Append): AppendedAt =>
  appendedAt(append, log.insert(append, firstVersion(append.expected)))

/** Appends to one stream, if its version is as expected. Recognises what was recorded before. */
export const appendOne = (
  log: ExclusiveLog,
  append: Append
): Result.Result<Appended, WrongExpectedVersion | RecorderFailure> => {
  const refused = refuse([append])
  if (refused !== undefined) return Result.fail(refused)
  const wrong = mismatch(log, append)
  if (wrong === undefined) return Result.succeed(insert(log, append))
  const before = recordedBefore(log, append)
  return before === undefined ? Result.fail(wrong) : Result.succeed(before)
}

/** Throws a defect for an append to several streams that names one of them twice. */
export const assertDistinctStreams = (appends: ReadonlyArray<Append>, checks: ReadonlyArray<Check>): void => {
  const streams = new Set([...appends, ...checks].map(({ stream }) => stream))
  if (streams.size < appends.length + checks.length) throw new Error("an append names the same stream twice")
}

/** Appends to several streams: at least one, so that there is a position. */
export const appendToStreams = (
  log: ExclusiveLog,
  appends: NonEmptyReadonlyArray<Append>,
  checks: ReadonlyArray<Check>
): Result.Result<AppendedToStreams, WrongExpectedVersion | RecorderFailure> =>
  exclusiveAppend(log, appends, checks) as Result.Result<AppendedToStreams, WrongExpectedVersion | RecorderFailure>

/**
 * Appends to several streams, all or nothing: everything is checked before anything is inserted.
 *
 * What was recorded before is recognised only if its tracking move was made too: the same events without it are a
 * conflict.
 */
export const exclusiveAppend = (
  log: ExclusiveLog,
  appends: ReadonlyArray<Append>,
  checks: ReadonlyArray<Check>,
  tracking?: ExclusiveTracking
): Result.Result<Tracked, WrongExpectedVersion | TrackingConflict | RecorderFailure> => {
  const known = precheck(log, appends, checks, tracking)
  if (known !== undefined) return known
  const refused = tracking?.move()
  return refused === undefined
    ? Result.succeed(summary(appends.map((append) => insert(log, append))))
    : Result.fail(refused)
}

/** The result of an append that is refused or was recorded before; `undefined` if it still has to be done. */
export const precheck = (
  log: ExclusiveLog,
  appends: ReadonlyArray<Append>,
  checks: ReadonlyArray<Check>,
  tracking?: ExclusiveTracking
): Result.Result<Tracked, WrongExpectedVersion | RecorderFailure> | undefined => {
  const refused = refuse(appends, tracking)
  if (refused !== undefined) return Result.fail(refused)
  const wrong = [...appends, ...checks].map((check) => mismatch(log, check)).find((error) => error !== undefined)
  if (wrong === undefined) return undefined
  const before = appends.map((append) => recordedBefore(log, append))
  const isRepeated = before.length > 0 && before.every((place) => place !== undefined)
  return isRepeated && (tracking === undefined || tracking.isDone())
    ? Result.succeed(summary(before))
    : Result.fail(wrong)
}

const summary = (appended: ReadonlyArray<AppendedAt>): Tracked => ({
  versions: appended.map(({ version }) => version),
  position: appended.reduce<Position | undefined>(
    (last, { position }) => (last === undefined || position > last ? position : last),
    undefined
  ),
  positions: appended.map(({ positions }) => positions)
})
