/** One session of a runner: it follows its log from the tracking position until something fails. */
import { Clock, Effect, Stream } from "effect"
import type {
  FollowError,
  ProjectionModeChanged,
  ProjectionRemoved,
  UpstreamChanged
} from "../../EventSourcingError.ts"
import type { Opened } from "../../ViewStore.ts"
import { messageOf } from "../errors/messageOf.ts"
import type { ChangeSignal } from "../following/changeSignal.ts"
import { makeChangeSignal } from "../following/changeSignal.ts"
import { reportingProgress } from "./lag.ts"
import type { Opener } from "./openOnUpstream.ts"
import type { ProcessError } from "./processing.ts"
import type { Processor } from "./projectionProcessor.ts"
import * as ProjectionProcessor from "./projectionProcessor.ts"
import { makePromotion } from "./promotion.ts"
import type { Recheck } from "./recheckUpstream.ts"
import { makeRecheck } from "./recheckUpstream.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { nextCheck } from "./runnerContext.ts"
import type { SessionStatus } from "./runnerStatus.ts"
import { makeSessionStatus } from "./runnerStatus.ts"
import { reportSlowHandlers } from "./slowHandlers.ts"

/** What ends a session. */
export type SessionError = ProcessError | FollowError | ProjectionModeChanged | ProjectionRemoved | UpstreamChanged

/** How long the tracking position may lag events that the projection does not handle, in milliseconds. */
const CATCH_UP = 100

export const runUntilFailure = Effect.fnUntraced(function* (
  context: RunnerContext,
  opener: Opener
): Effect.fn.Return<never, SessionError> {
  const status = makeSessionStatus(context.status)
  if (context.status.failure() === undefined) yield* status.show({ _tag: "Starting" })
  const opened = yield* opener.open
  const processor = yield* makeProcessor(context, status, opened)
  context.processor = processor
  const recheck = makeRecheck(context, processor)
  /** Notifies of each batch that has ended. */
  const batches = makeChangeSignal()
  return yield* Effect.raceAllFirst([
    followLog({ context, opened, processor, recheck, status, batches }, yield* Clock.currentTimeMillis),
    catchUpWhenIdle(processor, batches),
    catchUpForWaiters(context, processor),
    checkRegularly(context, processor, status, recheck),
    reportSlowHandlers(context, processor, status)
  ])
})

const makeProcessor = (context: RunnerContext, status: SessionStatus, { position, seen }: Opened) => {
  const { attributes, decode, key, local, projection, settings, store } = context
  return ProjectionProcessor.make(
    {
      ...{ projection, key, attributes, store, decode, ...settings },
      onBlocked: (event, cause, attempts, nextAttempt) => {
        local.blocked.set(
          key.version,
          `a handler failed ${attempts === 1 ? "once" : `${attempts} times`} on event ${event.version} of stream "${event.stream}" (${event.type}): ${messageOf(cause)}`
        )
        return status.show({ _tag: "Blocked", event, cause, attempts, nextAttempt })
      }
    },
    position,
    seen
  )
}

interface Session {
  readonly context: RunnerContext
  readonly opened: Opened
  readonly processor: Processor
  readonly recheck: Recheck
  readonly status: SessionStatus
  readonly batches: ChangeSignal
}

/** Hands the batches of the log to the processor. */
const followLog = (
  { context, opened, processor, recheck, status, batches }: Session,
  began: number
): Effect.Effect<never, SessionError> => {
  const { promoteIfCaughtUp } = makePromotion(context, opened.status)
  const report = reportingProgress(context, processor, status, began)
  return context.subscription
    .follow(
      { aggregates: context.projection.aggregates },
      {
        from: opened.position ?? "start",
        onState: (state) => {
          if (state._tag === "Retrying") recheck.cutOff()
          return status.followed(state)
        }
      }
    )
    .pipe(
      Stream.runForEach((batch) =>
        Effect.gen(function* () {
          recheck.outages(batch.outages)
          yield* recheck.ifCutOff
          yield* processor.process(batch)
          yield* promoteIfCaughtUp(batch, processor)
          // an attempt has succeeded once the view could be written to
          if (context.status.failure() !== undefined || isAwaited(context, processor)) yield* processor.catchUp
          batches.notify()
          yield* report(batch)
        })
      ),
      Effect.andThen(Effect.die(new Error("a subscription ended without an error")))
    )
}

/** Events that this projection does not handle do not cost a transaction each: the tracking moves past many at once. */
const catchUpWhenIdle = (processor: Processor, batches: ChangeSignal): Effect.Effect<never, SessionError> => {
  // as it is before the log is followed
  let seen = batches.current()
  return Effect.gen(function* () {
    // nothing wakes while there are no events
    yield* Effect.ignore(batches.after(seen))
    yield* Effect.sleep(CATCH_UP)
    seen = batches.current()
    yield* processor.catchUp
  }).pipe(Effect.forever)
}

/** A new waiter does not wait for that delay. */
const catchUpForWaiters = (context: RunnerContext, processor: Processor): Effect.Effect<never, SessionError> =>
  Effect.gen(function* () {
    const { newWaiters } = context.local
    const before = newWaiters.current()
    if (isAwaited(context, processor)) yield* processor.catchUp
    yield* Effect.ignore(newWaiters.after(before))
  }).pipe(Effect.forever)

/** Whether a waiter in this process needs a position that was passed, but is not stored yet. */
const isAwaited = ({ local }: RunnerContext, processor: Processor): boolean =>
  local.isAwaited(processor.position(), processor.end())

/**
 * Detects what the log does not report: that the view was reset, or that another version has become the current one.
 */
const checkRegularly = (
  context: RunnerContext,
  processor: Processor,
  status: SessionStatus,
  recheck: Recheck
): Effect.Effect<never, SessionError> =>
  Effect.gen(function* () {
    yield* nextCheck(context)
    yield* processor.check
    // while the log can't be reached, the follower handles that
    if (!status.isCutOff()) yield* recheck.ifCutOff
  }).pipe(Effect.forever)
