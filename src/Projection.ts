/**
 * Projections: views that are made from events and kept up with them, exactly once (G6).
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
 * import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: { name: Schema.String },
 *   creation: { Registered: { name: Schema.String } },
 *   events: { TrickAdded: { trick: Schema.String } },
 *   reduce: { Registered: ({ name }) => ({ name }), TrickAdded: (dog) => dog }
 * })
 *
 * const Tricks = Projection.make("tricks", {
 *   aggregates: [Dog],
 *   view: Projection.memory(() => 0),
 *   handlers: {
 *     Dog: {
 *       Registered: Projection.ignore,
 *       TrickAdded: (_event, view) => view.update((count) => count + 1)
 *     }
 *   }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const dogs = yield* Repository.of(Dog)
 *   const fido = Dog.id("Fido")
 *   yield* dogs.execute(fido, Dog.Registered({ name: "Fido" }))
 *   const { position } = yield* dogs.execute(fido, Dog.TrickAdded({ trick: "roll over" }))
 *   yield* Projection.wait(Tricks, position)
 *   console.log(yield* Projection.read(Tricks, (view) => view.get)) // prints: 1
 * })
 *
 * const layer = ProjectionRunner.layer(Tricks).pipe(Layer.provideMerge([MemoryLayer(), MemoryViews()]))
 * program.pipe(Effect.provide(layer), NodeRuntime.runMain)
 * ```
 */
import type { Duration } from "effect"
import { Effect, identity } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { SqlClient } from "effect/sql"
import type * as Aggregate from "./Aggregate.ts"
import type { ProjectionBehind, ProjectionHasDependents, RecorderError } from "./EventSourcingError.ts"
import { RecorderFailure, ViewNotFound } from "./EventSourcingError.ts"
import type { PositionedOf } from "./EventStore.ts"
import { EventStore } from "./EventStore.ts"
import { milliseconds } from "./internal/backend/options.ts"
import type { AnyRecorded, Compiled } from "./internal/projection/compiled.ts"
import { build, definedOtherwise, effectOf, handlersOf } from "./internal/projection/defineProjection.ts"
import { handling } from "./internal/projection/handling.ts"
import { readable } from "./internal/projection/readable.ts"
import { replay as again } from "./internal/projection/replay.ts"
import { warnOfStale } from "./internal/projection/stale.ts"
import { keyOf } from "./internal/projection/trackingKey.ts"
import { untilOpened } from "./internal/projection/untilOpened.ts"
import { untilReached } from "./internal/projection/untilReached.ts"
import type { Position } from "./Position.ts"
import type { Positioned, RecordedEvent } from "./RecordedEvent.ts"
import { Recorder } from "./Recorder.ts"
import type * as View from "./View.ts"
import type { DeadLetter, Mode, Progress, ViewStore } from "./ViewStore.ts"
import * as ViewStores from "./ViewStore.ts"

/** Says that a projection has nothing to do with an event. */
export interface Ignore {
  readonly _tag: "Ignore"
}

/** Says that a projection has nothing to do with an event: a handler that is only left out does not compile. */
export const ignore: Ignore = { _tag: "Ignore" }

/** A view that is kept in tables of a SQLite file or a PostgreSQL database; `setup` makes them, once for each version. */
export const sql = <R>(setup: (view: View.SqlView) => Effect.Effect<unknown, unknown, R>): View.Sql<R> => ({
  _tag: "Sql",
  setup
})

/** A view that is a value in memory, and what it begins with. It is made anew by each process that keeps it up. */
export const memory = <State>(initial: () => State): View.Memory<State> => ({ _tag: "Memory", initial })

/** What becomes of an event with a handler: exactly once in the view, or at least once out in the world. */
export type Delivery = "exactly-once" | "at-least-once"

/** Where a side effect begins: with the first event, with what comes next, or after a position. */
export type Start = "start" | "end" | Position

/** What a handler of a side effect is given. */
export interface Attempt {
  /** The id of the event: the same each time that the event comes again. Send it along, so that the other side can tell. */
  readonly idempotencyKey: string
}

/** What a handler gets of an event: inline it has no position yet. */
export type EventIn<M extends Mode, Name extends string, Event> = M extends "inline"
  ? RecordedEvent<Name, Event>
  : Positioned<Name, Event>

type EventOf<A extends Aggregate.Any, Tag> = Extract<Aggregate.Event<A>, { readonly _tag: Tag }>

