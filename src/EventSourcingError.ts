/**
 * Every failure of the library, as tagged errors that carry what a person needs to act on them.
 *
 * A domain's own errors are never wrapped: they stay in `E` as they are.
 *
 * Tell them apart by their `_tag`, as `Effect.catchTag` does, or with `isRecorderError` and its like: `instanceof` is false
 * for the errors of another copy of this package.
 */
import { Predicate, Schema } from "effect"
import { messageOf } from "./internal/errors/messageOf.ts"
import * as Position from "./Position.ts"

/**
 * Marks the errors that the library itself has to recognise, whichever copy of this package they are from: `instanceof` is
 * true for one copy's alone, and the `_tag` by itself may be that of a domain's own error.
 */
const TypeId = "~effect-eventsourcing/EventSourcingError"

/** Not narrower than a number: an error also carries what a caller asked for by mistake. */
const Version = Schema.Number
const Expected = Schema.Union([Schema.Literal("NoStream"), Version])

/** How the type of a snapshot ends, which no event's can. @internal */
export const SNAPSHOT = "(snapshot)"

const place = ({
  stream,
  version,
  type
}: {
  readonly stream: string
  readonly version: number
  readonly type: string
}) =>
  type.endsWith(SNAPSHOT)
    ? `the snapshot at version ${version} of stream "${stream}"`
    : `event ${version} of stream "${stream}" (${type})`

/**
 * The stream is not at the version that the append expected (G2): somebody else was first.
 *
 * `actual` is the stream's last version, or `"NoStream"` where it has no event.
 */
export class WrongExpectedVersion extends Schema.TaggedError<WrongExpectedVersion>()("WrongExpectedVersion", {
  stream: Schema.String,
  expected: Expected,
  actual: Expected
}) {
  get [TypeId](): typeof TypeId {
    return TypeId
  }
  override get message(): string {
    const said = (version: number | "NoStream") => (version === "NoStream" ? "no event" : `version ${version}`)
    return `stream "${this.stream}" was expected at ${said(this.expected)} and is at ${said(this.actual)}`
  }
}

/** There is no such aggregate, or, where `version` is given, it has not come to that version. */
export class AggregateNotFound extends Schema.TaggedError<AggregateNotFound>()("AggregateNotFound", {
  aggregate: Schema.String,
  id: Schema.String,
  version: Schema.UndefinedOr(Version)
}) {
  override get message(): string {
    return this.version === undefined
      ? `there is no ${this.aggregate} "${this.id}"`
      : `${this.aggregate} "${this.id}" has no version ${this.version}`
  }
}

/** The aggregate that a decision was to create is there already. */
export class AggregateAlreadyExists extends Schema.TaggedError<AggregateAlreadyExists>()("AggregateAlreadyExists", {
  aggregate: Schema.String,
  id: Schema.String,
  version: Version
}) {
  override get message(): string {
    return `${this.aggregate} "${this.id}" exists already, at version ${this.version}`
  }
}

/** One transaction named the same aggregate twice, so that one decision would see its state as two. */
export class DuplicateParticipant extends Schema.TaggedError<DuplicateParticipant>()("DuplicateParticipant", {
  aggregate: Schema.String,
  id: Schema.String
}) {
  override get message(): string {
    return `${this.aggregate} "${this.id}" takes part twice in one transaction`
  }
}

/** An event to be recorded does not fit its schema, or its metadata is none. Nothing was recorded. */
export class EventNotEncodable extends Schema.TaggedError<EventNotEncodable>()("EventNotEncodable", {
  stream: Schema.String,
  version: Version,
  type: Schema.String,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${place(this)} can't be encoded: ${this.reason}`
  }
}

/**
 * A recorded event can't be read (G8): its bytes are damaged, they do not fit the schema that they were written with, or
 * a newer version of the program wrote them. It is never skipped in silence.
 */
