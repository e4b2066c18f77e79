/** Compiles the handlers of a projection: one for each event, one for batches, or side effects. */
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Projection from "../../Projection.ts"
import type * as View from "../../View.ts"
import type { AnyRecorded, Compiled } from "./compiled.ts"
import { handling, handlingEach } from "./handling.ts"

/** What is compiled of the handlers of a projection. */
export type Handled<R> = Omit<Compiled<unknown, R>, "setup" | "source">

/** The result of a handler, which may be anything in a program without types. */
export const effectOf = <R>(
  name: string,
  given: Effect.Effect<unknown, unknown, R>
): Effect.Effect<unknown, unknown, R> => {
  if (Effect.isEffect(given)) return given
  throw new Error(
    `projection "${name}": handlers and setup must return an Effect, but one returned a value of type ${typeof given}`
  )
}

type AnyHandler<R> = (event: AnyRecorded, second: unknown) => Effect.Effect<unknown, unknown, R>

/** Finds handlers by aggregate and event. Throws if they are not handlers of the aggregates' events. */
const handlersOf = <R>(name: string, aggregates: ReadonlyArray<Aggregate.Any>, given: object) => {
  const byAggregate = new Map<string, ReadonlyMap<string, AnyHandler<R>>>()
  for (const aggregate of aggregates) {
    const of = new Map<string, AnyHandler<R>>()
    const own = (
      given as Readonly<Record<string, Readonly<Record<string, AnyHandler<R> | Projection.Ignore | undefined>>>>
    )[aggregate.name]
    for (const tag of aggregate.compiled.byTag.keys()) {
      const handler = own?.[tag]
      if (handler === undefined) {
        throw new Error(
          `projection "${name}" has no handler for ${aggregate.name}.${tag}; write one, or use Projection.ignore`
        )
      }
      if (typeof handler === "function") of.set(tag, handler)
    }
    const unknown = Object.keys(own ?? {}).find((tag) => !aggregate.compiled.byTag.has(tag))
    if (unknown !== undefined) {
      throw new Error(
        `projection "${name}" has a handler for ${aggregate.name}.${unknown}, which is not one of the aggregate's events`
      )
    }
    byAggregate.set(aggregate.name, of)
  }
  const other = Object.keys(given).find((aggregate) => !byAggregate.has(aggregate))
  if (other !== undefined) {
    throw new Error(`projection "${name}" has handlers for ${other}, which is not one of its aggregates`)
  }
  return {
    handles: (aggregate: string, tag: string) => byAggregate.get(aggregate)?.has(tag) === true,
    of: ({ aggregate, event }: AnyRecorded) => byAggregate.get(aggregate)?.get(event._tag) as AnyHandler<R>
  }
}

/** Handles events one after another, each with the handler of its type. */
export const handleOneByOne = <R>(
  name: string,
  { aggregates, view }: { readonly aggregates: ReadonlyArray<Aggregate.Any>; readonly view: View.Any },
  given: object
): Handled<R> => {
  const handlers = handlersOf<R>(name, aggregates, given)
  // not for a view in memory, since each batch has a value of its own
  const inTurn: typeof handlingEach = view._tag === "Sql" ? handlingEach : Effect.whileLoop
  return {
    handles: handlers.handles,
    handle: (events, viewOfBatch, progress) => {
      let count = 0
      return inTurn({
        while: () => count < events.length && (count === 0 || progress === undefined || progress.isTimeLeft()),
        body: () => {
          const event = events[count] as AnyRecorded
          return effectOf(name, handlers.of(event)(event, viewOfBatch))
        },
        step: () => {
          count++
          progress?.handled()
        }
      })
    }
  }
}

/** Handles all events of a batch at once. */
export const handleBatches = <R>(
  name: string,
  view: View.Any,
  handler: (events: ReadonlyArray<AnyRecorded>, view: unknown) => Effect.Effect<unknown, unknown, R>
): Handled<R> => ({
  handles: () => true,
  isBatched: true,
  handle: (events, viewOfBatch) => {
    const handled = effectOf(name, handler(events, viewOfBatch))
    // not for a view in memory, since each batch has a value of its own
    return view._tag === "Sql" ? handling(handled) : handled
  }
})

/** Handles events one after another, with what a side effect gets instead of a view. */
export const handleSideEffects = <R>(
  name: string,
  aggregates: ReadonlyArray<Aggregate.Any>,
  given: object
): Handled<R> => {
  const handlers = handlersOf<R>(name, aggregates, given)
  return {
    handles: handlers.handles,
    handle: (events) =>
      Effect.forEach(
        events,
        (event) => {
          const attempt: Projection.Attempt = { idempotencyKey: event.id }
          return effectOf(name, handlers.of(event)(event, attempt))
        },
        { discard: true }
      )
  }
}