/** What a handler of a view is: what it does with an event of a type. */
export type Handler<A extends Aggregate.Any, Tag, V, M extends Mode> =
  | Ignore
  | ((event: EventIn<M, Aggregate.NameOf<A>, EventOf<A, Tag>>, view: V) => Effect.Effect<unknown, unknown, unknown>)

/** A handler for each event of each of some aggregates; what is not handled is said to be ignored. */
export type Handlers<As extends ReadonlyArray<Aggregate.Any>, V, M extends Mode> = {
  readonly [A in As[number] as Aggregate.NameOf<A>]: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]: Handler<A, Tag, V, M>
  }
}

/** What a handler of a side effect is. */
export type EffectHandler<A extends Aggregate.Any, Tag> =
  | Ignore
  | ((
      event: Positioned<Aggregate.NameOf<A>, EventOf<A, Tag>>,
      attempt: Attempt
    ) => Effect.Effect<unknown, unknown, unknown>)

/** A side effect of each event of each of some aggregates, or none. */
export type EffectHandlers<As extends ReadonlyArray<Aggregate.Any>> = {
  readonly [A in As[number] as Aggregate.NameOf<A>]: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]: EffectHandler<A, Tag>
  }
}

/** Refuses handlers of events that there are not: a name that is misspelt. */
export type Exact<H, Expected> = {
  readonly [Name in keyof H]: Name extends keyof Expected
    ? { readonly [Tag in keyof H[Name]]: Tag extends keyof Expected[Name] ? H[Name][Tag] : "there is no such event" }
    : "there is no such aggregate here"
}

type EffectOf<H> = {
  readonly [Name in keyof H]: {
    readonly [Tag in keyof H[Name]]: H[Name][Tag] extends (...args: ReadonlyArray<never>) => infer Result
      ? Result
      : never
  }[keyof H[Name]]
}[keyof H]

type ServicesOf<F> = F extends Effect.Effect<unknown, unknown, infer R> ? R : never
type SetupServices<K> = K extends View.Sql<infer R> ? R : never

/** A projection: from which events, into which view, and how. */
export interface Projection<out K extends View.Any, out M extends Mode, out D extends Delivery, out R> {
  readonly name: string
  /** Views of different versions are made and kept up beside each other; the highest that has been level is the current one. */
  readonly version: number
  readonly aggregates: ReadonlyArray<Aggregate.Any>
  readonly view: K
  readonly mode: M
  readonly delivery: D
  /** Where a side effect begins, if it says so; see {@link atLeastOnce}. */
  readonly from: Start | undefined
  /** @internal */
  readonly compiled: Compiled<SetupServices<K>, R>
  /** The types, for the compiler; no value has it. */
  readonly "~types": { readonly services: R }
}

/** Any projection. */
export type Any = Projection<View.Any, Mode, Delivery, unknown>

/** A projection that a runner keeps up. */
export type Followed<K extends View.Any, D extends Delivery, R> = Projection<K, "followed", D, R>

/**
 * A projection that is kept up in the transactions that append: an option of `SqliteLayer` and `PostgresLayer`. Its handlers
 * ask for nothing but their view.
 */
export type Inline = Projection<View.Sql<SqlClient.SqlClient>, "inline", "exactly-once", SqlClient.SqlClient>

/** The services that a projection's handlers ask for, besides what their view provides. */
export type HandlerServices<K extends View.Any, R> = Exclude<R | SetupServices<K>, ViewStores.ProvidedOf<K>>

interface Definition<As, K> {
  /** The version of handlers and tables, from 1 on: raise it with any change, and the view is made anew. Default 1. */
  readonly version?: number
  readonly aggregates: As
  readonly view: K
}

/** Inline is for views that are in the database of the log. */
type InlineIn<K> = K extends { readonly _tag: "Memory" } ? false : boolean

/** What is around each handler: of a view in memory nothing, since a batch has a value of its own. */
const enclosing = (view: View.Any): typeof handling => (view._tag === "Sql" ? handling : identity)

type OneOrMore = readonly [Aggregate.Any, ...ReadonlyArray<Aggregate.Any>]