export class EventNotDecodable extends Schema.TaggedError<EventNotDecodable>()("EventNotDecodable", {
  stream: Schema.String,
  version: Version,
  /** Absent for a snapshot, which is in no total order. */
  position: Schema.UndefinedOr(Position.Position),
  type: Schema.String,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    const where = this.position === undefined ? "" : ` at position ${this.position}`
    return `${place(this)}${where} can't be decoded: ${this.reason}`
  }
}

/**
 * An encrypted event can't be read (G9): its key is unknown or wrong, its bytes were altered, or it was moved here from
 * another stream, version or type.
 */
export class EventNotDecryptable extends Schema.TaggedError<EventNotDecryptable>()("EventNotDecryptable", {
  stream: Schema.String,
  version: Version,
  /** Absent for a snapshot, which is in no total order. */
  position: Schema.UndefinedOr(Position.Position),
  type: Schema.String,
  /** Empty where it has none. */
  keyId: Schema.String,
  reason: Schema.Literals(["UnknownKey", "NotAuthentic", "KeyServiceFailed", "NoCipher", "NotEncrypted"]),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    const because = {
      UnknownKey: "no such key is known",
      NotAuthentic: "the key is wrong, or the event was altered or moved",
      KeyServiceFailed: "the key service failed",
      NoCipher: "no cipher is configured",
      NotEncrypted: "it is not encrypted, and plaintext is refused"
    }[this.reason]
    const key = this.keyId === "" ? "" : ` with key "${this.keyId}"`
    return `${place(this)} can't be decrypted${key}: ${because}`
  }
}

/** A recorded event has a type that the aggregate doesn't declare, under its name or an alias (G8). */
export class UnknownEventType extends Schema.TaggedError<UnknownEventType>()("UnknownEventType", {
  stream: Schema.String,
  version: Version,
  position: Position.Position,
  type: Schema.String,
  aggregate: Schema.String
}) {
  override get message(): string {
    return `${place(this)} at position ${this.position} has a type that ${this.aggregate} does not declare; declare it, or name it as the alias of one that is`
  }
}

/**
 * The recorder can't be reached now, or is held by another: trying again may help. The outcome of an append that ended
 * so is unknown; sending the same stored events again is safe (G7).
 */
export class RecorderUnavailable extends Schema.TaggedError<RecorderUnavailable>()("RecorderUnavailable", {
  operation: Schema.String,
  reason: Schema.String,
  /** For how long a lock was waited for, in milliseconds: as long as the user lets it, so nothing waits for it anew. */
  waited: Schema.optionalKey(Schema.Number),
  cause: Schema.optionalKey(Schema.Defect())
}) {
  get [TypeId](): typeof TypeId {
    return TypeId
  }
  override get message(): string {
    return `${this.operation}: ${this.reason}`
  }
}

