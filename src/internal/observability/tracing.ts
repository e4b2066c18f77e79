import type { Fiber } from "effect"
import { Effect, Tracer } from "effect"

/** Whether anybody would see a span: there is one already, or a tracer was installed. */
const isTraced = ({ cache }: Fiber.Fiber<unknown, unknown>): boolean =>
  cache.tracerEnabled && (cache.span !== undefined || cache.tracer !== undefined)

/** The span of an operation, without a stack trace: that would be the library's. */
const inSpan = <A, E, R>(self: Effect.Effect<A, E, R>, name: string, options: Tracer.SpanOptionsNoTrace) =>
  Effect.withSpan(self, `effect-eventsourcing/${name}`, { ...options, captureStackTrace: false }) as Effect.Effect<
    A,
    E,
    R
  >

/**
 * Wraps an operation in a span, where anybody would see it.
 *
 * A span costs about 3 µs, half of the rest of a cached command on the memory backend.
 */
export const withSpan =
  (name: string, attributes: Record<string, unknown>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => (isTraced(fiber) ? inSpan(self, name, { attributes }) : self))

/** Runs without making the spans that others make, where nobody would see them. */
export const withoutUnseenSpans = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => (isTraced(fiber) ? self : Effect.withTracerEnabled(self, false)))

/** The most links of a span: more say nothing more, and cost those who keep them. */
const MAX_LINKS = 128

/**
 * Wraps work on recorded events in a span that is linked to the spans that recorded them, where anybody would see it.
 *
 * It begins a trace: whoever works on events as they come outlives the span that it was started in.
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

/** As it stands in stored metadata; see `Metadata.toStored`. */
const TRACE_PARENT = /"\$traceParent":"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"/
