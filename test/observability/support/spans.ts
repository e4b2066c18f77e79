/** The spans that a program leaves. */
import { Effect, Option, Tracer } from "effect"

const prefix = "effect-eventsourcing/"

/** Keeps every span that is begun. */
export const recordingTracer = () => {
  const all: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      all.push(span)
      return span
    }
  })
  /** The library's spans, by their names without its prefix. */
  const named = (name: string) => all.filter((span) => span.name === `${prefix}${name}`)
  /** The library's spans and `request`s, as `parent > child`, in the order in which they began. */
  const paths = () => all.map(pathOf).filter((path) => path !== "")
  return { tracer, all, named, paths }
}

const ownName = ({ name }: Tracer.NativeSpan): string | undefined =>
  name.startsWith(prefix) ? name.slice(prefix.length) : name === "request" ? name : undefined

const pathOf = (span: Tracer.NativeSpan): string => {
  const name = ownName(span)
  if (name === undefined) return ""
  const parent = Option.getOrUndefined(span.parent)
  const above = parent instanceof Tracer.NativeSpan ? pathOf(parent) : ""
  return above === "" ? name : `${above} > ${name}`
}

/** What a span says of its operation. */
export const attributesOf = (span: Tracer.NativeSpan | undefined) => Object.fromEntries(span?.attributes ?? [])

/** A span as a W3C `traceparent`. */
export const traceParentOf = ({ traceId, spanId, sampled }: Tracer.AnySpan): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`

/** Runs one request to a program: a trace of its own. */
export const request = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.withSpan(self, "request", { root: true })
