/** Compiles the handlers of a projection: one for each event, one for batches, or side effects. */
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Projection from "../../Projection.ts"
import type * as View from "../../View.ts"
import { handlersByEvent } from "../following/handlers.ts"
import type { AnyRecorded, Compiled } from "./compiled.ts"
import { handling, handlingEach } from "./handling.ts"

/** The compiled handlers of a projection. */
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
const handlersOf = <R>(name: string, aggregates: ReadonlyArray<Aggregate.Any>, given: object) =>
  handlersByEvent<AnyHandler<R>>({ subject: `projection "${name}"`, ignore: "Projection.ignore" }, aggregates, given)

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

/** Handles events one after another; side effects get their own argument instead of a view. */
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