/**
 * Defines a projection: a handler for each event of its aggregates.
 *
 * A handler runs in the transaction that also moves the tracking: what it writes to the view, and that it has, is recorded
 * together or not at all (G6).
 *
 * - `name`: lower-case letters, digits and `_` (1 to 40): it names tables. Tracking is found by it.
 * - `version`: of handlers and tables, from 1 on: raise it with any change, and the view is made anew. Default 1.
 * - `aggregates`: whose events.
 * - `view`: {@link sql} tables, or a value in {@link memory}.
 * - `inline`: kept up in the transactions that append, not by a runner. The events have no position then.
 * - `handlers`: for each event a function of it and the view, or {@link ignore}.
 *
 * Throws on names and versions that can't be: it is called once, when the program starts.
 */
export const make = <
  const As extends OneOrMore,
  K extends View.Any,
  const H extends Handlers<As, View.Of<K>, I extends true ? "inline" : "followed">,
  const I extends boolean = false
>(
  name: string,
  definition: Definition<As, K> & {
    readonly inline?: I & InlineIn<K>
    readonly handlers: H & Exact<H, Handlers<As, View.Of<K>, I extends true ? "inline" : "followed">>
  }
): Projection<K, I extends true ? "inline" : "followed", "exactly-once", ServicesOf<EffectOf<H>>> => {
  const handlers = handlersOf<ServicesOf<EffectOf<H>>>(name, definition.aggregates, definition.handlers)
  const enclose = enclosing(definition.view)
  const handle = (event: AnyRecorded, view: unknown) => enclose(effectOf(name, handlers.of(event)(event, view)))
  const mode = (definition.inline === true ? "inline" : "followed") as I extends true ? "inline" : "followed"
  return build(name, definition, mode, "exactly-once", {
    handles: handlers.handles,
    handle: (events, view) =>
      events.length === 1
        ? handle(events[0] as AnyRecorded, view)
        : Effect.forEach(events, (event) => handle(event, view), { discard: true })
  })
}

/**
 * {@link make} with one handler for a batch of events: of one when it is live, when it catches up of as many as it handles in
 * the time of a transaction, up to 512. For views that are written faster by many events at once.
 */
export const batched = <const As extends OneOrMore, K extends View.Any, E, R>(
  name: string,
  definition: Definition<As, K> & {
    readonly handle: (
      events: NonEmptyReadonlyArray<PositionedOf<As[number]>>,
      view: View.Of<K>
    ) => Effect.Effect<unknown, E, R>
  }
): Projection<K, "followed", "exactly-once", R> =>
  build(name, definition, "followed", "exactly-once", {
    handles: () => true,
    isBatched: true,
    handle: (events, view) =>
      enclosing(definition.view)(
        effectOf(name, definition.handle(events as NonEmptyReadonlyArray<PositionedOf<As[number]>>, view as View.Of<K>))
      )
  })

/**
 * Defines side effects of events: mail, calls of other systems, whatever is no view. Each handler runs **at least once** for
 * each of its events, and again where the process died or failed before that was noted: send `idempotencyKey` along.
 *
 * - `view` is where it is noted how far it has come: `Projection.sql(() => Effect.void)`, or {@link memory}, which forgets.
 * - `from` is where it begins: `"start"` (with the first event of the log, the default), `"end"` (with what comes next), or
 *   after a position. Give `"end"` to one that is added to a log with a past, or it is done for all of that.
 * - A higher `version` takes the place of the one before at once, and continues where that is: nothing is done again, and
 *   nothing is left out. If it has another `from` than the one before, it begins there.
 */
export const atLeastOnce = <const As extends OneOrMore, K extends View.Any, const H extends EffectHandlers<As>>(
  name: string,
  definition: Definition<As, K> & {
    readonly from?: Start
    readonly handlers: H & Exact<H, EffectHandlers<As>>
  }
): Projection<K, "followed", "at-least-once", ServicesOf<EffectOf<H>>> => {
  const handlers = handlersOf<ServicesOf<EffectOf<H>>>(name, definition.aggregates, definition.handlers)
  return build(name, definition, "followed", "at-least-once", {
    handles: handlers.handles,
    handle: (events) =>
      Effect.forEach(events, (event) => effectOf(name, handlers.of(event)(event, { idempotencyKey: event.id })), {
        discard: true
      })
  })
}

/** The store of a projection's view. @internal */
export const storeOf = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>
): Effect.Effect<ViewStore<View.Of<K>, ViewStores.ProvidedOf<K>>, never, ViewStores.Of<K>> => {
  const store: Effect.Effect<unknown, never, unknown> =
    projection.view._tag === "Memory" ? ViewStores.MemoryViewStore : ViewStores.SqlViewStore
  return store as Effect.Effect<ViewStore<View.Of<K>, ViewStores.ProvidedOf<K>>, never, ViewStores.Of<K>>
}

