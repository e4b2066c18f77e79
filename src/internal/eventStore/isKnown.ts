import type * as Aggregate from "../../Aggregate.ts"
import type { Notification } from "../../StoredEvent.ts"
import { aggregateFinder } from "./codecs.ts"

/** Whether this program knows the type and the schema version of an event; if not, a newer program wrote it. */
export const makeIsKnown = (aggregates: ReadonlyArray<Aggregate.Any>) => {
  const aggregateOf = aggregateFinder(aggregates)
  return ({ schemaVersion, stream, type }: Pick<Notification, "schemaVersion" | "stream" | "type">): boolean => {
    const event = aggregateOf(stream).compiled.byType.get(type)
    return event !== undefined && schemaVersion <= event.codec.version
  }
}
