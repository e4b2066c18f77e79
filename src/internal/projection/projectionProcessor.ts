/** Takes batches of stored events into a view, in the hands of the projection's owner. */
import { Cause, Clock, Duration, Effect, Exit, Metric, Pull, Schedule, Semaphore } from "effect"
import type { ReadError, RecorderError } from "../../EventSourcingError.ts"
import {
  ProjectionFailed,
  ProjectionSuperseded,
  RecorderUnavailable,
  TrackingConflict
} from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Notification } from "../../StoredEvent.ts"
import type * as Tracking from "../../Tracking.ts"
import type { DeadLetter, Seen, Transaction, ViewStore } from "../../ViewStore.ts"
import { causeText } from "../errors/causeText.ts"
import { messageOf } from "../errors/messageOf.ts"
import { explain, passesByItself } from "../errors/transient.ts"
import { aggregateFinder } from "../eventStore/codecs.ts"
import type { StoredBatch } from "../following/selection.ts"
import * as Metrics from "../observability/metrics.ts"
import { linked } from "../observability/tracing.ts"
import * as BatchSize from "./batchSize.ts"
import * as Upstream from "./upstream.ts"
import { isWorkAborted } from "./workAborted.ts"

type AnyRecorded = Positioned<string, { readonly _tag: string }>

/** What failed in a handler, or in decoding for it, told apart from what the view's database failed with. */
class HandlerFailed {
  readonly cause: Cause.Cause<unknown>
  constructor(cause: Cause.Cause<unknown>) {
    this.cause = cause
  }
}

/** A move that is under way, with what is noted of the log where it ends. */
interface Moving extends Omit<Transaction, "endAt"> {
  readonly endAt: (position: Position) => Effect.Effect<void, RecorderError>
}

/** Nothing of a stream is set aside any more. */
class Replayed {}

/**
 * An event whose type, or whose version of it, this program does not know: a newer one wrote it, and is the one to handle
 * it. Nothing is wrong with the event, so that it is never set aside for it.
 */
export class FromNewerProgram {
  readonly event: BlockedOn
  readonly cause: unknown
  constructor(event: BlockedOn, cause: unknown) {
    this.event = event
    this.cause = cause
  }
}

/** An event on which a handler fails. */
export interface BlockedOn {
  readonly position: Position
  readonly stream: string
  readonly version: number
  readonly type: string
}

