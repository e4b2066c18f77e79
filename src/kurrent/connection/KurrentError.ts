/** What can go wrong with a KurrentDB server, as tagged errors. */
import { Schema } from "effect"

const Revision = Schema.Union([Schema.Literals(["NoStream", "StreamExists", "Any"]), Schema.BigInt])

/** There is no such stream, or it was deleted. */
export class StreamNotFound extends Schema.TaggedError<StreamNotFound>()("StreamNotFound", {
  stream: Schema.String
}) {
  override get message(): string {
    return `there is no stream "${this.stream}", or it was deleted`
  }
}

/** The stream has a tombstone: it is gone, and its name can't be used again. */
export class StreamTombstoned extends Schema.TaggedError<StreamTombstoned>()("StreamTombstoned", {
  stream: Schema.String
}) {
  override get message(): string {
    return `the stream "${this.stream}" has a tombstone; its name can't be used again`
  }
}

/** The stream is not where it was expected to be. `actual` is the revision of its last event. */
export class WrongExpectedRevision extends Schema.TaggedError<WrongExpectedRevision>()("WrongExpectedRevision", {
  stream: Schema.String,
  expected: Revision,
  /** `StreamExists` if the server does not report more. */
  actual: Revision
}) {
  override get message(): string {
    const described = (revision: bigint | string) => (typeof revision === "bigint" ? `revision ${revision}` : revision)
    return `stream "${this.stream}" was expected at ${described(this.expected)} but is at ${described(this.actual)}`
  }
}

/**
 * The server can't be reached now, did not answer in time, or is not the leader: trying again may help. A write that
 * fails with this may have been recorded or not.
 */
export class KurrentUnavailable extends Schema.TaggedError<KurrentUnavailable>()("KurrentUnavailable", {
  operation: Schema.String,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.operation}: ${this.reason}`
  }
}

/** The server refused the call and will refuse it again: somebody has to do what the message says. */
export class KurrentFailure extends Schema.TaggedError<KurrentFailure>()("KurrentFailure", {
  operation: Schema.String,
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return `${this.operation}: ${this.reason}`
  }
}

/** The server is too old for the operation, or was started without it. */
export class Unsupported extends Schema.TaggedError<Unsupported>()("Unsupported", {
  operation: Schema.String,
  reason: Schema.String,
  /** The first version of KurrentDB that can do it, such as `25.1`. */
  since: Schema.String
}) {
  override get message(): string {
    return `${this.operation}: ${this.reason}`
  }
}

const group = { stream: Schema.String, group: Schema.String }

/** There is such a persistent subscription already. `stream` is `$all` for one to all events. */
export class PersistentSubscriptionExists extends Schema.TaggedError<PersistentSubscriptionExists>()(
  "PersistentSubscriptionExists",
  group
) {
  override get message(): string {
    return `the persistent subscription "${this.group}" to "${this.stream}" already exists`
  }
}

/** There is no such persistent subscription, or no longer. */
export class PersistentSubscriptionNotFound extends Schema.TaggedError<PersistentSubscriptionNotFound>()(
  "PersistentSubscriptionNotFound",
  group
) {
  override get message(): string {
    return `there is no persistent subscription "${this.group}" to "${this.stream}"`
  }
}

/** The persistent subscription has reached its maximum number of consumers (`maxSubscriberCount`). */
export class MaximumSubscribersReached extends Schema.TaggedError<MaximumSubscribersReached>()(
  "MaximumSubscribersReached",
  group
) {
  override get message(): string {
    return `the persistent subscription "${this.group}" to "${this.stream}" has reached its maximum number of consumers`
  }
}

/** The server ended a consumer: the persistent subscription was deleted or changed, or the server is stopping. */
export class PersistentSubscriptionDropped extends Schema.TaggedError<PersistentSubscriptionDropped>()(
  "PersistentSubscriptionDropped",
  group
) {
  override get message(): string {
    return `the server ended this consumer of the persistent subscription "${this.group}" to "${this.stream}"`
  }
}

/** What any call can fail with. */
export type KurrentError = KurrentUnavailable | KurrentFailure

/** What any call that names a stream can fail with. */
export type StreamError = KurrentError | StreamNotFound | StreamTombstoned

/** What consuming a persistent subscription can fail with. */
export type ConsumeError =
  | KurrentError
  | PersistentSubscriptionNotFound
  | MaximumSubscribersReached
  | PersistentSubscriptionDropped
