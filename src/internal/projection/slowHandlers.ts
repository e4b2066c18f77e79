import { Clock, Effect } from "effect"
import type { InHand } from "./processing.ts"
import type { Processor } from "./projectionProcessor.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { CHECK_INTERVAL } from "./runnerContext.ts"
import type { SessionStatus } from "./runnerStatus.ts"

/**
 * Reports handlers that have not returned for longer than `slowAfter`, once for each batch. It needs a fiber of its own:
 * the other fibers may all be waiting for these handlers.
 */
export const reportSlowHandlers = Effect.fnUntraced(function* (
  { key, local, projection, settings: { slowAfterMillis } }: RunnerContext,
  processor: Processor,
  status: SessionStatus
): Effect.fn.Return<never> {
  if (slowAfterMillis === Number.POSITIVE_INFINITY) return yield* Effect.never
  let reported: InHand | undefined
  while (true) {
    yield* Effect.sleep(Math.min(Math.max(slowAfterMillis / 4, 1), CHECK_INTERVAL))
    const inHand = processor.inHand()
    if (inHand === undefined || inHand === reported) continue
    const took = (yield* Clock.currentTimeMillis) - inHand.since
    if (took < slowAfterMillis) continue
    reported = inHand
    const { stream, version, type } = inHand.event
    const reason = `its handlers have worked for ${took} ms on a batch of ${inHand.events} ${inHand.events === 1 ? "event" : "events"}, which begins with event ${version} of stream "${stream}" (${type})`
    local.blocked.set(key.version, reason)
    yield* Effect.logWarning(`projection "${projection.name}" is slow: ${reason}`)
    yield* status.show({ _tag: "Slow", ...inHand })
  }
})
