/** How far a runner lags the end of its log: reported with each batch, and measured while there are none. */
import { Clock, Effect, Metric } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import { gather } from "../concurrency/gather.ts"
import { nextTick } from "../concurrency/ticks.ts"
import { makePace } from "../following/pace.ts"
import type { StoredBatch } from "../following/selection.ts"
import * as Metrics from "../observability/metrics.ts"
import type { Processor } from "./projectionProcessor.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { ownVersion } from "./runnerContext.ts"
import type { SessionStatus } from "./runnerStatus.ts"

/** How often a runner that makes no progress measures its lag, in milliseconds. */
const MEASURE_INTERVAL = 1000

/** Finds the head of each log, with one query for all runners that need it at the same time. */
const heads = new WeakMap<LogReader["Service"], Effect.Effect<Position | undefined, RecorderError>>()
export const headOf = (recorder: LogReader["Service"]): Effect.Effect<Position | undefined, RecorderError> => {
  const known = heads.get(recorder)
  if (known !== undefined) return known
  const read = gather(
    (callers: ReadonlyArray<void>) => Effect.map(recorder.head, (head) => callers.map(() => head)),
    recorder.inTransaction
  )
  const head = read()
  heads.set(recorder, head)
  return head
}

const gaugesOf = ({ attributes }: RunnerContext) => ({
  positions: Metric.withAttributes(Metrics.lagPositions, attributes),
  seconds: Metric.withAttributes(Metrics.lagSeconds, attributes)
})

/** Reports the progress of a session after each batch: the lag, and whether it catches up or is live. */
export const reportingProgress = (
  context: RunnerContext,
  processor: Processor,
  status: SessionStatus,
  began: number
): ((batch: StoredBatch) => Effect.Effect<void>) => {
  const gauges = gaugesOf(context)
  const pace = makePace(processor.position(), began)
  return Effect.fnUntraced(function* ({ notifications, caughtUp, head }) {
    yield* context.status.succeeded
    const now = yield* Clock.currentTimeMillis
    const position = processor.position()
    const last = notifications[notifications.length - 1]
    yield* Metric.update(gauges.positions, caughtUp ? 0 : Number((head ?? 0n) - (position ?? 0n)))
    yield* Metric.update(gauges.seconds, caughtUp || last === undefined ? 0 : secondsSince(last, now))
    if (caughtUp) return yield* status.show({ _tag: "Live", position })
    yield* status.show({ _tag: "CatchingUp", position, head, ...pace(position, head, notifications.length, now) })
  })
}

/** Measures the lag while no progress is made; as long as it can't be measured, the reported lag grows with time. */
export const measureLag = Effect.fnUntraced(function* (context: RunnerContext): Effect.fn.Return<never> {
  const { status, store } = context
  const gauges = gaugesOf(context)
  /** When the lag was last known, and what it was; both in milliseconds. */
  let known = { at: yield* Clock.currentTimeMillis, lag: 0 }
  while (true) {
    yield* nextTick(store, status.current()._tag === "Standby" ? 5 * MEASURE_INTERVAL : MEASURE_INTERVAL)
    const before = yield* Clock.currentTimeMillis
    if (isReported(context, before)) {
      known = { at: before, lag: 0 }
      continue
    }
    const measured = yield* Effect.option(Effect.timeout(measureOnce(context), MEASURE_INTERVAL))
    const now = yield* Clock.currentTimeMillis
    if (isReported(context, now)) continue
    if (measured._tag === "None") {
      yield* Metric.update(gauges.seconds, (known.lag + now - known.at) / 1000)
      continue
    }
    const { positions, next } = measured.value
    known = { at: now, lag: next === undefined ? 0 : Math.max(now - next.recordedAt, 0) }
    yield* Metric.update(gauges.positions, positions)
    yield* Metric.update(gauges.seconds, known.lag / 1000)
  }
})

/** Whether arriving batches report the lag. */
const isReported = ({ processor, status }: RunnerContext, now: number): boolean => {
  const { _tag } = status.current()
  return (_tag === "Live" || _tag === "CatchingUp") && now - (processor?.inHand()?.since ?? now) < MEASURE_INTERVAL
}

/** How many positions are left, and the next event among them. */
const measureOnce = Effect.fnUntraced(function* (context: RunnerContext) {
  const { aggregates, key, processor, recorder, store } = context
  const position =
    processor === undefined ? ownVersion(context, yield* store.versions(key))?.position : processor.position()
  const head = yield* headOf(recorder)
  if (head === undefined || (position !== undefined && position >= head)) return { positions: 0, next: undefined }
  const [next] = yield* recorder.readAll({ after: position, filter: { categories: aggregates }, limit: 1 })
  return { positions: next === undefined ? 0 : Number(head - (position ?? 0n)), next }
})

const secondsSince = ({ recordedAt }: Notification, now: number): number => Math.max(now - recordedAt, 0) / 1000
