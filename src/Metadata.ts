/**
 * What is known about a recorded event besides its payload: correlation, causation, trace, and the user's own
 * attributes.
 *
 * Set it for a scope with `Effect.provideService`; it is never passed as an argument:
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Metadata } from "effect-eventsourcing"
 *
 * const handleRequest = Effect.void // appends in here carry the metadata
 *
 * const program = handleRequest.pipe(
 *   Effect.provideService(Metadata.CorrelationId, "request-7"),
 *   Effect.provideService(Metadata.Attributes, { user: "ada" })
 * )
 * Effect.runSync(program)
 * ```
 */
import type { DateTime } from "effect"
import { Context, Tracer } from "effect"
import * as Json from "./internal/encoding/json.ts"

/** The metadata of a recorded event. */
export interface Metadata {
  /** What the event belongs to: a request, a conversation, a process. */
  readonly correlationId: string | undefined
  /** The id of what caused the event: an event or a command. */
  readonly causationId: string | undefined
  /** How many events led to this one, each causing the next, if a process recorded it. */
  readonly causationDepth?: number
  /** The span that recorded the event, as a W3C `traceparent`. */
  readonly traceParent: string | undefined
  /** The user's own attributes. Keys that begin with `$` are reserved for the library. */
  readonly attributes: Readonly<Record<string, string>>
}

/** The correlation id of events recorded in this scope; none by default. */
export const CorrelationId: Context.Reference<string | undefined> = Context.Reference(
  "effect-eventsourcing/Metadata/CorrelationId",
  { defaultValue: (): string | undefined => undefined }
)

/** The causation id of events recorded in this scope; none by default. */
export const CausationId: Context.Reference<string | undefined> = Context.Reference(
  "effect-eventsourcing/Metadata/CausationId",
  { defaultValue: (): string | undefined => undefined }
)

/** How many events led to those of this scope, each causing the next; a process sets it. @internal */
export const CausationDepth: Context.Reference<number | undefined> = Context.Reference(
  "effect-eventsourcing/Metadata/CausationDepth",
  { defaultValue: (): number | undefined => undefined }
)

const none: Readonly<Record<string, string>> = {}

/**
 * The user's own metadata of events recorded in this scope: a flat record of strings, with no key that begins with `$`.
 */
export const Attributes: Context.Reference<Readonly<Record<string, string>>> = Context.Reference(
  "effect-eventsourcing/Metadata/Attributes",
  { defaultValue: () => none }
)

/**
 * The time that events of this scope are recorded with. By default there is none, and the time of the `Clock` is used.
 *
 * For imports: imported events keep the times at which they happened. The order is not affected: it is the order of
 * recording.
 */
export const RecordedAt: Context.Reference<DateTime.Utc | undefined> = Context.Reference(
  "effect-eventsourcing/Metadata/RecordedAt",
  { defaultValue: (): DateTime.Utc | undefined => undefined }
)

const CORRELATION = "$correlationId"
const CAUSATION = "$causationId"
const CAUSATION_DEPTH = "$causationDepth"
const TRACE_PARENT = "$traceParent"

const traceParent = (span: Tracer.AnySpan): string => `00-${span.traceId}-${span.spanId}-${span.sampled ? "01" : "00"}`

/** Reads the metadata of the scope. */
export const current = (context: Context.Context<never>): Metadata => {
  const span = Context.getOrUndefined(context, Tracer.ParentSpan)
  const causationDepth = Context.get(context, CausationDepth)
  return {
    correlationId: Context.get(context, CorrelationId),
    causationId: Context.get(context, CausationId),
    ...(causationDepth === undefined ? undefined : { causationDepth }),
    traceParent: span === undefined ? undefined : traceParent(span),
    attributes: Context.get(context, Attributes)
  }
}

/**
 * Encodes metadata as the flat JSON object that recorders store.
 *
 * Throws on a correlation or causation id that is not a string, and on attributes that are not a record of strings or
 * have a key that begins with `$`.
 */
export const toStored = (metadata: Metadata): string => {
  const { attributes, causationDepth, causationId, correlationId, traceParent } = metadata
  if (attributes === none && correlationId === undefined && causationId === undefined) {
    return traceParent === undefined ? "{}" : JSON.stringify({ [TRACE_PARENT]: traceParent })
  }
  if (!isRecord(attributes)) {
    throw new Error(`metadata attributes must be a record of strings, got ${kindOf(attributes)}`)
  }
  const stored: Record<string, string> = Object.create(null)
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("$"))
      throw new Error(`invalid metadata attribute "${key}": keys that begin with "$" are reserved`)
    stored[key] = text(`attribute ${JSON.stringify(key)}`, value)
  }
  if (correlationId !== undefined) stored[CORRELATION] = text("correlation id", correlationId)
  if (causationId !== undefined) stored[CAUSATION] = text("causation id", causationId)
  if (causationDepth !== undefined) stored[CAUSATION_DEPTH] = `${causationDepth}`
  if (traceParent !== undefined) stored[TRACE_PARENT] = traceParent
  return JSON.stringify(stored)
}

/** A value that is not a string would be recorded as something else, and neither it nor later events could be read. */
const text = (name: string, value: unknown): string => {
  if (typeof value !== "string") throw new Error(`the metadata's ${name} must be a string, got ${kindOf(value)}`)
  return value
}

/** Whether it is a plain object: the entries of others, such as a `Map`, are not properties and would be lost. */
const isRecord = (value: unknown): boolean =>
  typeof value === "object" && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value))

const kindOf = (value: unknown): string => {
  if (typeof value === "object" && value !== null) return `a value of the class ${value.constructor?.name ?? "Object"}`
  return value === null || value === undefined ? `${value}` : `a value of type ${typeof value}`
}

/** Decodes what {@link toStored} wrote; throws on text that is not a JSON object of strings. */
export const fromStored = (text: string): Metadata => {
  if (text === "{}") return empty
  const stored = Json.parse(text)
  if (typeof stored !== "object" || stored === null || Array.isArray(stored)) throw new Error("it is not a JSON object")
  const [key] = Object.entries(stored).find(([, value]) => typeof value !== "string") ?? []
  if (key !== undefined) throw new Error(`the value of "${key}" is not a string`)
  const {
    [CORRELATION]: correlationId,
    [CAUSATION]: causationId,
    [CAUSATION_DEPTH]: depth,
    [TRACE_PARENT]: traceParent,
    ...attributes
  } = stored as Partial<Record<string, string>> & Readonly<Record<string, string>>
  const known = { correlationId, causationId, traceParent, attributes }
  if (depth === undefined) return known
  const causationDepth = Number(depth)
  if (!Number.isSafeInteger(causationDepth)) throw new Error(`the value of "${CAUSATION_DEPTH}" is not a whole number`)
  return { ...known, causationDepth }
}

/** No metadata. */
export const empty: Metadata = {
  correlationId: undefined,
  causationId: undefined,
  traceParent: undefined,
  attributes: none
}
