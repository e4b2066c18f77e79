/**
 * Handles the events that a process follows: calls handlers, plans, and records the results together with the tracking
 * move.
 */
import { Cause, Data, Effect, Exit, Metric, Semaphore } from "effect"
import type { RecorderUnavailable } from "../../EventSourcingError.ts"
import {
  isRecorderError,
  ProcessFailed,
  RecorderFailure,
  TrackingConflict,
  RecorderUnavailable as Unavailable
} from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { TrackedAppend } from "../../TrackedAppend.ts"
import type * as Tracking from "../../Tracking.ts"
import { messageOf } from "../errors/messageOf.ts"
import { isTransient } from "../errors/transient.ts"
import { aggregateFinder } from "../eventStore/codecs.ts"
import { makeIsKnown } from "../eventStore/isKnown.ts"
import { sendAppend } from "../eventStore/sendAppend.ts"
import { eventAt } from "../following/eventAt.ts"
import * as Metrics from "../observability/metrics.ts"
import { linked, withSpan } from "../observability/tracing.ts"
import type { States } from "../repository/states.ts"
import type { Work } from "./asking.ts"
import { makeAsk } from "./asking.ts"
import { chainOf } from "./chain.ts"
import type { Definition } from "./compiled.ts"
import type { PlanError, Planned } from "./planning.ts"
import { makePlan } from "./planning.ts"
import { trackingOf } from "./trackingOf.ts"

/** What a process is run with. */
export interface Services {
  readonly store: EventStore["Service"]
  readonly snapshots: SnapshotStore["Service"]
  readonly reader: Pick<LogReader["Service"], "readAll" | "head" | "logId">
  readonly tracked: TrackedAppend["Service"]
}

/** How a process is run. */
export interface Parts<out E, out R> extends Services {
  readonly process: Definition<E, R>
  readonly states: States
  readonly counts: Metrics.Counts
  readonly attributes: Metric.Metric.AttributeSet
  readonly maxBatch: number
  readonly maxDepth: number
  /** Runs an effect in the background. */
  readonly runInBackground: (save: Effect.Effect<void>) => Effect.Effect<unknown>
}

type Failed<E> = ProcessFailed<Exclude<PlanError<E>, RecorderUnavailable>>

/** A newer program wrote the next event, and has to handle it: the event is valid. */
export class FromNewerProgram<out E> extends Data.TaggedError("FromNewerProgram")<{ readonly failed: unknown }> {
  /** The error for a caller that can't wait for that. */
  declare readonly failed: Failed<E>
}

/** The errors with which a process can stop, or stand by. */
export type ReactError<E> = Failed<E> | FromNewerProgram<E> | TrackingConflict | RecorderUnavailable | RecorderFailure

/** A runner's control of the process's tracking. */
export interface Reactor<out E, out R> {
  /** The tracking position, as far as it is known. */
  readonly position: () => Position | undefined
  /** Handles the events of a batch. Returns how many have a handler. */
  readonly handle: (notifications: ReadonlyArray<Notification>) => Effect.Effect<number, ReactError<E>, R>
  /** Moves the tracking past events that have no handler. */
  readonly passTo: (position: Position) => Effect.Effect<void, ReactError<E>>
}

/** After how many conflicts in a row a batch is halved. */
const HALVED_AFTER = 2

/** Whether an event is to be handled: also one of an unknown type, which must fail. */
export const makeIsWanted = ({ compiled, follows }: Definition<unknown, unknown>) => {
  const aggregateOf = aggregateFinder(follows)
  return ({ stream, type }: Pick<Notification, "stream" | "type">): boolean => {
    const aggregate = aggregateOf(stream)
    const event = aggregate.compiled.byType.get(type)
    return event === undefined || compiled.handles(aggregate.name, event.tag)
  }
}

