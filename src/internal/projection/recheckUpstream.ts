/** Compares the log again after it was unreachable: it may be a different one by then. */
import { Effect } from "effect"
import type { RecorderError, UpstreamChanged } from "../../EventSourcingError.ts"
import { PositionBeyondHead } from "../../EventSourcingError.ts"
import type { Processor } from "./projectionProcessor.ts"
import type { RunnerContext } from "./runnerContext.ts"
import * as Upstream from "./upstream.ts"

export interface Recheck {
  /** Notes that the log is unreachable. */
  readonly cutOff: () => void
  /** How often the log was unreachable before a batch was read: a state may be reported later than that batch. */
  readonly outages: (count: number) => void
  /** Fails if the log was unreachable and is a different one now, or ends before the position of the view. */
  readonly ifCutOff: Effect.Effect<void, UpstreamChanged | PositionBeyondHead | RecorderError>
}

export const makeRecheck = ({ aggregates, projection, recorder }: RunnerContext, processor: Processor): Recheck => {
  let wasCutOff = false
  let outages = 0
  return {
    cutOff: () => {
      wasCutOff = true
    },
    outages: (count) => {
      if (count === outages) return
      outages = count
      wasCutOff = true
    },
    ifCutOff: Effect.gen(function* () {
      const seen = processor.seen()
      if (!wasCutOff || seen === undefined) return
      const { position } = seen
      const verdict = yield* Upstream.inspect(recorder, aggregates, position, seen)
      if (verdict._tag === "Changed") return yield* Upstream.toUpstreamChanged(projection, position, verdict)
      if (verdict._tag === "Behind") return yield* new PositionBeyondHead({ from: position, head: verdict.head })
      wasCutOff = false
    })
  }
}