/** The recorder failed, and trying again does not help: somebody has to do what the message says. */
export class RecorderFailure extends Schema.TaggedError<RecorderFailure>()("RecorderFailure", {
  operation: Schema.String,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  get [TypeId](): typeof TypeId {
    return TypeId
  }
  override get message(): string {
    return `${this.operation}: ${this.reason}`
  }
}

/**
 * A follower was to begin after a position that the log has not come to: the log was restored from a backup or lost its
 * newest events, a replica is behind, or the position is of another log. What the log records up to that position would be
 * skipped, so nothing is followed.
 */
export class PositionBeyondHead extends Schema.TaggedError<PositionBeyondHead>()("PositionBeyondHead", {
  from: Position.Position,
  /** The position of the last event; `undefined` if the log has none. */
  head: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const ends = this.head === undefined ? "has no event" : `ends at position ${this.head}`
    return `a subscription from position ${this.from} would skip what comes up to it: the log ${ends}; it was restored or lost its newest events, a replica is behind, or the position is of another log`
  }
}

/** Tracking is not at the position that the move started from: another did the work. Nothing was recorded. */
export class TrackingConflict extends Schema.TaggedError<TrackingConflict>()("TrackingConflict", {
  projection: Schema.String,
  upstream: Schema.String,
  expected: Schema.UndefinedOr(Position.Position),
  actual: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const said = (position: bigint | undefined) => (position === undefined ? "the start" : `position ${position}`)
    return `tracking of "${this.upstream}" by "${this.projection}" was expected at ${said(this.expected)} and is at ${said(this.actual)}`
  }
}

/**
 * A view has not come to a position within the time that was waited. `reached` is how far it got. Of its runner in this
 * process `stopped` says why it has stopped, and `blocked` on what event a handler fails, where that is so.
 */
export class ProjectionBehind extends Schema.TaggedError<ProjectionBehind>()("ProjectionBehind", {
  projection: Schema.String,
  position: Position.Position,
  reached: Schema.UndefinedOr(Position.Position),
  /** In milliseconds. */
  waited: Schema.Number,
  stopped: Schema.UndefinedOr(Schema.String),
  blocked: Schema.UndefinedOr(Schema.String)
}) {
  override get message(): string {
    const blocked = this.blocked === undefined ? "" : `; in this process ${this.blocked}`
    const reached = this.reached === undefined ? "has not begun" : `is at position ${this.reached}`
    const stopped = this.stopped === undefined ? "" : `; its runner in this process has stopped: ${this.stopped}`
    return `projection "${this.projection}" was waited for at position ${this.position} for ${this.waited} ms and ${reached}${stopped}${blocked}`
  }
}

/**
 * There is no view of a projection in this place: no runner has made it yet, or it was removed. Of a runner in this process
 * `stopped` says why it has stopped, if it has.
 */
export class ViewNotFound extends Schema.TaggedError<ViewNotFound>()("ViewNotFound", {
  projection: Schema.String,
  version: Version,
  mode: Schema.Literals(["followed", "inline"]),
  stopped: Schema.UndefinedOr(Schema.String)
}) {
  override get message(): string {
    const maker =
      this.mode === "inline"
        ? "the layer of its log makes it, with the projection as the option inline, in this database"
        : "its runner makes it (ProjectionRunner), which was never started here"
    const stopped = this.stopped === undefined ? maker : `its runner in this process has stopped: ${this.stopped}`
    return `there is no view of projection "${this.projection}" here: ${stopped}`
  }
}

/** A handler failed on an event, or the event could not be decoded, as often as it was tried. The view is as before it. */
export class ProjectionFailed extends Schema.TaggedError<ProjectionFailed>()("ProjectionFailed", {
  projection: Schema.String,
  stream: Schema.String,
  version: Version,
  position: Position.Position,
  type: Schema.String,
  attempts: Schema.Number,
  /** What the handler failed with, as it is. */
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `projection "${this.projection}" failed ${this.attempts} times on ${place(this)} at position ${this.position}: ${messageOf(this.cause)}`
  }
}

/**
 * A higher version of the projection is the current one, and this one can't go on beside it: it was removed, or it is a side
 * effect, of which only one version may be at work.
 */
export class ProjectionSuperseded extends Schema.TaggedError<ProjectionSuperseded>()("ProjectionSuperseded", {
  projection: Schema.String,
  version: Version,
  by: Version
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" was superseded by version ${this.by}; to go back, give it a version above ${this.by}`
  }
}

/** A version of a projection was removed, with its view, while a runner of it was at work, or standing by. */
export class ProjectionRemoved extends Schema.TaggedError<ProjectionRemoved>()("ProjectionRemoved", {
  projection: Schema.String,
  version: Version
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" was removed while this runner was there; end the program's runner of it, or start it again to make the view anew`
  }
}

/** What a view was made from is not the log that is there now: another log, or one that was put back to an earlier state. */
export class UpstreamChanged extends Schema.TaggedError<UpstreamChanged>()("UpstreamChanged", {
  projection: Schema.String,
  upstream: Schema.String,
  position: Schema.UndefinedOr(Position.Position),
  reason: Schema.String,
  /** What is advised depends on it: a view can be rebuilt, but effects that are done again are done twice. */
  delivery: Schema.Literals(["exactly-once", "at-least-once"]),
  /** The newest event that both the log and the view have, as far as is known. */
  agreed: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const reached = this.position === undefined ? "no position" : `position ${this.position}`
    const last = this.agreed === undefined ? "" : `; up to position ${this.agreed} it is the same`
    const from =
      this.agreed === undefined
        ? "with `from`, the position after which its effects are still to be done"
        : `with \`from: Position.Position.make(${this.agreed}n)\`, and it continues after that`
    const advice =
      this.delivery === "exactly-once"
        ? "rebuild the view with Projection.reset"
        : `give it a higher version ${from}; Projection.reset would do all its effects again`
    return `projection "${this.projection}" has processed "${this.upstream}" up to ${reached}, and ${this.reason}${last}; provide the right log, or ${advice}`
  }
}

/**
 * The log of a view has not come to the view's position (again): nothing is processed until it has, and it is known whether
 * it is the same log. A runner shows it as the cause of its state `Retrying`; nothing fails with it.
 */
export class UpstreamBehind extends Schema.TaggedError<UpstreamBehind>()("UpstreamBehind", {
  projection: Schema.String,
  upstream: Schema.String,
  position: Position.Position,
  /** The position of the last event; `undefined` if the log has none. */
  head: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const ends = this.head === undefined ? "has no event" : `ends at position ${this.head}`
    return `projection "${this.projection}" has processed "${this.upstream}" up to position ${this.position}, and the log ${ends}: it is waited for, and compared when it has come to that position. A replica is behind, the newest events were erased, or the log was restored from a backup`
  }
}

/** A view is kept up inline and was to be followed, or the other way round: that is a rebuild, under another version. */
export class ProjectionModeChanged extends Schema.TaggedError<ProjectionModeChanged>()("ProjectionModeChanged", {
  projection: Schema.String,
  version: Version,
  mode: Schema.Literals(["followed", "inline"])
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" is kept up ${this.mode}; give it a higher version to change that`
  }
}

/**
 * A view is not reset or removed, because something that is not the projection's depends on its tables and would have to go
 * with them: views, foreign keys. Nothing was changed.
 */
export class ProjectionHasDependents extends Schema.TaggedError<ProjectionHasDependents>()("ProjectionHasDependents", {
  projection: Schema.String,
  version: Version,
  /** What kind each is, and its name, as the database has them. */
  dependents: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `the tables of version ${this.version} of projection "${this.projection}" can't be removed, because others depend on them: ${this.dependents.join("; ")}; remove those first, or, to rebuild the view, give it a higher version`
  }
}

/** What any use of a recorder can fail with. */
export type RecorderError = RecorderUnavailable | RecorderFailure

const isTagged = (u: unknown, tag: string): boolean => Predicate.hasProperty(u, TypeId) && Predicate.isTagged(u, tag)

/** Whether a value is this error, of any copy of this package. */
export const isWrongExpectedVersion = (u: unknown): u is WrongExpectedVersion => isTagged(u, "WrongExpectedVersion")

/** Whether a value is this error, of any copy of this package. */
export const isRecorderUnavailable = (u: unknown): u is RecorderUnavailable => isTagged(u, "RecorderUnavailable")

/** Whether a value is this error, of any copy of this package. */
export const isRecorderFailure = (u: unknown): u is RecorderFailure => isTagged(u, "RecorderFailure")

/** Whether a value is one of these errors, of any copy of this package. */
export const isRecorderError = (u: unknown): u is RecorderError => isRecorderUnavailable(u) || isRecorderFailure(u)

/** What reading and decoding can fail with. */
export type ReadError = RecorderError | EventNotDecodable | EventNotDecryptable | UnknownEventType

/** What following a log can fail with. */
export type FollowError = RecorderError | PositionBeyondHead

/** What a subscription can fail with. */
export type SubscriptionError = ReadError | PositionBeyondHead

/** What encoding and appending can fail with. */
export type AppendError = RecorderError | WrongExpectedVersion | EventNotEncodable
