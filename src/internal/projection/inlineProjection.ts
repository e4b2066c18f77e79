/** A projection whose handlers run in the transactions that append. */
import type { Context } from "effect"
import { Cause, Effect, Metric } from "effect"
import type { ReadError, RecorderError } from "../../EventSourcingError.ts"
import { RecorderFailure, RecorderUnavailable } from "../../EventSourcingError.ts"
import type * as Projection from "../../Projection.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import { explain, isTransient } from "../errors/transient.ts"
import * as Metrics from "../observability/metrics.ts"
import { trackingKey } from "./trackingKey.ts"

type AnyRecorded = Positioned<string, { readonly _tag: string }>
export type Decode = (page: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<AnyRecorded>, ReadError>

/** An inline projection. */
export interface Inline {
  readonly key: Tracking.Key
  readonly categories: ReadonlySet<string>
  /** Returns how many of the events the projection handles. */
  readonly handle: (events: ReadonlyArray<Notification>, view: SqlView) => Effect.Effect<number, RecorderError>
  /** Counts events whose transaction was committed. */
  readonly count: (events: number) => Effect.Effect<void>
}

export const makeInline = (projection: Projection.Inline, decode: Decode, context: Context.Context<never>): Inline => {
  const { name, aggregates, compiled } = projection
  const byName = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]))
  const projected = Metric.withAttributes(Metrics.projected, Metrics.attributesOf(projection))
  const isWanted = ({ stream, type }: Notification): boolean => {
    const aggregate = byName.get(StreamName.category(stream))
    if (aggregate === undefined) return false
    const event = aggregate.compiled.byType.get(type)
    return event === undefined || compiled.handles(aggregate.name, event.tag)
  }
  const failed = (cause: unknown): RecorderError => {
    const failure = { operation: `update inline projection "${name}"`, reason: explain(cause), cause }
    return isTransient(cause) ? new RecorderUnavailable(failure) : new RecorderFailure(failure)
  }
  return {
    key: trackingKey(projection),
    categories: new Set(byName.keys()),
    handle: (events, view) => {
      const wanted = events.filter(isWanted)
      if (wanted.length === 0) return Effect.succeed(0)
      return decode(wanted).pipe(
        Effect.flatMap(
          (decoded) => compiled.handle(decoded.map(withoutPosition), view) as Effect.Effect<unknown, unknown>
        ),
        Effect.as(wanted.length),
        // including exceptions of a handler
        Effect.catchCause((cause) =>
          Cause.hasInterruptsOnly(cause)
            ? Effect.failCause(cause as Cause.Cause<never>)
            : Effect.fail(failed(Cause.squash(cause)))
        )
      )
    },
    count: (events) => Effect.provide(Metric.update(projected, events), context)
  }
}

/** An inline projection's events have no position, even while the view is built from events that have one. */
const withoutPosition = ({ position: _, ...event }: AnyRecorded): AnyRecorded => event as AnyRecorded
