/** Finds the handlers of a definition by aggregate and event. */
import type * as Aggregate from "../../Aggregate.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"

/** Handlers by aggregate and event. */
export interface ByEvent<out Handler> {
  readonly handles: (aggregate: string, tag: string) => boolean
  /** The handler of an event that is handled. */
  readonly of: (event: Pick<RecordedEvent<string, Aggregate.AnyEvent>, "aggregate" | "event">) => Handler
}

/**
 * Throws if the handlers are not those of the aggregates' events. `subject` is whose handlers they are, `ignore` is what
 * to write for an event without one.
 */
export const handlersByEvent = <Handler>(
  { subject, ignore }: { readonly subject: string; readonly ignore: string },
  aggregates: ReadonlyArray<Aggregate.Any>,
  given: object
): ByEvent<Handler> => {
  const groups = given as Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>
  const byAggregate = new Map<string, ReadonlyMap<string, Handler>>()
  for (const aggregate of aggregates) {
    const of = new Map<string, Handler>()
    const own = groups[aggregate.name]
    for (const tag of aggregate.compiled.byTag.keys()) {
      const handler = own?.[tag]
      if (handler === undefined) {
        throw new Error(`${subject} has no handler for ${aggregate.name}.${tag}; write one, or use ${ignore}`)
      }
      if (typeof handler === "function") of.set(tag, handler as Handler)
    }
    const unknown = Object.keys(own ?? {}).find((tag) => !aggregate.compiled.byTag.has(tag))
    if (unknown !== undefined) {
      throw new Error(
        `${subject} has a handler for ${aggregate.name}.${unknown}, which is not one of the aggregate's events`
      )
    }
    byAggregate.set(aggregate.name, of)
  }
  const other = Object.keys(given).find((aggregate) => !byAggregate.has(aggregate))
  if (other !== undefined) {
    throw new Error(`${subject} has handlers for ${other}, which is not one of its aggregates`)
  }
  return {
    handles: (aggregate, tag) => byAggregate.get(aggregate)?.has(tag) === true,
    of: ({ aggregate, event }) => byAggregate.get(aggregate)?.get(event._tag) as Handler
  }
}
