/**
 * Every failure of the library, as tagged errors that carry what a person needs to act on them.
 *
 * A domain's own errors are never wrapped: they stay in `E` as they are.
 *
 * Distinguish them by their `_tag`, as `Effect.catchTag` does, or with `isRecorderError` and similar functions:
 * `instanceof` is false for the errors of another copy of this package.
 */
import { Predicate, Schema } from "effect"
import { messageOf } from "./internal/errors/messageOf.ts"
import * as Position from "./Position.ts"

/**
 * Marks the errors that the library itself has to recognise, whichever copy of this package they come from.
 * `instanceof` recognises only those of its own copy, and the `_tag` alone may be that of a domain's own error.
 */
const TypeId = "~effect-eventsourcing/EventSourcingError"

/** Any number is allowed: an error also carries an invalid version that a caller passed. */
const Version = Schema.Number
const Expected = Schema.Union([Schema.Literal("NoStream"), Version])

/** The end of a snapshot's type, which no event's type can have. @internal */
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
 * The stream is not at the version that the append expected (G2): another writer was first.
 *
 * `actual` is the stream's last version, or `"NoStream"` if it has no event.
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
    const expected = this.expected === "NoStream" ? "have no events" : `be at version ${this.expected}`
    const actual = this.actual === "NoStream" ? "has no events" : `is at version ${this.actual}`
    return `stream "${this.stream}" was expected to ${expected} but ${actual}`
  }
}

/** The aggregate does not exist or, if `version` is given, has not reached that version. */
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

/** The aggregate that a decision was to create already exists. */
export class AggregateAlreadyExists extends Schema.TaggedError<AggregateAlreadyExists>()("AggregateAlreadyExists", {
  aggregate: Schema.String,
  id: Schema.String,
  version: Version
}) {
  override get message(): string {
    return `${this.aggregate} "${this.id}" already exists, at version ${this.version}`
  }
}

/** One transaction named the same aggregate twice; its decision would see one state as two. */
export class DuplicateParticipant extends Schema.TaggedError<DuplicateParticipant>()("DuplicateParticipant", {
  aggregate: Schema.String,
  id: Schema.String
}) {
  override get message(): string {
    return `${this.aggregate} "${this.id}" is named twice in one transaction`
  }
}

/** An event to be recorded does not fit its schema, or its metadata is invalid. Nothing was recorded. */
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
 * A recorded event can't be decoded (G8): its bytes are damaged, they do not fit the schema that they were written
 * with, or a newer version of the program wrote them. It is never skipped silently.
 */
