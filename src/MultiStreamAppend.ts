/** A capability: appending to several streams at once. A backend that lacks it does not provide this service. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { RecorderError, WrongExpectedVersion } from "./EventSourcingError.ts"
import type { Position } from "./Position.ts"
import type { Append, ExpectedVersion } from "./Recorder.ts"
import type { StreamName } from "./StreamName.ts"

/** A stream that must be at a version for the append to be accepted, without being appended to. */
export interface Check {
  readonly stream: StreamName
  readonly expected: ExpectedVersion
}

/** What an append to several streams returns. */
export interface AppendedToStreams {
  /** The version of the last event of each stream, in the order of the appends. */
  readonly versions: ReadonlyArray<number>
  /** The position of the last event. */
  readonly position: Position
  /** The positions of the events of each append, as in `Recorder.Appended`; omitted if the backend does not know them. */
  readonly positions?: ReadonlyArray<ReadonlyArray<Position>> | undefined
}

/**
 * Appends to several streams: all of it or nothing (G1).
 *
 * Each stream may be named only once, among the appends and the checks together; naming one twice is a defect. Sending
 * the same events again returns the same result (G7).
 */
export class MultiStreamAppend extends Context.Service<
  MultiStreamAppend,
  {
    readonly append: (
      appends: NonEmptyReadonlyArray<Append>,
      checks?: ReadonlyArray<Check>
    ) => Effect.Effect<AppendedToStreams, WrongExpectedVersion | RecorderError>
  }
>()("effect-eventsourcing/MultiStreamAppend") {}
