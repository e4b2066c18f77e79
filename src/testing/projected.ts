/** Expects the rows or the value of a projection's view after given events. */
import { Cause, Context, Effect, Exit, Layer } from "effect"
import { messageOf } from "../internal/errors/messageOf.ts"
import { trackingKey } from "../internal/projection/trackingKey.ts"
import { MemoryViews } from "../memory/MemoryViews.ts"
import type { Position } from "../Position.ts"
import type * as Projection from "../Projection.ts"
import type * as View from "../View.ts"
import type { Mode, ViewStore } from "../ViewStore.ts"
import * as ViewStores from "../ViewStore.ts"
import type { ExpectationFailed } from "./ExpectationFailed.ts"
import { isSame, show } from "./internal/compare.ts"
import { runNow } from "./internal/outcome.ts"
import type { Entry } from "./internal/recording.ts"
import type { From } from "./internal/report.ts"
import { compared, failed, listed, withoutFrames } from "./internal/report.ts"

/**
 * Where the view is built. Tables need a layer such as `SqliteViews({ filename: ":memory:" })`, which is built again
 * for each expectation; a value in memory needs none.
 */
export type Views<K extends View.Any> = K extends View.AnyMemory
  ? readonly [views?: Layer.Layer<ViewStores.MemoryViewStore, unknown>]
  : readonly [views: Layer.Layer<ViewStores.SqlViewStore, unknown>]

/**
 * The view that a projection builds from events. Each expectation throws an `ExpectationFailed` if it is not met, or if
 * a handler fails.
 *
 * The view is built twice: with one event at a time, like a runner that is live, and with all events in one batch, like
 * a runner that catches up. Both results must match.
 */
export type Projected<K extends View.Any, R> = K extends {
  readonly _tag: "Memory"
  readonly initial: () => infer State
}
  ? ProjectedValue<State, Projection.HandlerServices<K, R>>
  : ProjectedRows<Projection.HandlerServices<K, R>>

/**
 * If handlers require services, only the variant that returns an Effect can be used, because they can be provided to
 * it.
 */
type IfNone<R, F, Instead extends string> = [R] extends [never]
  ? F
  : `the handlers of the projection ask for services: use ${Instead}, and provide them`

/** A view in tables. */
export interface ProjectedRows<R> {
  /** Expects a query of the view to return these rows. The handlers and the query must complete synchronously. */
  readonly thenRows: IfNone<
    R,
    <A, E>(query: (view: View.SqlView) => Effect.Effect<A, E>, rows: NoInfer<A>) => void,
    "thenRowsEffect"
  >
  /** {@link ProjectedRows.thenRows} as an Effect. */
  readonly thenRowsEffect: <A, E, R2 = never>(
    query: (view: View.SqlView) => Effect.Effect<A, E, R2>,
    rows: NoInfer<A>
  ) => Effect.Effect<void, ExpectationFailed, R | Exclude<R2, ViewStores.ProvidedOf<View.Sql<never>>>>
}

/** A view that is a value in memory. */
export interface ProjectedValue<State, R> {
  /** Expects this value. The handlers must complete synchronously. */
  readonly thenState: IfNone<R, (state: State) => void, "thenStateEffect">
  /** {@link ProjectedValue.thenState} as an Effect. */
  readonly thenStateEffect: (state: State) => Effect.Effect<void, ExpectationFailed, R>
}

type Recorded = Entry["recorded"]

/** A failure, and the events that were being handled, if any. */
class Failed {
  readonly during: string
  readonly events: ReadonlyArray<Recorded>
  readonly cause: Cause.Cause<unknown>
  constructor(during: string, events: ReadonlyArray<Recorded>, cause: Cause.Cause<unknown>) {
    this.during = during
    this.events = events
    this.cause = cause
  }
}

const during = <A, E, R>(self: Effect.Effect<A, E, R>, what: string, events: ReadonlyArray<Recorded> = []) =>
  Effect.catchCause(self, (cause) =>
    Cause.hasInterruptsOnly(cause)
      ? Effect.failCause(cause as Cause.Cause<never>)
      : Effect.fail(new Failed(what, events, cause))
  )