export class EventNotDecodable extends Schema.TaggedError<EventNotDecodable>()("EventNotDecodable", {
  stream: Schema.String,
  version: Version,
  /** Absent for a snapshot, which has no place in the total order. */
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
 * An encrypted event can't be decrypted (G9): its key is unknown or wrong, its bytes were altered, or it was moved from
 * another stream, version or type.
 */
export class EventNotDecryptable extends Schema.TaggedError<EventNotDecryptable>()("EventNotDecryptable", {
  stream: Schema.String,
  version: Version,
  /** Absent for a snapshot, which has no place in the total order. */
  position: Schema.UndefinedOr(Position.Position),
  type: Schema.String,
  /** Empty if there is no key id. */
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

/** A recorded event has a type that the aggregate does not declare, neither by its name nor by an alias (G8). */
export class UnknownEventType extends Schema.TaggedError<UnknownEventType>()("UnknownEventType", {
  stream: Schema.String,
  version: Version,
  position: Position.Position,
  type: Schema.String,
  aggregate: Schema.String
}) {
  override get message(): string {
    return `${place(this)} at position ${this.position} has a type that ${this.aggregate} does not declare; declare it, or make it an alias of a declared event`
  }
}

/**
 * The recorder can't be reached at the moment, or is locked by another: a retry may help. The outcome of an append that
 * ended with this error is unknown; sending the same stored events again is safe (G7).
 */
export class RecorderUnavailable extends Schema.TaggedError<RecorderUnavailable>()("RecorderUnavailable", {
  operation: Schema.String,
  reason: Schema.String,
  /** For how many milliseconds a lock was waited for: as long as the user allows, so nothing waits for it again. */
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

/** The recorder failed, and a retry does not help: somebody has to act on the message. */
export class RecorderFailure extends Schema.TaggedError<RecorderFailure>()("RecorderFailure", {
  operation: Schema.String,
  reason: Schema.String,
  /** The backend can't do this at all, whatever was to be recorded: its server is too old, for instance. */
  isUnsupported: Schema.optionalKey(Schema.Boolean),
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
 * A follower was to start after a position that the log has not reached: the log was restored from a backup or lost its
 * newest events, a replica lags, or the position belongs to another log. Events that the log records up to that
 * position would be skipped, so nothing is followed.
 */
export class PositionBeyondHead extends Schema.TaggedError<PositionBeyondHead>()("PositionBeyondHead", {
  from: Position.Position,
  /** The position of the last event; `undefined` if the log is empty. */
  head: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const ends = this.head === undefined ? "has no event" : `ends at position ${this.head}`
    return `can't follow the log from position ${this.from}: it ${ends}, and new events up to that position would be skipped; the log was restored or lost its newest events, a replica lags, or the position belongs to another log`
  }
}

/** The tracking is not at the position that the move started from: another has done the work. Nothing was recorded. */
export class TrackingConflict extends Schema.TaggedError<TrackingConflict>()("TrackingConflict", {
  projection: Schema.String,
  upstream: Schema.String,
  expected: Schema.UndefinedOr(Position.Position),
  actual: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const described = (position: bigint | undefined) => (position === undefined ? "the start" : `position ${position}`)
    return `the tracking of "${this.upstream}" by "${this.projection}" was expected at ${described(this.expected)} but is at ${described(this.actual)}`
  }
}

/**
 * A view has not reached a position within the time that was waited. `reached` is how far it has come. If its runner in
 * this process has stopped, `stopped` is why; if a handler of it fails, `blocked` names the event.
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
    const reached = this.reached === undefined ? "has not started" : `is at position ${this.reached}`
    const stopped = this.stopped === undefined ? "" : `; its runner in this process has stopped: ${this.stopped}`
    return `projection "${this.projection}" did not reach position ${this.position} within ${this.waited} ms: it ${reached}${stopped}${blocked}`
  }
}

/**
 * This place has no view of the projection: no runner has created it yet, or it was removed. If a runner in this
 * process has stopped, `stopped` is why.
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
        ? "pass the projection in the option inline of its log's layer, in this database"
        : "start its runner (ProjectionRunner), which creates the view"
    const stopped = this.stopped === undefined ? maker : `its runner in this process has stopped: ${this.stopped}`
    return `there is no view of projection "${this.projection}" here; ${stopped}`
  }
}

/**
 * A handler failed on an event, or the event could not be decoded, on every attempt. The view is as it was before the
 * event.
 */
export class ProjectionFailed extends Schema.TaggedError<ProjectionFailed>()("ProjectionFailed", {
  projection: Schema.String,
  stream: Schema.String,
  version: Version,
  position: Position.Position,
  type: Schema.String,
  attempts: Schema.Number,
  /** The handler's error, unchanged. */
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `projection "${this.projection}" failed on ${place(this)} at position ${this.position}, after ${this.attempts} ${this.attempts === 1 ? "attempt" : "attempts"}: ${messageOf(this.cause)}`
  }
}

/**
 * A higher version of the projection is the current one, and this one can't continue beside it: it was removed, or it
 * is a side effect, of which only one version may work.
 */
export class ProjectionSuperseded extends Schema.TaggedError<ProjectionSuperseded>()("ProjectionSuperseded", {
  projection: Schema.String,
  version: Version,
  by: Version
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" was superseded by version ${this.by}; to return to this definition, give it a version above ${this.by}`
  }
}

/** A version of a projection was removed, with its view, while a runner of it was working or standing by. */
export class ProjectionRemoved extends Schema.TaggedError<ProjectionRemoved>()("ProjectionRemoved", {
  projection: Schema.String,
  version: Version
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" was removed while its runner was running or on standby; stop the runners of it in this program, or start them again to rebuild the view`
  }
}

/**
 * The log is not the one that the view was built from, or that the process has handled: it is a different log, or one
 * restored from an older backup.
 */
export class UpstreamChanged extends Schema.TaggedError<UpstreamChanged>()("UpstreamChanged", {
  projection: Schema.String,
  upstream: Schema.String,
  position: Schema.UndefinedOr(Position.Position),
  reason: Schema.String,
  /** The advice depends on it: a view can be rebuilt, but repeated side effects happen twice, as a process would. */
  delivery: Schema.Literals(["exactly-once", "at-least-once", "process"]),
  /** The newest event that both the log and the view have, as far as is known. */
  agreed: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const reached = this.position === undefined ? "no position" : `position ${this.position}`
    const last = this.agreed === undefined ? "" : `; both have the same events up to position ${this.agreed}`
    const from =
      this.agreed === undefined
        ? "with `from`, the position after which its effects have yet to be done"
        : `with \`from: Position.Position.make(${this.agreed}n)\`, and it continues after that`
    if (this.delivery === "process") {
      return `process "${this.projection}" has handled "${this.upstream}" up to ${reached}, but ${this.reason}${last}; provide the right log, or give the process another name, under which it begins where \`begin\` says`
    }
    const advice =
      this.delivery === "exactly-once"
        ? "rebuild the view with Projection.reset"
        : `give it a higher version ${from}; Projection.reset would repeat all its effects`
    return `projection "${this.projection}" has processed "${this.upstream}" up to ${reached}, but ${this.reason}${last}; provide the right log, or ${advice}`
  }
}

/**
 * The log has not reached the position of the view (again). Nothing is processed until it has, and until it is known
 * whether it is the same log. A runner shows this as the cause of its state `Retrying`; nothing fails with it.
 */
export class UpstreamBehind extends Schema.TaggedError<UpstreamBehind>()("UpstreamBehind", {
  projection: Schema.String,
  upstream: Schema.String,
  position: Position.Position,
  /** The position of the last event; `undefined` if the log is empty. */
  head: Schema.UndefinedOr(Position.Position)
}) {
  override get message(): string {
    const ends = this.head === undefined ? "has no event" : `ends at position ${this.head}`
    return `projection "${this.projection}" has processed "${this.upstream}" up to position ${this.position}, but the log ${ends}; the runner waits until the log reaches that position, and then compares them. A replica lags, the newest events were erased, or the log was restored from a backup`
  }
}

/**
 * A view is maintained inline and was to be followed by a runner, or vice versa: that requires a rebuild under another
 * version.
 */
export class ProjectionModeChanged extends Schema.TaggedError<ProjectionModeChanged>()("ProjectionModeChanged", {
  projection: Schema.String,
  version: Version,
  mode: Schema.Literals(["followed", "inline"])
}) {
  override get message(): string {
    return `version ${this.version} of projection "${this.projection}" is maintained ${this.mode === "inline" ? "inline" : "by a runner"}; give it a higher version to change that`
  }
}

/**
 * A view can't be reset or removed, because something that does not belong to the projection depends on its tables and
 * would have to be removed with them, such as views or foreign keys. Nothing was changed.
 */
export class ProjectionHasDependents extends Schema.TaggedError<ProjectionHasDependents>()("ProjectionHasDependents", {
  projection: Schema.String,
  version: Version,
  /** The kind and the name of each, as in the database. */
  dependents: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `the tables of version ${this.version} of projection "${this.projection}" can't be removed, because other objects depend on them: ${this.dependents.join("; ")}; remove those first, or give the projection a higher version to rebuild its view`
  }
}

/**
 * Reactions lead to one another without end: more events led to this one, each causing the next, than the process
 * allows. `chain` contains the last of them, the newest first, and the type and stream of each.
 */
export class CausationTooDeep extends Schema.TaggedError<CausationTooDeep>()("CausationTooDeep", {
  depth: Schema.Number,
  chain: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `${this.depth} events would have led to one another, which looks like a loop: ${this.chain.join(" because of ")}; if it is none, raise the option maxDepth of the process`
  }
}

/**
 * A process has stopped at an event: a reaction to it was refused, and the process does not say what to do then; or the
 * event can't be decoded, or one of the results can't be recorded. Everything before the event is done, and nothing for
 * the event.
 */
export class ProcessFailed<out E = unknown> extends Schema.TaggedError<ProcessFailed>()("ProcessFailed", {
  process: Schema.String,
  eventId: Schema.String,
  stream: Schema.String,
  version: Version,
  position: Position.Position,
  type: Schema.String,
  /** The error, unchanged. */
  cause: Schema.Defect()
}) {
  declare readonly cause: E
  override get message(): string {
    return `process "${this.process}" has stopped at ${place(this)} at position ${this.position} (${this.eventId}): ${messageOf(this.cause)}`
  }
}

/** A higher version of the process has taken over. */
export class ProcessSuperseded extends Schema.TaggedError<ProcessSuperseded>()("ProcessSuperseded", {
  process: Schema.String,
  version: Version,
  by: Version
}) {
  override get message(): string {
    return `version ${this.version} of process "${this.process}" was superseded by version ${this.by}; to go back, give it a version above ${this.by}`
  }
}

/**
 * A process has not reached a position in the time that was waited. `reached` is how far it has come. If its runner in
 * this process of the system has stopped, `stopped` is the reason.
 */
export class ProcessBehind extends Schema.TaggedError<ProcessBehind>()("ProcessBehind", {
  process: Schema.String,
  position: Position.Position,
  reached: Schema.UndefinedOr(Position.Position),
  /** In milliseconds. */
  waited: Schema.Number,
  stopped: Schema.UndefinedOr(Schema.String)
}) {
  override get message(): string {
    const reached = this.reached === undefined ? "has not begun" : `is at position ${this.reached}`
    const stopped = this.stopped === undefined ? "" : `; its runner here has stopped: ${this.stopped}`
    return `process "${this.process}" was waited for at position ${this.position} for ${this.waited} ms and ${reached}${stopped}`
  }
}

/**
 * A deadline would have left its aggregate due at the same time, and would therefore decide on it again without end.
 * Nothing was recorded: after `decide`, `due` has to return another time, or `undefined`.
 */
export class DeadlineUnchanged extends Schema.TaggedError<DeadlineUnchanged>()("DeadlineUnchanged", {
  deadline: Schema.String,
  aggregate: Schema.String,
  id: Schema.String,
  /** When it is due, before and after, in milliseconds since the epoch. */
  dueAt: Schema.Number
}) {
  override get message(): string {
    return `deadline "${this.deadline}" decided on ${this.aggregate} "${this.id}", which would be due at the same time afterwards (${new Date(this.dueAt).toISOString()}); the events of decide have to change what due returns`
  }
}

/** A deadline could not be settled, because a decision on an aggregate fails. All others were settled. */
export class DeadlineFailed<out E = unknown> extends Schema.TaggedError<DeadlineFailed>()("DeadlineFailed", {
  deadline: Schema.String,
  aggregate: Schema.String,
  id: Schema.String,
  /** The error, unchanged. */
  cause: Schema.Defect()
}) {
  declare readonly cause: E
  override get message(): string {
    return `deadline "${this.deadline}" failed on ${this.aggregate} "${this.id}": ${messageOf(this.cause)}`
  }
}

/** The errors that any use of a recorder can fail with. */
export type RecorderError = RecorderUnavailable | RecorderFailure

const isTagged = (u: unknown, tag: string): boolean => Predicate.hasProperty(u, TypeId) && Predicate.isTagged(u, tag)

/** Whether a value is this error, from any copy of this package. */
export const isWrongExpectedVersion = (u: unknown): u is WrongExpectedVersion => isTagged(u, "WrongExpectedVersion")

/** Whether a value is this error, from any copy of this package. */
export const isRecorderUnavailable = (u: unknown): u is RecorderUnavailable => isTagged(u, "RecorderUnavailable")

/** Whether a value is this error, from any copy of this package. */
export const isRecorderFailure = (u: unknown): u is RecorderFailure => isTagged(u, "RecorderFailure")

/** Whether a value is one of these errors, from any copy of this package. */
export const isRecorderError = (u: unknown): u is RecorderError => isRecorderUnavailable(u) || isRecorderFailure(u)

/** The errors that reading and decoding can fail with. */
export type ReadError = RecorderError | EventNotDecodable | EventNotDecryptable | UnknownEventType

/** The errors that following a log can fail with. */
export type FollowError = RecorderError | PositionBeyondHead

/** The errors that a subscription can fail with. */
export type SubscriptionError = ReadError | PositionBeyondHead

/** The errors that encoding and appending can fail with. */
export type AppendError = RecorderError | WrongExpectedVersion | EventNotEncodable
