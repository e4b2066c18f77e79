import { Result } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import { EventNotEncodable } from "../EventSourcingError.ts"
import type { Plain } from "../Mapper.ts"
import * as StreamName from "../StreamName.ts"
import { messageOf } from "./messageOf.ts"

/** Checks events against their schemas and turns them into JSON values. */
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
      const cause = new Error(`${aggregate.name} declares no event "${event?._tag}"`)
      return Result.fail(notEncodable(stream, version, String(event?._tag), cause))
    }
    const { type, codec } = declared
    try {
      plain.push({ stream, version, type, schemaVersion: codec.version, json: codec.encode(event) })
    } catch (cause) {
      return Result.fail(notEncodable(stream, version, type, cause))
    }
  }
  return Result.succeed(plain)
}

/** The event of a stored type, brought up to its newest version; throws. */
export const decode = (
  aggregate: Aggregate.Any,
  type: string,
  schemaVersion: number,
  json: unknown
): Aggregate.AnyEvent => {
  const declared = aggregate.compiled.byType.get(type) as Aggregate.CompiledEvent
  const event = declared.codec.decode(schemaVersion, json) as { _tag: string }
  event._tag = declared.tag
  return event
}

/** Finds the aggregate of a stream, among those whose events were asked for. */
export const aggregateFinder = (
  aggregates: ReadonlyArray<Aggregate.Any>
): ((stream: StreamName.StreamName) => Aggregate.Any) => {
  const [only, ...others] = aggregates
  // for most there is nothing to look up
  if (only !== undefined && others.length === 0) return () => only
  const byName = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]))
  return (stream) => byName.get(StreamName.category(stream)) as Aggregate.Any
}

export const notEncodable = (stream: string, version: number, type: string, cause: unknown) =>
  new EventNotEncodable({ stream, version, type, reason: messageOf(cause), cause })