/** The expectations of a projection's view of a log. */
export function projected<K extends View.Any, R>(
  log: ReadonlyArray<Entry>,
  projection: Projection.Projection<K, Mode, "exactly-once", R>,
  views: Views<K>
): Projected<K, R>
export function projected(
  log: ReadonlyArray<Entry>,
  projection: Projection.Any,
  views: ReadonlyArray<unknown>
): object {
  const { aggregates, compiled, mode, name, view } = projection
  const names = aggregates.map((aggregate) => aggregate.name)
  const handled = log
    .map(({ recorded }) => recorded)
    .filter(({ aggregate, event }) => names.includes(aggregate) && compiled.handles(aggregate, event._tag))
  const key = trackingKey(projection)
  const layer = (views[0] ?? MemoryViews()) as Layer.Layer<never, unknown>

  /** The event that a handler gets: inline, it has no position yet. */
  const given = ({ position, ...event }: Recorded): Recorded =>
    mode === "inline" ? (event as Recorded) : { ...event, position }

  /** Builds the view from these batches, and reads it. */
  const make = Effect.fnUntraced(function* <A, E, R2>(
    batches: ReadonlyArray<ReadonlyArray<Recorded>>,
    read: (view: unknown) => Effect.Effect<A, E, R2>
  ) {
    const context = yield* during(Layer.build(Layer.fresh(layer)), "the layer of the views")
    const tag = view._tag === "Memory" ? ViewStores.MemoryViewStore : ViewStores.SqlViewStore
    const store: ViewStore<unknown, unknown> = Context.getUnsafe(context, tag as typeof ViewStores.MemoryViewStore)
    const options = { mode, logId: "given", aggregates: names, setup: compiled.setup }
    yield* during(store.open(key, options), "the setup of the view")
    let from: Position | undefined
    for (const batch of batches) {
      const to = batch[batch.length - 1]?.position
      if (to === undefined) continue
      const handle = store.transact({ key, from, to }, (view) => compiled.handle(batch.map(given), view))
      yield* during(handle, "a handler", batch)
      from = to
    }
    return yield* during(store.read(key, read), "the query of the view")
  }, Effect.scoped)

  /** Builds the view in both ways in which a runner does, and compares the result with the expectation. */
  const expect = <A, E, R2>(
    expected: unknown,
    read: (view: unknown) => Effect.Effect<A, E, R2>,
    from?: From
  ): Effect.Effect<void, ExpectationFailed, unknown> => {
    const title = `projection "${name}"`
    const events = listed(
      "given",
      log.map(({ recorded }) => `${recorded.stream}: ${show(recorded.event)}`)
    )
    const ways = [
      ["handled one at a time", handled.map((event) => [event])],
      ["handled in one batch", [handled]]
    ] as const
    return Effect.forEach(
      handled.length > 1 ? ways : ways.slice(0, 1),
      ([how, batches]) =>
        Effect.matchEffect(make(batches, read), {
          onFailure: ({ during, events: handling, cause }) => {
            const failure = Cause.squash(cause)
            const paragraphs =
              handling.length === 0
                ? [events]
                : [
                    events,
                    listed(
                      how,
                      handling.map(({ event }) => show(event))
                    )
                  ]
            return Effect.fail(
              failed(
                `${title}: ${during} failed: ${messageOf(failure)}`,
                paragraphs,
                { expected, cause: failure },
                from
              )
            )
          },
          onSuccess: (actual) => {
            if (isSame(actual, expected)) return Effect.void
            const differs = view._tag === "Memory" ? "the value differs" : "the rows differ"
            const expectedOne = view._tag === "Memory" ? "expected one" : "expected ones"
            const which = handled.length > 1 ? ` (events ${how})` : ""
            const paragraphs = [events, compared("came out", rowsOf(expected).map(show), rowsOf(actual).map(show))]
            return Effect.fail(
              failed(`${title}: ${differs} from the ${expectedOne}${which}`, paragraphs, { expected, actual }, from)
            )
          }
        }),
      { discard: true }
    )
  }

  const now = (self: Effect.Effect<void, ExpectationFailed, unknown>, instead: string, from: From): void => {
    const exit = runNow(Effect.exit(self as Effect.Effect<void, ExpectationFailed>), "the projection", instead, from)
    if (Exit.isSuccess(exit)) return
    const error = Cause.squash(exit.cause)
    throw error instanceof Error ? withoutFrames(error, from) : error
  }

  type Query = (view: unknown) => Effect.Effect<unknown, unknown, unknown>
  const value: Query = (view) => (view as View.MemoryReader<unknown>).get
  const self = {
    thenRows: (query: Query, rows: unknown) => now(expect(rows, query, self.thenRows), "thenRowsEffect", self.thenRows),
    thenRowsEffect: (query: Query, rows: unknown) => expect(rows, query),
    thenState: (state: unknown) => now(expect(state, value, self.thenState), "thenStateEffect", self.thenState),
    thenStateEffect: (state: unknown) => expect(state, value)
  }
  return self
}

/** Rows are compared one by one. */
const rowsOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [value])
