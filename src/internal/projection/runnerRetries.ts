/**
 * Where a runner decides what is retried:
 *
 * - **Transient failures** ({@link isTransient}): the log or the view can't be reached, another runner has moved the
 *   tracking, or the log is behind. They are retried indefinitely, with pauses of up to 5 s ({@link retryTransient}).
 * - **Events of a newer program**: retried by the runner's option `retry`; meanwhile the lease is free for a runner of
 *   that program ({@link retryNewerEvents}).
 * - **Events on which a handler fails**: also retried by the option `retry`, within the session, in
 *   `applyWithRetry.ts`.
 *
 * Every other failure stops the runner.
 */
import { Cause, Clock, Effect, Schedule } from "effect"
import type { FollowError, RecorderFailure, TrackingConflict } from "../../EventSourcingError.ts"
import { ProjectionFailed } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { RunnerError } from "../../ProjectionRunner.ts"
import type { Pauses } from "../concurrency/pauses.ts"
import { pausesOf } from "../concurrency/pauses.ts"
import { messageOf } from "../errors/messageOf.ts"
import { reconnect } from "../following/reconnect.ts"
import { FromNewerProgram } from "./processing.ts"
import type { RunnerContext } from "./runnerContext.ts"
import type { SessionError } from "./runUntilFailure.ts"

/** Whether waiting may cure the failure that has ended a session. */
const isTransient = (error: SessionError): error is Exclude<FollowError, RecorderFailure> | TrackingConflict =>
  !(error instanceof FromNewerProgram) &&
  (error._tag === "RecorderUnavailable" || error._tag === "TrackingConflict" || error._tag === "PositionBeyondHead")

/** Begins a new session whenever one ends with a transient failure. */
export const retryTransient = Effect.fnUntraced(function* (
  { projection, status }: RunnerContext,
  session: Effect.Effect<never, SessionError>
): Effect.fn.Return<never, RunnerError | FromNewerProgram> {
  let step = yield* Schedule.toStep(reconnect)
  while (true) {
    const cause = yield* Effect.flip(Effect.sandbox(session))
    const error = Cause.findErrorOption(cause)
    if (error._tag === "None" || !isTransient(error.value)) {
      return yield* Effect.failCause(cause as Cause.Cause<RunnerError | FromNewerProgram>)
    }
    // it has worked in between: the pauses start again with the shortest
    if (status.failure() === undefined) step = yield* Schedule.toStep(reconnect)
    const [, delay] = yield* Effect.orDie(step(yield* Clock.currentTimeMillis, undefined))
    yield* Effect.logWarning(`projection "${projection.name}" is retrying: ${error.value.message}`)
    yield* status.retrying(error.value, delay)
    yield* Effect.sleep(delay)
  }
})

/** How often an event of a newer program is tried again after `retry` is exhausted, in milliseconds. */
const NEWER_INTERVAL = 10_000

/** The failed attempts at an event of a newer program. */
interface NewerAttempts {
  readonly position: Position | undefined
  attempts: number
  readonly pauses: Pauses
}

/**
 * Takes the lease again and again, as long as what ends its work is an event of a newer program: the lease is free
 * before each new attempt, so that a runner of the newer program can take over.
 */
export const retryNewerEvents = Effect.fnUntraced(function* (
  context: RunnerContext,
  whileOwner: Effect.Effect<never, RunnerError | FromNewerProgram>
): Effect.fn.Return<never, RunnerError> {
  const { retry } = context.settings
  let tried: NewerAttempts = { position: undefined, attempts: 0, pauses: yield* pausesOf(retry) }
  while (true) {
    const error = yield* Effect.flip(whileOwner)
    if (!(error instanceof FromNewerProgram)) return yield* Effect.fail(error)
    const { position } = error.event
    if (tried.position !== position) tried = { position, attempts: 0, pauses: yield* pausesOf(retry) }
    tried.attempts++
    yield* waitForNewerProgram(context, error, tried)
  }
})

/** Waits until the next attempt is due; fails if there will be none. */
const waitForNewerProgram = Effect.fnUntraced(function* (
  { key, local, projection: { name }, settings, status }: RunnerContext,
  { cause, event }: FromNewerProgram,
  { attempts, pauses }: NewerAttempts
): Effect.fn.Return<void, ProjectionFailed> {
  yield* status.countRetry
  const now = yield* Clock.currentTimeMillis
  const next = yield* pauses(now, cause)
  if (next === undefined && settings.onFailure === "stop") {
    return yield* new ProjectionFailed({ projection: name, ...event, attempts, cause })
  }
  // enough time for standby runners to look at the lease
  const delay = Math.max(next ?? NEWER_INTERVAL, 2 * Math.min(settings.leaseMillis / 4, 1000))
  const reason = `event ${event.version} of stream "${event.stream}" (${event.type}) was written by a newer version of the program: ${messageOf(cause)}`
  yield* Effect.logWarning(`projection "${name}" gives up its lease: ${reason}`)
  local.blocked.set(key.version, reason)
  yield* status.set({ _tag: "Blocked", event, cause, attempts, nextAttempt: now + delay })
  yield* Effect.sleep(delay)
})