export const makeReactor = <E, R>(parts: Parts<E, R>, start: Tracking.Progress | undefined): Reactor<E, R> => {
  const { attributes, counts, maxBatch, process, reader, states, store, tracked } = parts
  const key = trackingOf(process)
  const ask = makeAsk(store, process)
  const isWanted = makeIsWanted(process)
  const isKnown = makeIsKnown(process.follows)
  const plan = makePlan({ ...parts, chainOf: (cause) => chainOf(reader, cause) })
  const handledCount = Metric.withAttributes(Metrics.causes, attributes)
  const conflictCount = Metric.withAttributes(Metrics.conflictsOfProcess, attributes)
  const semaphore = Semaphore.makeUnsafe(1)
  let position = start?.position
  /** What is stored of the log with the position. */
  let note: Tracking.Note = { logId: reader.logId, eventId: start?.note?.eventId }
  /** How many events are handled at once: fewer if their results keep conflicting with what others record. */
  let size = maxBatch

  const failedAt = <C>({ id, position, stream, type, version }: Notification, cause: C): ProcessFailed<C> =>
    new ProcessFailed<C>({ process: process.name, eventId: id, stream, version, position, type, cause })

  /** If the tracking has moved, another runner has handled these events, and the states already include the results. */
  const verifyTracking = Effect.gen(function* () {
    const actual = yield* tracked.position(key)
    if (actual === position) return
    yield* new TrackingConflict({ projection: process.name, upstream: key.upstream, expected: position, actual })
  })

  /** Stops at an event, unless the failure is not the event's. */
  const stopAt = (
    notification: Notification,
    cause: Cause.Cause<PlanError<E>>
  ): Effect.Effect<never, ReactError<E>> => {
    if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None") {
      return Effect.andThen(verifyTracking, Effect.die(failedAt(notification, Cause.squash(cause))))
    }
    if (isRecorderError(error.value)) return Effect.fail(error.value)
    if (isTransient(error.value)) {
      const operation = `run process "${process.name}"`
      return Effect.fail(new Unavailable({ operation, reason: messageOf(error.value), cause: error.value }))
    }
    const failed = failedAt(notification, error.value as Exclude<PlanError<E>, RecorderUnavailable>)
    return Effect.andThen(
      verifyTracking,
      Effect.suspend(() => Effect.fail(isKnown(notification) ? failed : new FromNewerProgram<E>({ failed })))
    )
  }

  const record = ({ appends, checks }: Planned<E>, to: Position, note: Tracking.Note) => {
    const events = appends.reduce((sum, { events }) => sum + events.length, 0)
    const sent = sendAppend(counts, events, tracked.append(appends, { key, from: position, to, note }, checks))
    return withSpan("EventStore.append", { streams: appends.map(({ stream }) => stream), events })(sent)
  }

  /** Handles events that have a handler. */
  const handleAll = Effect.fnUntraced(function* (
    events: ReadonlyArray<Notification>
  ): Effect.fn.Return<void, ReactError<E>, R> {
    let rest = events
    let conflicts = 0
    let work: Work<E> | undefined
    while (rest.length > 0) {
      const first = rest[0] as Notification
      const batch = rest.slice(0, size)
      work ??= yield* Effect.catch(ask(batch), (error) => stopAt(first, Cause.fail(error)))
      const { asked, failure } = work
      const planned: Planned<E> = yield* plan(asked.slice(0, size), conflicts > 0)
      const { count } = planned
      if (count === 0) return yield* stopAt(first, planned.failure ?? failure ?? Cause.empty)
      const { id, position: to } = rest[count - 1] as Notification
      const next: Tracking.Note = { ...note, eventId: id }
      const recorded = yield* Effect.exit(record(planned, to, next))
      if (Exit.isSuccess(recorded)) {
        position = to
        note = next
        yield* planned.recorded
        yield* Metric.update(handledCount, count)
        rest = rest.slice(count)
        conflicts = 0
        work = undefined
        size = Math.min(size * 2, maxBatch)
        continue
      }
      const error = Cause.findErrorOption(recorded.cause)
      if (error._tag === "None") return yield* Effect.failCause(recorded.cause as Cause.Cause<never>)
      switch (error.value._tag) {
        case "WrongExpectedVersion": {
          states.invalidateIfAhead(error.value)
          yield* Metric.update(conflictCount, 1)
          yield* verifyTracking
          conflicts++
          if (conflicts % HALVED_AFTER === 0) size = Math.max(1, Math.floor(size / 2))
          break
        }
        case "RecorderFailure": {
          // no event is to blame
          if (error.value.isUnsupported === true) {
            const { reason } = error.value
            const operation = `run process "${process.name}"`
            const failure = new RecorderFailure({ operation, reason, isUnsupported: true, cause: error.value })
            return yield* Effect.andThen(verifyTracking, Effect.fail(failure))
          }
          // one of the results can't be recorded: recording each alone shows which one
          if (count === 1) return yield* Effect.andThen(verifyTracking, Effect.fail(failedAt(first, error.value)))
          size = 1
          work = undefined
          break
        }
        default:
          return yield* Effect.fail(error.value)
      }
    }
  })

  return {
    position: () => position,
    handle: (notifications) =>
      semaphore.withPermit(
        Effect.suspend(() => {
          const wanted = notifications.filter(isWanted)
          if (wanted.length === 0) return Effect.succeed(0)
          const span = linked(`Process.${process.name}`, { ...attributes, events: wanted.length }, wanted)
          return Effect.as(span(handleAll(wanted)), wanted.length)
        })
      ),
    passTo: (to) =>
      semaphore.withPermit(
        Effect.suspend(() => {
          if (position !== undefined && position >= to) return Effect.void
          return Effect.flatMap(eventAt(reader, to), (event) => {
            const next: Tracking.Note = { ...note, eventId: event?.id }
            const move = tracked.append([], { key, from: position, to, note: next })
            return Effect.map(
              Effect.catchTag(move, "WrongExpectedVersion", (error) => Effect.die(error)),
              () => {
                position = to
                note = next
              }
            )
          })
        })
      )
  }
}
