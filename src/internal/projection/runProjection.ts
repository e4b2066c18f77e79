/**
 * The sequence of a runner's work: it takes the lease, and while it holds it, one session follows another until a
 * failure that is not retried.
 */
import { Duration, Effect } from "effect"
import type { RunnerError } from "../../ProjectionRunner.ts"
import { measureLag } from "./lag.ts"
import type { Opener } from "./openOnUpstream.ts"
import { makeOpener } from "./openOnUpstream.ts"
import type { End } from "./openView.ts"
import type { FromNewerProgram } from "./processing.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { retryNewerEvents, retryTransient } from "./runnerRetries.ts"
import { runUntilFailure } from "./runUntilFailure.ts"

/** `endAtStart` is the end of the log when the runner was started, if the projection starts there. */
export const runProjection = Effect.fnUntraced(function* (
  context: RunnerContext,
  endAtStart: End | undefined
): Effect.fn.Return<never, RunnerError> {
  const opener = makeOpener(context, endAtStart)
  yield* opener.noteExisting
  const sessions = retryTransient(context, runUntilFailure(context, opener))
  const running = retryNewerEvents(context, asOwner(context, opener, sessions))
  return yield* Effect.raceFirst(running, measureLag(context))
})

/** Waits for the lease, and works while it holds it. */
const asOwner = (
  context: RunnerContext,
  { noteExisting }: Opener,
  work: Effect.Effect<never, RunnerError | FromNewerProgram>
): Effect.Effect<never, RunnerError | FromNewerProgram> => {
  const { key, ownership, projection, status } = context
  let isLogged = false
  const standBy = Effect.gen(function* () {
    yield* noteExisting
    // the other runner reports that now
    context.local.blocked.delete(key.version)
    context.processor = undefined
    yield* status.succeeded
    yield* status.set({ _tag: "Standby" })
    if (isLogged) return
    isLogged = true
    yield* Effect.logInfo(
      `projection "${projection.name}" is on standby: another runner of version ${key.version} has the lease`
    )
  })
  return ownership.whileOwner(key, work, {
    onStandby: standBy,
    onUnavailable: (error) => status.retrying(error, Duration.seconds(1))
  }) as Effect.Effect<never, RunnerError | FromNewerProgram>
}