/**
 * Reads the view: that of the version that is defined here, as soon as it has been level, and for as long as it is there, also if
 * a higher one is the current one. Until it is level it is the current one's, whose tables may look otherwise (`view.version`
 * tells).
 *
 * Until there is a view it fails with `ViewNotFound`; if a runner in this process is about to make the first one, it waits for
 * that, 5 seconds at most. It is refused if the name is that of another definition in this process.
 *
 * Inline only the current version is kept up, and so it is read. A version that no runner keeps up is read as it was left; {@link progress} says how far it had come, and a warning is logged.
 */
export const read = <K extends View.Any, A, E, R>(
  projection: Projection<K, Mode, "exactly-once", unknown>,
  read: (view: View.ReaderOf<K>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | ViewNotFound | RecorderError, ViewStores.Of<K> | Exclude<R, ViewStores.ProvidedOf<K>>> =>
  Effect.gen(function* () {
    const store = yield* storeOf(projection)
    yield* refuseCopy(store, projection, "read")
    const { found, versions } = yield* untilOpened(store, projection)
    yield* warnOfStale(store.local(projection.name), projection.name, found, versions)
    return yield* store.read({ ...keyOf(projection), version: found.version }, read)
  })

/** What there is of a name is the view of one definition: another one would be answered from that. */
const refuseCopy = (
  store: ViewStore<unknown, unknown>,
  { compiled, name, version }: Any,
  operation: string
): Effect.Effect<void, RecorderFailure> =>
  store.local(name).isDefinedOtherwise(version, compiled.source())
    ? Effect.fail(definedOtherwise(`${operation} projection "${name}"`, version))
    : Effect.void

/**
 * The version that {@link read} reads, and how far it has come; `undefined` if there is no view yet. A `position` that stays
 * where it is while that of another version moves is that of a view that nobody keeps up.
 */
export const progress = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>
): Effect.Effect<Progress | undefined, RecorderError, ViewStores.Of<K>> =>
  Effect.map(versions(projection), (all) => readable(projection, all))

/** How far the versions of a projection have come, the lowest first. */
export const versions = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>
): Effect.Effect<ReadonlyArray<Progress>, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.versions(keyOf(projection)))

/**
 * Waits until the version that {@link read} reads has processed everything up to a position, that of a command's last event: whoever reads
 * the view then sees what the command did. `undefined` is no position to wait for.
 *
 * It is told at once of what this process does, and looks every 50 ms for what others do. After `timeout` (default 5 seconds)
 * it fails, and says how far the view got; after a second where the runner in this process has stopped, and why.
 */
export const wait = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>,
  position: Position | undefined,
  options: { readonly timeout?: Duration.Input } = {}
): Effect.Effect<void, ProjectionBehind | RecorderError, ViewStores.Of<K>> =>
  Effect.gen(function* () {
    if (position === undefined) return
    const timeout = yield* milliseconds(
      `wait for projection "${projection.name}"`,
      "timeout",
      options.timeout ?? "5 seconds",
      { least: 0, endless: true }
    )
    const store = yield* storeOf(projection)
    yield* refuseCopy(store, projection, "wait for")
    // what the view ignores would be noted later, with other events, if nobody waited for it
    yield* Effect.acquireUseRelease(
      Effect.sync(() => store.local(projection.name).expect(position)),
      () => untilReached(store, projection, position, timeout),
      (leave) => Effect.sync(leave)
    )
  })

/**
 * Makes the view of this version anew, in its place: its tables and its tracking are emptied in one transaction, and its
 * runner, also one that is running now, goes on from the start. Readers see it grow; for a view that is whole at any moment
 * raise the version instead.
 *
 * Fails with `ViewNotFound` if there is no view of this version.
 *
 * If something that is not the projection's depends on its tables, such as a view of somebody else's, it fails with
 * `ProjectionHasDependents`, which names it, and nothing is changed.
 */
export const reset = <K extends View.Any, R>(
  projection: Followed<K, Delivery, R>
): Effect.Effect<
  void,
  ViewNotFound | ProjectionHasDependents | RecorderError,
  ViewStores.Of<K> | HandlerServices<K, never>
