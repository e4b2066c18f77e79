import { Result } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { EventNotEncodable } from "../../EventSourcingError.ts"
import type { Plain } from "../../Mapper.ts"
import * as StreamName from "../../StreamName.ts"
import type { CompiledEvent } from "../aggregate/compiled.ts"
import { messageOf } from "../errors/messageOf.ts"
import type { Path } from "../schema/readBack.ts"
import { showPath } from "../schema/readBack.ts"

/** Checks events against their schemas and their places, and turns them into JSON values. */
export const toPlain = (
  aggregate: Aggregate.Any,
  stream: StreamName.StreamName,
  first: number,
  events: ReadonlyArray<Aggregate.AnyEvent>
): Result.Result<ReadonlyArray<Plain>, EventNotEncodable> => {
  const plain: Array<Plain> = []
  for (const event of events) {
    const version = first + plain.length
    const declared = aggregate.compiled.byTag.get(event?._tag)
    if (declared === undefined) {
      const found = event as unknown
      const type = isTagged(found) ? found._tag : typeof found
      return Result.fail(notEncodable(stream, version, type, new Error(notAnEvent(aggregate, found))))
    }
    const { type, codec, creates } = declared
    if (creates !== (version === 0)) {
      const reason = creates
        ? "it creates the aggregate, which already exists; only the first event of a stream can do that"
        : "it changes the aggregate, which does not exist yet; the first event of a stream must create it"
      return Result.fail(notEncodable(stream, version, type, new Error(reason)))
    }
    try {
      plain.push({ stream, version, type, schemaVersion: codec.version, json: codec.encode(event) })
    } catch (cause) {
      return Result.fail(notEncodable(stream, version, type, cause))
    }
  }
  return Result.succeed(plain)
}

const isTagged = (found: unknown): found is { readonly _tag: string } =>
  typeof found === "object" && found !== null && "_tag" in found && typeof found._tag === "string"

/** Describes what was passed instead of an event, and what to pass. */
const notAnEvent = (aggregate: Aggregate.Any, found: unknown): string => {
  const { name, compiled } = aggregate
  const tags = [...compiled.byTag.keys()]
  if (isTagged(found)) return `"${found._tag}" is not an event of ${name}; its events are ${tags.join(", ")}`
  if (found === null) return `null is not an event of ${name}; a decision without events returns undefined or []`
  if (typeof (found as PromiseLike<unknown> | undefined)?.then === "function") {
    return `a promise is not an event of ${name}; a decision that has to wait returns an Effect, such as Effect.promise(...)`
  }
  const what = typeof found === "object" ? "an object without a _tag" : `a value of type ${typeof found}`
  const advice = typeof found === "function" ? `; ${insteadOfFunction(aggregate, found)}` : ""
  return `${what} is not an event of ${name}; create events with its constructors, such as ${name}.${tags[0]}(...), and return several as an array${advice}`
}

/** What to write instead of a function that was executed or returned. */
const insteadOfFunction = (aggregate: Aggregate.Any, { name }: Function): string => {
  const own = [...aggregate.compiled.byTag.keys()].find((tag) => tag === name)
  if (own !== undefined) return `${aggregate.name}.${own} was not called: write ${aggregate.name}.${own}(...)`
  return `call the function if it returns a decision: execute(id, ${name === "" ? "decision" : name}(...)); wrap it if it decides: execute(id, ${aggregate.name}.decide((state) => ...))`
}

/** An event as every later reader will get it. Throws if it differs from the given event. */
export const readBack = <A extends Aggregate.Any>(
  aggregate: A,
  { schemaVersion }: Plain,
  event: Aggregate.Event<A>,
  json: unknown
): Aggregate.Event<A> => {
  const { codec, tag } = aggregate.compiled.byTag.get(event._tag) as CompiledEvent
  const decoded = codec.decode(schemaVersion, json)
  const path = codec.differenceFinder()?.(event, decoded)
  if (path !== undefined) throw new Error(otherValue(path))
  return named(decoded, tag) as Aggregate.Event<A>
}

/** A decoded event has no other user yet: its name is added to it in place. */
const named = (decoded: object, tag: string): Aggregate.AnyEvent => {
  const event = decoded as { _tag: string }
  event._tag = tag
  return event
}

/** Describes where a value would be different once it is read. */
export const otherValue = (path: Path): string => {
  const where = path.length === 0 ? "" : ` at ${showPath(path)}`
  return `it would be read back as another value${where}; its schema writes different values as the same JSON, or loses a part`
}

/** The event of a stored type, upcast to its newest version. Throws if that fails. */
export const decode = <A extends Aggregate.Any>(
  aggregate: A,
  type: string,
  schemaVersion: number,
  json: unknown
): Aggregate.Event<A> => {
  const { codec, tag } = aggregate.compiled.byType.get(type) as CompiledEvent
  return named(codec.decode(schemaVersion, json), tag) as Aggregate.Event<A>
}

/** Finds the aggregate of a stream among those whose events were requested. */
export const aggregateFinder = <A extends Aggregate.Any>(
  aggregates: ReadonlyArray<A>
): ((stream: StreamName.StreamName) => A) => {
  const [only, ...others] = aggregates
  // the most common case needs no lookup
  if (only !== undefined && others.length === 0) return () => only
  const byName = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]))
  return (stream) => byName.get(StreamName.category(stream)) as A
}

export const notEncodable = (stream: string, version: number, type: string, cause: unknown) =>
  new EventNotEncodable({ stream, version, type, reason: messageOf(cause), cause })
