/** Applies one event. If its handler fails, it is retried; then it is dead-lettered, or the runner stops. */
import { Cause, Clock, Effect, Exit, Metric } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ProjectionFailed } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { DeadLetter } from "../../ViewStore.ts"
import type { Pauses } from "../concurrency/pauses.ts"
import { pausesOf } from "../concurrency/pauses.ts"
import { causeText } from "../errors/causeText.ts"
import { messageOf } from "../errors/messageOf.ts"
import { isTransient } from "../errors/transient.ts"
import { applyAll } from "./applyAll.ts"
import type { ProcessError, ProcessorContext } from "./processing.ts"
import { FromNewerProgram, HandlerFailed, toBlockedOn, unavailable } from "./processing.ts"

export const applyWithRetry = Effect.fnUntraced(function* (
  context: ProcessorContext,
  event: Notification,
  to: Position
): Effect.fn.Return<void, ProcessError> {
  if (!context.isKnown(event)) {
    const failure = Effect.matchCause(context.decode([event]), { onFailure: Cause.squash, onSuccess: () => undefined })
    return yield* Effect.fail(new FromNewerProgram(toBlockedOn(event), yield* failure))
  }
  let pauses: Pauses | undefined
  let attempts = 0
  while (true) {
    const exit = yield* Effect.exit(applyOnce(context, event, to))
    if (Exit.isSuccess(exit)) return
    const error = Cause.squash(exit.cause)
    if (!(error instanceof HandlerFailed)) return yield* Effect.failCause(exit.cause as Cause.Cause<ProcessError>)
    const cause = Cause.squash(error.cause)
    if (isTransient(cause)) return yield* unavailable(context, cause)
    attempts++
    yield* Metric.update(context.counters.retries, 1)
    const now = yield* Clock.currentTimeMillis
    pauses ??= yield* pausesOf(context.retry)
    const pause = yield* pauses(now, cause)
    if (pause === undefined) return yield* giveUp(context, event, to, error, attempts)
    yield* reportBlocked(context, event, cause, attempts, now + pause)
    yield* Effect.sleep(pause)
  }
})

/** Whether it is the first event of a stream that has dead letters; see {@link applyBeginning}. */
const isBeginning = ({ failedStreams }: ProcessorContext, { stream, version }: Notification): boolean =>
  failedStreams.has(stream) && version === 0

const applyOnce = (
  context: ProcessorContext,
  event: Notification,
  to: Position
): Effect.Effect<void, HandlerFailed | ProcessError> => {
  if (isBeginning(context, event)) return applyBeginning(context, event, to)
  if (context.failedStreams.has(event.stream)) return deferAfterFailed(context, event, to)
  return Effect.asVoid(applyAll(context, [event], to))
}

/**
 * The first event of a stream that has dead letters: those belonged to a stream that was erased, since no other event
 * has the same version. The stream has begun again, and its events wait for nothing.
 */
const applyBeginning = (
  context: ProcessorContext,
  event: Notification,
  to: Position
): Effect.Effect<void, HandlerFailed | ProcessError> =>
  Effect.andThen(
    applyAll(context, [event], to, ({ discard }) => discard(event.stream)),
    Effect.suspend(() => {
      context.failedStreams.delete(event.stream)
      return Effect.logWarning(
        `projection "${context.projection.name}" discarded the dead letters of stream "${event.stream}", which was erased and begins again`
      )
    })
  )

/** The stream no longer has dead letters. */
class Replayed {}

/**
 * Dead-letters an event whose stream has an earlier dead letter, unless that was replayed meanwhile: then it is
 * applied.
 */
const deferAfterFailed = (
  context: ProcessorContext,
  event: Notification,
  to: Position
): Effect.Effect<void, HandlerFailed | ProcessError> =>
  Effect.flatMap(toDeadLetter(event, "an earlier event of its stream is set aside", 0), (letter) =>
    context.tracker
      .move(to, (_view, { isSetAside, setAside }) =>
        Effect.flatMap(
          isSetAside(event.stream),
          (isLetter): Effect.Effect<void, RecorderError | Replayed> =>
            isLetter ? setAside(letter) : Effect.fail(new Replayed())
        )
      )
      .pipe(
        Effect.andThen(Metric.update(context.counters.setAside, 1)),
        Effect.catchIf(
          (error): error is Replayed => error instanceof Replayed,
          () => {
            context.failedStreams.delete(event.stream)
            return Effect.asVoid(applyAll(context, [event], to))
          }
        )
      )
  )

const reportBlocked = Effect.fnUntraced(function* (
  { onBlocked, projection }: ProcessorContext,
  event: Notification,
  cause: unknown,
  attempts: number,
  nextAttempt: number
) {
  const { stream, version, type } = event
  yield* onBlocked(toBlockedOn(event), cause, attempts, nextAttempt)
  if (attempts !== 1 && attempts % 10 !== 0) return
  yield* Effect.logWarning(
    `projection "${projection.name}" is blocked: a handler failed ${attempts === 1 ? "once" : `${attempts} times`} on event ${version} of stream "${stream}" (${type}): ${messageOf(cause)}`
  )
})

/** Stops the runner, or dead-letters the event, according to the option `onFailure`. */
const giveUp = Effect.fnUntraced(function* (
  context: ProcessorContext,
  event: Notification,
  to: Position,
  failed: HandlerFailed,
  attempts: number
): Effect.fn.Return<void, ProcessError> {
  const { position, stream, version, type } = event
  const { name } = context.projection
  const cause = Cause.squash(failed.cause)
  if (context.onFailure === "stop") {
    return yield* new ProjectionFailed({ projection: name, stream, version, type, position, attempts, cause })
  }
  const letter = yield* toDeadLetter(event, causeText(failed.cause) ?? "interrupted", attempts)
  const begins = isBeginning(context, event)
  yield* context.tracker.move(to, (_view, { discard, setAside }) =>
    Effect.andThen(begins ? discard(stream) : Effect.void, setAside(letter))
  )
  context.failedStreams.add(stream)
  yield* Metric.update(context.counters.setAside, 1)
  yield* Effect.logError(
    `projection "${name}" set aside event ${version} of stream "${stream}" (${type}) at position ${position}: ${messageOf(cause)}`
  )
})

const toDeadLetter = (
  { position, stream, version, id, type }: Notification,
  cause: string,
  attempts: number
): Effect.Effect<DeadLetter> =>
  Effect.map(Clock.currentTimeMillis, (setAsideAt) => ({
    ...{ position, stream, streamVersion: version, eventId: id },
    ...{ type, cause, attempts, setAsideAt }
  }))
