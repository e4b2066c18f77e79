import type { Fiber } from "effect"
import { Effect, Tracer } from "effect"

/** Whether a span would be seen: there is one already, or a tracer is installed. */
const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean =>
  cache.tracerEnabled && (cache.span !== undefined || cache.tracer !== undefined)

/** The span of an operation, without a stack trace, which would be the library's own. */
const inSpan = <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options: Tracer.SpanOptionsNoTrace) =>
  Effect.withSpan(self, `effect-eventsourcing/${name}`, { ...options, captureStackTrace: false }) as Effect.Effect<
    A,
    E,
    R
  >

/**
 * Wraps an operation in a span, if it would be seen.
 *
 * A span costs about 3 µs, half as much as the rest of a cached command on the memory backend.
 */
export const withSpan =
  (name: string, attributes: Record<string, unknown>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => (isTraced(fiber) ? inSpan(self, name, { attributes }) : self))

/** Runs without creating the spans of underlying clients, if they would not be seen. */
export const withoutUnseenSpans = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => (isTraced(fiber) ? self : Effect.withTracerEnabled(self, false)))

/** The most links of a span: further links add no information, and cost memory in the tracer. */
const MAX_LINKS = 128

/**
 * Wraps work on recorded events in a span that is linked to the spans that recorded them, if it would be seen.
 *
 * The span begins a trace: a subscriber outlives the span in which it was started.
 */
export const linked =
  (name: string, attributes: Record<string, unknown>, events: ReadonlyArray<{ readonly metadata: string }>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) =>
      isTraced(fiber) ? inSpan(self, name, { attributes, links: linksOf(events), root: true }) : self
    )

const linksOf = (events: ReadonlyArray<{ readonly metadata: string }>): ReadonlyArray<Tracer.SpanLink> => {
  const links = new Map<string, Tracer.SpanLink>()
  for (const { metadata } of events) {
    const found = TRACE_PARENT.exec(metadata)
    if (found === null || links.has(found[0])) continue
    const [, traceId = "", spanId = "", flags] = found
    links.set(found[0], { span: Tracer.externalSpan({ traceId, spanId, sampled: flags === "01" }), attributes: {} })
    if (links.size === MAX_LINKS) break
  }
  return [...links.values()]
}

/** The form in stored metadata; see `Metadata.toStored`. */
const TRACE_PARENT = /"\$traceParent":"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"/