> =>
  Effect.gen(function* () {
    const store = yield* storeOf(projection)
    const { compiled, mode, name, version } = projection
    if (store.local(name).runsOtherwise(version, compiled.source())) {
      return yield* definedOtherwise(`reset projection "${name}"`, version)
    }
    if (yield* store.reset(keyOf(projection), compiled.setup)) return
    return yield* new ViewNotFound({ projection: name, version, mode, stopped: store.local(name).stopped.get(version) })
  })

/** What can't be removed with a view, besides what any use of its place can fail with. */
export type RemoveError = ProjectionHasDependents | RecorderError

/** Which version is removed; without one, all of them. */
export type Removed = readonly [] | readonly [version: number, options?: RemoveOptions]

/** How a version is removed. */
export interface RemoveOptions {
  /**
   * Whether it is removed also if it is the current one; the highest that is ready takes its place, as after the roll-back of a
   * deployment. Default false: the current one stays.
   */
  readonly current?: boolean
}

/**
 * Removes a version that is no longer read, with its tables; returns whether there was one. The current one stays, unless the
 * option `current` says otherwise.
 *
 * Without `version` it removes the projection, all versions of it: views, tracking, and what is set aside. So does a name in
 * place of a projection, for one whose definition is gone from the program. Runners that are still there stop with
 * `ProjectionRemoved`; one that is started later makes the view anew, so remove the definition first.
 *
 * If something that is not the projection's depends on its tables, it fails with `ProjectionHasDependents`, and nothing is
 * removed.
 */
export const remove: {
  (name: string, ...version: Removed): Effect.Effect<boolean, RemoveError, ViewStores.SqlViewStore>
  <K extends View.Any>(
    projection: Projection<K, Mode, Delivery, unknown>,
    ...version: Removed
  ): Effect.Effect<boolean, RemoveError, ViewStores.Of<K>>
} = (projection: string | Any, ...of: Removed): Effect.Effect<boolean, RemoveError, never> => {
  const store = typeof projection === "string" ? ViewStores.SqlViewStore : storeOf(projection)
  const name = typeof projection === "string" ? projection : projection.name
  const [version, options] = of
  // a version that was looked for and not found is not all of them
  if (of.length > 0 && !Number.isInteger(version)) {
    const reason = `a version is a whole number, not ${version}; to remove all versions, leave it out`
    return Effect.fail(new RecorderFailure({ operation: `remove projection "${name}"`, reason }))
  }
  return Effect.flatMap(store as Effect.Effect<ViewStore<unknown, never>>, ({ remove }) =>
    remove({ ...keyOf({ name, version: 0 }), version }, options)
  )
}

/** What was set aside, in the order of the log. */
export const deadLetters = <K extends View.Any>(
  projection: Followed<K, Delivery, unknown>
): Effect.Effect<ReadonlyArray<DeadLetter>, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.deadLetters(keyOf(projection)))

/** Which of the events that are set aside: all of a stream, or one, by its id; a `DeadLetter` means that one. */
export type Discarded = { readonly stream: string } | { readonly eventId: string }

/**
 * Gives up what is set aside: the events of a stream, or one event. They do not take effect in the view, now or later; the log
 * keeps them. Returns how many there were.
 *
 * A stream of which nothing is set aside any more is free: what is recorded in it next is handled. If one event is discarded,
 * those after it in its stream are still set aside, and `replay` handles them.
 */
export const discard = <K extends View.Any>(
  projection: Followed<K, Delivery, unknown>,
  what: Discarded
): Effect.Effect<number, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.discard(keyOf(projection), what))

/** What became of the events that were set aside. */
export interface Replayed {
  /** How many took effect. */
  readonly replayed: number
  /** What is still set aside: what failed again, and what waits behind it. */
  readonly left: ReadonlyArray<DeadLetter>
}

/**
 * Tries the events again that were set aside, of all streams or of one, in the order of each stream: reads them from the log,
 * and has them handled as their runner would. Of a stream whose event fails again, what comes behind waits on.
 */
export const replay = <K extends View.Any, R>(
  projection: Followed<K, Delivery, R>,
  options: { readonly stream?: string } = {}
): Effect.Effect<Replayed, RecorderError, ViewStores.Of<K> | HandlerServices<K, R> | Recorder | EventStore> =>
  Effect.gen(function* () {
    const store = yield* storeOf(projection)
    const { compiled, name, version } = projection
    if (store.local(name).runsOtherwise(version, compiled.source())) {
      return yield* definedOtherwise(`replay what projection "${name}" has set aside`, version)
    }
    return yield* again(store, yield* Recorder, yield* EventStore, projection, options.stream)
  })
