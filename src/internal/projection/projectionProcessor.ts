/** Applies batches of stored events to a view, for the runner that owns the projection. */
import { Cause, Effect, Exit, Metric, Semaphore } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Seen } from "../../ViewStore.ts"
import { isTransient } from "../errors/transient.ts"
import { aggregateFinder } from "../eventStore/codecs.ts"
import { makeIsKnown } from "../eventStore/isKnown.ts"
import type { StoredBatch } from "../following/selection.ts"
import * as Metrics from "../observability/metrics.ts"
import { linked } from "../observability/tracing.ts"
import { applyAll } from "./applyAll.ts"
import { applyWithRetry } from "./applyWithRetry.ts"
import * as BatchSize from "./batchSize.ts"
import type { InHand, ProcessError, Processing, ProcessorContext } from "./processing.ts"
import { HandlerFailed, unavailable } from "./processing.ts"
import type { Tracker } from "./tracker.ts"
import { makeTracker } from "./tracker.ts"

export interface Processor extends Pick<Tracker, "position" | "end" | "seen" | "catchUp" | "check"> {
  /** The events in the handlers, if any. */
  readonly inHand: () => InHand | undefined
  /** Applies the handled events of a batch to the view. */
  readonly process: (batch: StoredBatch) => Effect.Effect<void, ProcessError>
}

/** Begins after a position, up to which the view has seen its log. */
export const make = Effect.fnUntraced(function* (
  processing: Processing,
  start: Position | undefined,
  seenAtStart: Seen | undefined
): Effect.fn.Return<Processor, RecorderError> {
  const tracker = makeTracker(processing, start, seenAtStart)
  const context = yield* contextOf(processing, tracker)
  const { withPermit } = Semaphore.makeUnsafe(1)
  return {
    ...tracker,
    inHand: () => context.inHand,
    process: (batch) => withPermit(process(context, batch)),
    catchUp: withPermit(tracker.catchUp)
  }
})

const contextOf = Effect.fnUntraced(function* (
  processing: Processing,
  tracker: Tracker
): Effect.fn.Return<ProcessorContext, RecorderError> {
  const { attributes, key, maxBatch, projection, store } = processing
  const { compiled } = projection
  const aggregateOf = aggregateFinder(projection.aggregates)
  return {
    ...processing,
    tracker,
    isWanted: ({ stream, type }) => {
      const aggregate = aggregateOf(stream)
      const event = aggregate.compiled.byType.get(type)
      return event === undefined || compiled.handles(aggregate.name, event.tag)
    },
    isKnown: makeIsKnown(projection.aggregates),
    batchSize: BatchSize.make(maxBatch),
    failedStreams: new Set((yield* store.deadLetters(key)).map(({ stream }) => stream)),
    counters: {
      projected: Metric.withAttributes(Metrics.projected, attributes),
      retries: Metric.withAttributes(Metrics.retries, attributes),
      setAside: Metric.withAttributes(Metrics.setAside, attributes)
    },
    inHand: undefined
  }
})

const process = Effect.fnUntraced(function* (
  context: ProcessorContext,
  batch: StoredBatch
): Effect.fn.Return<void, ProcessError> {
  const { attributes, batchSize, isWanted, maxBatch, projection, tracker } = context
  const wanted = batch.notifications.filter(isWanted)
  const end = batch.position
  if (end === undefined) return
  tracker.begin(batch)
  let applied = 0
  while (applied < wanted.length) {
    const size = projection.compiled.isBatched === true ? batchSize.next() : maxBatch
    const chunk = wanted.slice(applied, applied + size)
    applied += chunk.length
    const to = applied === wanted.length ? end : (chunk[chunk.length - 1] as Notification).position
    const span = linked(`Projection.${projection.name}`, { ...attributes, events: chunk.length }, chunk)
    yield* span(applyChunk(context, chunk, to))
  }
  tracker.finish(end)
})

/** Applies events together if possible: if one of them fails, each of them, up to that one, is applied alone. */
const applyChunk = Effect.fnUntraced(function* (
  context: ProcessorContext,
  events: ReadonlyArray<Notification>,
  to: Position
): Effect.fn.Return<void, ProcessError> {
  let left = events
  while (left.length > 1 && areApplicableTogether(context, left)) {
    const exit = yield* Effect.exit(applyAll(context, left, to))
    if (Exit.isSuccess(exit)) {
      left = left.slice(exit.value)
      continue
    }
    const error = Cause.squash(exit.cause)
    if (!(error instanceof HandlerFailed)) return yield* Effect.failCause(exit.cause as Cause.Cause<ProcessError>)
    const cause = Cause.squash(error.cause)
    if (isTransient(cause)) return yield* unavailable(context, cause)
    break
  }
  for (const [i, event] of left.entries()) {
    yield* applyWithRetry(context, event, i === left.length - 1 ? to : event.position)
  }
})

const areApplicableTogether = (
  { failedStreams, projection }: ProcessorContext,
  events: ReadonlyArray<Notification>
): boolean => projection.delivery === "exactly-once" && !events.some(({ stream }) => failedStreams.has(stream))
