/** Applies events to a view: decodes them, and runs the handlers in the transaction that moves the tracking. */
import { Cause, Clock, Effect, Metric } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { AnyRecorded, ProcessError, ProcessorContext } from "./processing.ts"
import { asHandler, HandlerFailed, toBlockedOn } from "./processing.ts"
import type { MoveTransaction } from "./tracker.ts"
import { isWorkAborted } from "./workAborted.ts"

/** Runs in the transaction before the handlers. */
type Also = (transaction: MoveTransaction) => Effect.Effect<unknown, RecorderError>

/**
 * Applies events and moves the tracking to a position, or does nothing. Returns how many events were applied: if the
 * time of the transaction ended before the last of them, it has moved the tracking to the last one that was applied.
 */
export const applyAll = (
  context: ProcessorContext,
  events: ReadonlyArray<Notification>,
  to: Position,
  also: Also = () => Effect.void
): Effect.Effect<number, HandlerFailed | ProcessError> => {
  const began = Effect.map(Clock.currentTimeMillis, (since) => {
    context.inHand = { since, event: toBlockedOn(events[0] as Notification), events: events.length }
  })
  const ended = Effect.sync(() => {
    context.inHand = undefined
  })
  const applied = Effect.flatMap(asHandler(context.decode(events)), (decoded) =>
    context.projection.delivery === "at-least-once"
      ? applyBefore(context, decoded, to, also)
      : applyInMove(context, events, decoded, to, also)
  )
  const counted = Effect.tap(applied, (count) => Metric.update(context.counters.projected, count))
  return Effect.ensuring(Effect.andThen(began, counted), ended)
}

/** Side effects happen before the move, outside of its transaction, but with what the store of the view provides. */
const applyBefore = (
  { key, projection, store, tracker }: ProcessorContext,
  decoded: ReadonlyArray<AnyRecorded>,
  to: Position,
  also: Also
): Effect.Effect<number, HandlerFailed | ProcessError> => {
  const handled = store.read(
    key,
    () => asHandler(projection.compiled.handle(decoded, undefined)) as Effect.Effect<unknown, HandlerFailed>
  )
  const moved = tracker.move(to, (_view, transaction) => also(transaction))
  return Effect.andThen(handled, Effect.as(moved, decoded.length))
}

/** Changes of a view are part of the move. */
const applyInMove = (
  context: ProcessorContext,
  events: ReadonlyArray<Notification>,
  decoded: ReadonlyArray<AnyRecorded>,
  to: Position,
  also: Also
): Effect.Effect<number, HandlerFailed | ProcessError> =>
  Effect.mapError(
    context.tracker.move(to, (view, transaction) =>
      Effect.andThen(also(transaction), handleInTime(context, events, decoded, view, transaction))
    ),
    (error) => (isWorkAborted(error) ? new HandlerFailed(Cause.fail(error)) : error)
  )

/** Handles events until the time of the transaction is over; returns how many. */
const handleInTime = (
  { batchSize, projection: { compiled } }: ProcessorContext,
  events: ReadonlyArray<Notification>,
  decoded: ReadonlyArray<AnyRecorded>,
  view: unknown,
  { left, endAt }: MoveTransaction
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
  const handled = asHandler(compiled.handle(decoded, view, progress)) as Effect.Effect<unknown, HandlerFailed>
  return Effect.flatMap(handled, () => {
    if (compiled.isBatched === true) {
      batchSize.adapt(length, before - left(), left())
      return Effect.succeed(length)
    }
    return count === length
      ? Effect.succeed(count)
      : Effect.as(endAt((events[count - 1] as Notification).position), count)
  })
}