/** How a projection's batches are processed. */
export interface Processing {
  readonly projection: Projection.Any
  readonly key: Tracking.Key
  /** What the metrics of its runner have. */
  readonly attributes: Metric.Metric.AttributeSet
  readonly store: ViewStore<unknown, never>
  readonly decode: (page: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<AnyRecorded>, ReadError>
  /** Events in a transaction at most. */
  readonly maxBatch: number
  readonly retry: Schedule.Schedule<unknown>
  readonly onFailure: "stop" | "set-aside"
  readonly onBlocked: (event: BlockedOn, cause: unknown, attempts: number, nextAttempt: number) => Effect.Effect<void>
}

/** What the handlers have been given and have not done yet. */
export interface InHand {
  /** In milliseconds since the epoch. */
  readonly since: number
  /** The first of them. */
  readonly event: BlockedOn
  /** How many there are. */
  readonly events: number
}

/** What ends the processing of a batch. */
export type ProcessError = FromNewerProgram | ProjectionFailed | ProjectionSuperseded | TrackingConflict | RecorderError

/** The projection's hold on its tracking. */
export interface Processor {
  readonly position: () => Position | undefined
  /** Up to where events were processed, or were none of the projection's: the tracking may not have moved there yet. */
  readonly end: () => Position | undefined
  /** What was seen of the log, also past the position; `undefined` before the first batch. */
  readonly seen: () => Seen | undefined
  /** What the handlers have, if anything. */
  readonly inHand: () => InHand | undefined
  /** Takes the handled events of a batch into the view. */
  readonly process: (batch: StoredBatch) => Effect.Effect<void, ProcessError>
  /** Fails where the tracking is not where it was left: the view was reset, or another version has taken its place. */
  readonly check: Effect.Effect<void, ProcessError>
  /** Moves the tracking past what is none of the projection's, where it has not been yet. */
  readonly catchUp: Effect.Effect<void, ProcessError>
}

/** Begins after a position, up to which the view has seen its log. */
export const make = Effect.fnUntraced(function* (
  { projection, key, attributes, store, decode, maxBatch, retry, onFailure, onBlocked }: Processing,
  start: Position | undefined,
  seenAtStart: Seen | undefined
): Effect.fn.Return<Processor, RecorderError> {
  const { compiled, name, delivery } = projection
  const aggregateOf = aggregateFinder(projection.aggregates)
  const projected = Metric.withAttributes(Metrics.projected, attributes)
  const retries = Metric.withAttributes(Metrics.retries, attributes)
  const asides = Metric.withAttributes(Metrics.setAside, attributes)
  /** Streams of which events are set aside, as far as is known. */
  const withheld = new Set((yield* store.deadLetters(key)).map(({ stream }) => stream))
  const semaphore = Semaphore.makeUnsafe(1)
  let position = start
  let inHand: InHand | undefined
  /** How many moves have begun and ended: one is under way where it is odd. */
  let moves = 0
  /** Everything up to here has been seen, and was none of ours behind `position`. */
  let seen = start

  const names = projection.aggregates.map((aggregate) => aggregate.name)
  /** What was seen of the log up to the position, and with a finished batch up to its end. */
  let noted = seenAtStart
  /** Events of the batch in hand that are not in `noted` yet. */
  let pending: ReadonlyArray<Notification> = []
  /** What is noted with a move to a position: it and what is pending then. */
  const notedAt = (to: Position) => {
    let end = 0
    while (end < pending.length && (pending[end] as Notification).position <= to) end++
    return { noted: Upstream.note(names, noted, end === pending.length ? pending : pending.slice(0, end), to), end }
  }

  /** Whether there is something to do: also for an event of a type that nobody knows, which is to fail. */
  const isWanted = ({ stream, type }: Notification): boolean => {
    const aggregate = aggregateOf(stream)
    const event = aggregate.compiled.byType.get(type)
    return event === undefined || compiled.handles(aggregate.name, event.tag)
  }

  const isKnown = ({ stream, type, schemaVersion }: Notification): boolean => {
    const event = aggregateOf(stream).compiled.byType.get(type)
    return event !== undefined && schemaVersion <= event.codec.version
  }

  const handled = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.catchCause(self, (cause) => Effect.fail(new HandlerFailed(cause)))

  const move = <A, E>(
    to: Position,
    work: (view: unknown, transaction: Moving) => Effect.Effect<A, E, unknown>
  ): Effect.Effect<A, E | ProcessError> =>
    Effect.suspend(() => {
      moves++
      let end = { to, ...notedAt(to) }
      const endingEarlier = (transaction: Transaction): Moving => ({
        ...transaction,
        endAt: (earlier) => {
          const next = notedAt(earlier)
          return Effect.map(transaction.endAt(earlier, next.noted), () => {
            end = { to: earlier, ...next }
          })
        }
      })
      const moved = store.transact({ key, from: position, to, seen: end.noted }, (view, transaction) =>
        work(view, endingEarlier(transaction))
      ) as Effect.Effect<A, E | ProcessError>
      return Effect.onExit(moved, (exit) =>
        Effect.sync(() => {
          moves++
          if (!Exit.isSuccess(exit)) return
          position = end.to
          noted = end.noted
          pending = pending.slice(end.end)
        })
      )
    })

  /** How many events a handler of batches is given. */
  const batchSize = BatchSize.make(maxBatch)

  /** Handles events up to where the time of the transaction is over; returns how many those were. */
  const handleInTime = (
    events: ReadonlyArray<Notification>,
    decoded: ReadonlyArray<AnyRecorded>,
    view: unknown,
    { left, endAt }: Moving
  ): Effect.Effect<number, HandlerFailed | RecorderError> => {
    const { length } = decoded
    const before = left()
    let count = 0
    const progress = {
      isTimeLeft: () => left() > 0,
      handled: () => {
        count++
      }
    }
    const some = handled(compiled.handle(decoded, view, progress)) as Effect.Effect<unknown, HandlerFailed>
    return Effect.flatMap(some, () => {
      if (compiled.isBatched === true) {
        batchSize.adapt(length, before - left(), left())
        return Effect.succeed(length)
      }
      return count === length
        ? Effect.succeed(count)
        : Effect.as(endAt((events[count - 1] as Notification).position), count)
    })
  }

  /**
   * Handles events and moves the tracking to a position, with `also` in that transaction, or does nothing; returns how many
   * it has come to handle. If those are not all of them, it has moved the tracking to the last of them.
   */
  const take = (
    events: ReadonlyArray<Notification>,
    to: Position,
    also: (transaction: Moving) => Effect.Effect<unknown, RecorderError> = () => Effect.void
  ): Effect.Effect<number, HandlerFailed | ProcessError> => {
    const began = Effect.map(Clock.currentTimeMillis, (since) => {
      inHand = { since, event: placeOf(events[0] as Notification), events: events.length }
    })
    const ended = Effect.sync(() => {
      inHand = undefined
    })
    return Effect.ensuring(Effect.andThen(began, takeInHand(events, to, also)), ended)
  }

  const takeInHand = (
    events: ReadonlyArray<Notification>,
    to: Position,
    also: (transaction: Moving) => Effect.Effect<unknown, RecorderError>
  ): Effect.Effect<number, HandlerFailed | ProcessError> =>
    Effect.flatMap(handled(decode(events)), (decoded): Effect.Effect<number, HandlerFailed | ProcessError> => {
      const aborted = Effect.mapError((error: HandlerFailed | ProcessError) =>
        isWorkAborted(error) ? new HandlerFailed(Cause.fail(error)) : error
      )
      const moved =
        delivery === "at-least-once"
          ? Effect.andThen(
              // outside of a transaction, but with what the place of the view provides
              store.read(
                key,
                () => handled(compiled.handle(decoded, undefined)) as Effect.Effect<unknown, HandlerFailed>
              ),
              Effect.as(
                move(to, (_view, transaction) => also(transaction)),
                events.length
              )
            )
          : aborted(
              move(to, (view, transaction) =>
                Effect.andThen(also(transaction), handleInTime(events, decoded, view, transaction))
              )
            )
      return Effect.tap(moved, (count) => Metric.update(projected, count))
    })

  const letterOf = (event: Notification, cause: string, attempts: number) =>
    Effect.map(
      Clock.currentTimeMillis,
      (now): DeadLetter => ({
        position: event.position,
        stream: event.stream,
        streamVersion: event.version,
        eventId: event.id,
        type: event.type,
        cause,
        attempts,
        setAsideAt: now
      })
    )

  /** Behind an event of its stream that is set aside, unless that was replayed meanwhile: then it is handled. */
  const takeBehind = (event: Notification, to: Position): Effect.Effect<void, HandlerFailed | ProcessError> =>
    Effect.flatMap(letterOf(event, "an event before it in its stream is set aside", 0), (letter) =>
      move(to, (_view, { isSetAside, setAside }) =>
        Effect.flatMap(
          isSetAside(event.stream),
          (is): Effect.Effect<void, RecorderError | Replayed> => (is ? setAside(letter) : Effect.fail(new Replayed()))
        )
      ).pipe(
        Effect.andThen(Metric.update(asides, 1)),
        Effect.catchIf(
          (error): error is Replayed => error instanceof Replayed,
          () => {
            withheld.delete(event.stream)
            return Effect.asVoid(take([event], to))
          }
        )
      )
    )

  /**
   * The first event of a stream of which events are set aside: those were in a stream that was erased, since no other has
   * the same version. What comes now is another beginning, and waits for nothing.
   */
  const takeBeginning = (event: Notification, to: Position): Effect.Effect<void, HandlerFailed | ProcessError> =>
    Effect.andThen(
      take([event], to, ({ discard }) => discard(event.stream)),
      Effect.suspend(() => {
        withheld.delete(event.stream)
        return Effect.logWarning(
          `projection "${name}" has discarded what was set aside of stream "${event.stream}", which was erased and begins again`
        )
      })
    )

  /** One event by itself: again by the policy, then stopped at, or set aside. */
  const takeOne = Effect.fnUntraced(function* (
    event: Notification,
    to: Position
  ): Effect.fn.Return<void, ProcessError> {
    const { stream, version, type } = event
    const at = placeOf(event)
    if (!isKnown(event)) {
      const said = Effect.matchCause(decode([event]), { onFailure: Cause.squash, onSuccess: () => undefined })
      return yield* Effect.fail(new FromNewerProgram(at, yield* said))
    }
    const step = yield* Schedule.toStep(retry)
    let attempts = 0
    while (true) {
      const isWithheld = withheld.has(event.stream)
      const begins = isWithheld && event.version === 0
      const exit = yield* Effect.exit(
        begins ? takeBeginning(event, to) : isWithheld ? takeBehind(event, to) : Effect.asVoid(take([event], to))
      )
      if (Exit.isSuccess(exit)) return
      const error = Cause.squash(exit.cause)
      if (!(error instanceof HandlerFailed)) return yield* Effect.failCause(exit.cause as Cause.Cause<ProcessError>)
      const cause = Cause.squash(error.cause)
      if (passesByItself(cause)) return yield* passing(name, cause)
      attempts++
      yield* Metric.update(retries, 1)
      const now = yield* Clock.currentTimeMillis
      const next = yield* Pull.catchDone(
        Effect.map(step(now, cause), ([, delay]) => delay),
        () => Effect.succeed(undefined)
      )
      if (next !== undefined) {
        yield* onBlocked(at, cause, attempts, now + Duration.toMillis(next))
        if (attempts === 1 || attempts % 10 === 0) {
          yield* Effect.logWarning(
            `projection "${name}" is held up: a handler has failed ${attempts} times on event ${version} of stream "${stream}" (${type}): ${messageOf(cause)}`
          )
        }
        yield* Effect.sleep(next)
        continue
      }
      if (onFailure === "stop") {
        return yield* new ProjectionFailed({
          projection: name,
          ...{ stream, version, type, attempts, cause },
          position: event.position
        })
      }
      const letter = yield* letterOf(event, causeText(error.cause) ?? "interrupted", attempts)
      yield* move(to, (_view, { discard, setAside }) =>
        Effect.andThen(begins ? discard(stream) : Effect.void, setAside(letter))
      )
      withheld.add(stream)
      yield* Metric.update(asides, 1)
      yield* Effect.logError(
        `projection "${name}" has set event ${version} of stream "${stream}" (${type}) at position ${event.position} aside: ${messageOf(cause)}`
      )
      return
    }
  })

  const takeChunk = Effect.fnUntraced(function* (
    events: ReadonlyArray<Notification>,
    to: Position
  ): Effect.fn.Return<void, ProcessError> {
    let left = events
    while (left.length > 0) {
      const inOrder = left.length > 1 && !left.some(({ stream }) => withheld.has(stream))
      if (!inOrder || delivery !== "exactly-once") break
      const exit = yield* Effect.exit(take(left, to))
      if (Exit.isSuccess(exit)) {
        left = left.slice(exit.value)
        continue
      }
      const error = Cause.squash(exit.cause)
      if (!(error instanceof HandlerFailed)) return yield* Effect.failCause(exit.cause as Cause.Cause<ProcessError>)
      const cause = Cause.squash(error.cause)
      if (passesByItself(cause)) return yield* passing(name, cause)
      break
    }
    // one of them fails: each by itself, up to that one
    for (const [i, event] of left.entries()) yield* takeOne(event, i === left.length - 1 ? to : event.position)
  })

  const process = Effect.fnUntraced(function* (batch: StoredBatch): Effect.fn.Return<void, ProcessError> {
    const wanted = batch.notifications.filter(isWanted)
    const end = batch.position
    if (end === undefined) return
    pending = batch.notifications
    let taken = 0
    while (taken < wanted.length) {
      const chunk = wanted.slice(taken, taken + (compiled.isBatched === true ? batchSize.next() : maxBatch))
      taken += chunk.length
      const to = taken === wanted.length ? end : (chunk[chunk.length - 1] as Notification).position
      yield* linked(`Projection.${name}`, { ...attributes, events: chunk.length }, chunk)(takeChunk(chunk, to))
    }
    seen = end
    // whatever is moved to next is not before the end of this batch
    if (pending.length > 0) noted = Upstream.note(names, noted, pending, end)
    pending = []
  })

  return {
    position: () => position,
    end: () => seen,
    seen: () => noted,
    inHand: () => inHand,
    process: (batch) => semaphore.withPermit(process(batch)),
    catchUp: semaphore.withPermit(
      Effect.suspend(() =>
        seen === undefined || (position !== undefined && position >= seen) ? Effect.void : move(seen, () => Effect.void)
      )
    ),
    // also while a handler is waited for, or is to be tried again; a move that is under way finds out by itself
    check: Effect.suspend(() => {
      const began = moves
      if (began % 2 === 1) return Effect.void
      return Effect.flatMap(store.versions(key), (all): Effect.Effect<void, ProcessError> => {
        if (moves !== began) return Effect.void
        const mine = all.find(({ version }) => version === key.version)
        const { projection: of, version, upstream } = key
        if (mine?.status === "retired" && !mine.ready) {
          const by = all.find(({ status }) => status === "current")?.version ?? version
          return Effect.fail(new ProjectionSuperseded({ projection: of, version, by }))
        }
        return mine !== undefined && mine.position === position
          ? Effect.void
          : Effect.fail(new TrackingConflict({ projection: of, upstream, expected: position, actual: mine?.position }))
      })
    })
  }
})

const placeOf = ({ position, stream, version, type }: Notification): BlockedOn => ({ position, stream, version, type })

const passing = (name: string, cause: unknown) =>
  Effect.fail(new RecorderUnavailable({ operation: `run projection "${name}"`, reason: explain(cause), cause }))
