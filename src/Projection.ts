/**
 * Projections: views that are built from events and kept up to date with them, exactly once (G6).
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
import { Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { SqlClient } from "effect/sql"
import type * as Aggregate from "./Aggregate.ts"
import type { ProjectionBehind, ProjectionHasDependents, RecorderError } from "./EventSourcingError.ts"
import { ViewNotFound } from "./EventSourcingError.ts"
import type { PositionedOf } from "./EventStore.ts"
import { milliseconds } from "./internal/backend/options.ts"
import type { Compiled } from "./internal/projection/compiled.ts"
import { handleBatches, handleOneByOne, handleSideEffects } from "./internal/projection/compileHandlers.ts"
import { build } from "./internal/projection/defineProjection.ts"
import { readable } from "./internal/projection/readable.ts"
import { removeVersions } from "./internal/projection/removeVersions.ts"
import { replay as again } from "./internal/projection/replay.ts"
import { requireSameRunner, requireSameView } from "./internal/projection/sameDefinition.ts"
import { warnOfStale } from "./internal/projection/stale.ts"
import { storeOf } from "./internal/projection/storeOf.ts"
import { trackingKey } from "./internal/projection/trackingKey.ts"
import { untilOpened } from "./internal/projection/untilOpened.ts"
import { untilReached } from "./internal/projection/untilReached.ts"
import { LogReader } from "./LogReader.ts"
import { Mapper } from "./Mapper.ts"
import type { Position } from "./Position.ts"
import type { Positioned, RecordedEvent } from "./RecordedEvent.ts"
import type * as View from "./View.ts"
import type { DeadLetter, Mode, Progress, ViewStore } from "./ViewStore.ts"
import * as ViewStores from "./ViewStore.ts"

/** Marks an event that a projection deliberately does not handle. */
export interface Ignore {
  readonly _tag: "Ignore"
}

/** Ignores an event in a projection. Omitting the handler instead is a compile error. */
export const ignore: Ignore = { _tag: "Ignore" }

/**
 * A view in tables of a SQLite file or a PostgreSQL database.
 *
 * **Details**
 *
 * `setup` creates the tables, once for each version of the projection. `table` and `index` of its argument name them,
 * so that the tables of different projections and versions never collide.
 */
export const sql = <R>(setup: (view: View.SqlView) => Effect.Effect<unknown, unknown, R>): View.Sql<R> => ({
  _tag: "Sql",
  setup
})

/**
 * A view that is a value in memory.
 *
 * **Details**
 *
 * `initial` returns the value that the view starts with. Each process that runs the projection rebuilds the view.
 */
export const memory = <State>(initial: () => State): View.Memory<State> => ({ _tag: "Memory", initial })

/** How often a handler takes effect: exactly once in a view, or at least once for a side effect. */
export type Delivery = "exactly-once" | "at-least-once"

/** Where a side effect starts: with the first event, with new events only, or after a position. */
export type Start = "start" | "end" | Position

/** What the handler of a side effect gets besides the event. */
export interface Attempt {
  /** The event's id, the same on every attempt. Send it along, so that the receiver can recognise repetitions. */
  readonly idempotencyKey: string
}

/** The event that a handler gets: inline, it has no position yet. */
export type EventIn<M extends Mode, Name extends string, Event> = M extends "inline"
  ? RecordedEvent<Name, Event>
  : Positioned<Name, Event>

type EventOf<A extends Aggregate.Any, Tag> = Extract<Aggregate.Event<A>, { readonly _tag: Tag }>

/** What a view does with events of one type: a handler, or {@link ignore}. */
export type Handler<A extends Aggregate.Any, Tag, V, M extends Mode> =
  | Ignore
  | ((event: EventIn<M, Aggregate.NameOf<A>, EventOf<A, Tag>>, view: V) => Effect.Effect<unknown, unknown, unknown>)

/** A handler, or {@link ignore}, for every event of every aggregate of the projection. */
export type Handlers<As extends ReadonlyArray<Aggregate.Any>, V, M extends Mode> = {
  readonly [A in As[number] as Aggregate.NameOf<A>]: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]: Handler<A, Tag, V, M>
  }
}

/** What a side effect does with events of one type: a handler, or {@link ignore}. */
export type EffectHandler<A extends Aggregate.Any, Tag> =
  | Ignore
  | ((
      event: Positioned<Aggregate.NameOf<A>, EventOf<A, Tag>>,
      attempt: Attempt
    ) => Effect.Effect<unknown, unknown, unknown>)

/** A side effect, or {@link ignore}, for every event of every aggregate of the projection. */
export type EffectHandlers<As extends ReadonlyArray<Aggregate.Any>> = {
  readonly [A in As[number] as Aggregate.NameOf<A>]: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]: EffectHandler<A, Tag>
  }
}

/** Rejects handlers of events that do not exist, such as a misspelt name. */
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

/** A projection: which events it handles, which view it builds, and how. */
export interface Projection<out K extends View.Any, out M extends Mode, out D extends Delivery, out R> {
  readonly name: string
  /** Versions of a view are maintained beside each other; the highest that has caught up is the current one. */
  readonly version: number
  readonly aggregates: ReadonlyArray<Aggregate.Any>
  readonly view: K
  readonly mode: M
  readonly delivery: D
  /** Where a side effect starts, if that is defined; see {@link atLeastOnce}. */
  readonly from: Start | undefined
  /** @internal */
  readonly compiled: Compiled<SetupServices<K>, R>
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly services: R }
}

/** Any projection. */
export type Any = Projection<View.Any, Mode, Delivery, unknown>

/** A projection that a runner keeps up to date. */
export type Followed<K extends View.Any, D extends Delivery, R> = Projection<K, "followed", D, R>

/**
 * A projection that is maintained in the transactions that append: an option of `SqliteLayer` and `PostgresLayer`. Its
 * handlers require nothing but their view.
 */
export type Inline = Projection<View.Sql<SqlClient.SqlClient>, "inline", "exactly-once", SqlClient.SqlClient>

/** The services that a projection's handlers require, besides those that their view provides. */
export type HandlerServices<K extends View.Any, R> = Exclude<R | SetupServices<K>, ViewStores.ProvidedOf<K>>

interface Definition<As, K> {
  /** The version of handlers and tables, from 1 on: raise it with any change, and the view is rebuilt. Default 1. */
  readonly version?: number
  readonly aggregates: As
  readonly view: K
}

/** Inline projections are only for views in the log's own database. */
type InlineIn<K> = K extends { readonly _tag: "Memory" } ? false : boolean

type OneOrMore = readonly [Aggregate.Any, ...ReadonlyArray<Aggregate.Any>]

/**
 * Defines a projection: a handler for each event of its aggregates, and the view that the handlers build.
 *
 * **When to use**
 *
 * Use this for queries across many aggregates. Use {@link batched} if a view is written faster by many events at once,
 * and {@link atLeastOnce} for side effects such as mail.
 *
 * **Details**
 *
 * A handler runs in the transaction that also advances the tracking position: its changes to the view and the position
 * are recorded together or not at all (G6).
 *
 * - `name`: lower-case letters, digits and `_` (1 to 40). It names the tables and identifies the projection's tracking.
 * - `version`: of handlers and tables, from 1 on: raise it with any change, and the view is rebuilt. Default 1.
 * - `aggregates`: the aggregates whose events it handles.
 * - `view`: {@link sql} tables, or a value in {@link memory}.
 * - `inline`: maintained in the transactions that append, instead of by a runner. The events have no position then.
 * - `handlers`: for each event a function of the event and the view, or {@link ignore}.
 *
 * **Gotchas**
 *
 * It throws on invalid names and versions, so that the program fails when it starts. The name must be unique within the
 * database of the view.
 *
 * **Example** (A count of dogs)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: { name: Schema.String },
 *   creation: { Registered: { name: Schema.String } },
 *   events: { Renamed: { name: Schema.String } },
 *   reduce: { Registered: ({ name }) => ({ name }), Renamed: (_dog, { name }) => ({ name }) }
 * })
 *
 * const Dogs = Projection.make("dogs", {
 *   aggregates: [Dog],
 *   view: Projection.memory(() => 0),
 *   handlers: {
 *     Dog: {
 *       Registered: (_event, view) => view.update((count) => count + 1),
 *       Renamed: Projection.ignore
 *     }
 *   }
 * })
 * console.log(Dogs.version) // prints: 1
 * ```
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
  const mode = (definition.inline === true ? "inline" : "followed") as I extends true ? "inline" : "followed"
  const handled = handleOneByOne<ServicesOf<EffectOf<H>>>(name, definition, definition.handlers)
  return build(name, definition, mode, "exactly-once", handled)
}

/**
 * Defines a projection with one handler for a batch of events.
 *
 * **When to use**
 *
 * Use this for views that are written faster by many events at once. Use {@link make} otherwise.
 *
 * **Details**
 *
 * While the projection is live, a batch is a single event. While it catches up, a batch has as many events as the
 * handler processes in the time of one transaction, up to 512. Everything else is as for {@link make}.
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
  build(
    name,
    definition,
    "followed",
    "exactly-once",
    handleBatches(name, definition.view, (events, view) =>
      definition.handle(events as NonEmptyReadonlyArray<PositionedOf<As[number]>>, view as View.Of<K>)
    )
  )

/**
 * Defines side effects of events: mail, calls of other systems, and anything else that is not a view.
 *
 * **When to use**
 *
 * Use this if an event should cause something outside of the view's database. Use {@link make} for views.
 *
 * **Details**
 *
 * - `view` is where its progress is stored: `Projection.sql(() => Effect.void)`, or {@link memory}, which forgets it.
 * - `from` is where it starts: `"start"` (with the first event of the log, the default), `"end"` (with new events
 *   only), or a position, after which it starts.
 * - A higher `version` replaces the one before immediately, and continues after its position: nothing is repeated or
 *   left out. If its `from` differs from that of the version before, it starts there.
 *
 * **Gotchas**
 *
 * Each handler runs **at least once** for each of its events. It runs again if the process died or failed before its
 * completion was stored: send `idempotencyKey` along, so that the receiver can recognise repetitions.
 *
 * Set `from: "end"` if the log already has events that must not cause the side effect.
 *
 * **Example** (A mail for each new dog)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Projection } from "effect-eventsourcing"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: { name: Schema.String },
 *   creation: { Registered: { name: Schema.String } },
 *   events: {},
 *   reduce: { Registered: ({ name }) => ({ name }) }
 * })
 *
 * const send = (mail: { readonly id: string; readonly text: string }) => Effect.log(mail)
 *
 * const Welcome = Projection.atLeastOnce("welcome", {
 *   aggregates: [Dog],
 *   view: Projection.sql(() => Effect.void),
 *   from: "end",
 *   handlers: {
 *     Dog: {
 *       Registered: ({ event }, { idempotencyKey }) => send({ id: idempotencyKey, text: `Welcome, ${event.name}` })
 *     }
 *   }
 * })
 * console.log(Welcome.delivery) // prints: at-least-once
 * ```
 */
export const atLeastOnce = <const As extends OneOrMore, K extends View.Any, const H extends EffectHandlers<As>>(
  name: string,
  definition: Definition<As, K> & {
    readonly from?: Start
    readonly handlers: H & Exact<H, EffectHandlers<As>>
  }
): Projection<K, "followed", "at-least-once", ServicesOf<EffectOf<H>>> => {
  const handled = handleSideEffects<ServicesOf<EffectOf<H>>>(name, definition.aggregates, definition.handlers)
  return build(name, definition, "followed", "at-least-once", handled)
}

/**
 * Reads the view: passes it to your function and returns the function's result.
 *
 * **When to use**
 *
 * Use this to answer queries. Call {@link wait} first if the query must see what a command has just recorded.
 *
 * **Details**
 *
 * It reads the view of the version that is defined here, once that version has caught up, and for as long as it exists,
 * even if a higher version is the current one. Until this version has caught up, it reads the current one, whose tables
 * may be different (`view.version` says which it is). For an inline projection it always reads the current version,
 * because only that one is maintained.
 *
 * If there is no view, it fails with `ViewNotFound`. If a runner in this process is about to create the first one, it
 * waits for that, for at most 5 seconds. It is refused if this process has another definition under the same name.
 *
 * **Gotchas**
 *
 * A version that no runner keeps up to date is read as it was left, and a warning is logged. {@link progress} returns
 * how far it has come.
 */
export const read = <K extends View.Any, A, E, R>(
  projection: Projection<K, Mode, "exactly-once", unknown>,
  read: (view: View.ReaderOf<K>) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | ViewNotFound | RecorderError, ViewStores.Of<K> | Exclude<R, ViewStores.ProvidedOf<K>>> =>
  Effect.gen(function* () {
    const store = yield* storeOf(projection)
    yield* requireSameView(store, projection, "read")
    const { readable: progress, versions } = yield* untilOpened(store, projection)
    yield* warnOfStale(store.localProgress(projection.name), projection.name, progress, versions)
    return yield* store.read({ ...trackingKey(projection), version: progress.version }, read)
  })

/**
 * The version that {@link read} reads, and how far it has come; `undefined` if there is no view yet. If its `position`
 * stays the same while that of another version advances, no runner keeps this view up to date.
 */
export const progress = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>
): Effect.Effect<Progress | undefined, RecorderError, ViewStores.Of<K>> =>
  Effect.map(versions(projection), (all) => readable(projection, all))

/** How far the versions of a projection have come, the lowest first. */
export const versions = <K extends View.Any>(
  projection: Projection<K, Mode, Delivery, unknown>
): Effect.Effect<ReadonlyArray<Progress>, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.versions(trackingKey(projection)))

/**
 * Waits until the view has processed everything up to a position.
 *
 * **When to use**
 *
 * Use this for read-your-own-writes: pass the `position` that a command returned, and read the view afterwards.
 *
 * **Details**
 *
 * It waits for the version that {@link read} reads. If the position is `undefined`, because the command recorded
 * nothing, it returns immediately. It is notified immediately of progress made in this process, and polls every 50 ms
 * for progress made by others.
 *
 * After `timeout` (default 5 seconds) it fails with `ProjectionBehind`, which says how far the view has come. If the
 * runner in this process has stopped, it fails after one second, and the error says why the runner stopped.
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
    yield* requireSameView(store, projection, "wait for")
    yield* untilReached(store, projection, position, timeout)
  })

/**
 * Rebuilds the view of this version in place.
 *
 * **When to use**
 *
 * Use this if a view is wrong, or its log was restored from a backup. Raise the version instead if readers must see a
 * complete view at all times.
 *
 * **Details**
 *
 * Its tables and its tracking are emptied in one transaction, and its dead letters are forgotten. Its runner, even one
 * that is running now, then starts again from the start of the log, or where `from` of a side effect says.
 *
 * It fails with `ViewNotFound` if this version has no view. If something that does not belong to the projection depends
 * on its tables, such as a database view of somebody else's, it fails with `ProjectionHasDependents`, which names it,
 * and nothing is changed.
 *
 * **Gotchas**
 *
 * Readers see the view while it is still being rebuilt.
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
    yield* requireSameRunner(store, projection, `reset projection "${name}"`)
    if (yield* store.reset(trackingKey(projection), compiled.setup)) return
    return yield* new ViewNotFound({
      projection: name,
      version,
      mode,
      stopped: store.localProgress(name).stopped.get(version)
    })
  })

/** The errors that removing a view can fail with. */
export type RemoveError = ProjectionHasDependents | RecorderError

/** The version to remove; if left out, all of them. */
export type Removed = readonly [] | readonly [version: number, options?: RemoveOptions]

/** How a version is removed. */
export interface RemoveOptions {
  /**
   * Whether to remove the version even if it is the current one; the highest that is ready takes its place, as when a
   * deployment is rolled back. Default false: the current version stays.
   */
  readonly current?: boolean
}

/**
 * Removes a version that is no longer read, together with its tables; returns whether it existed.
 *
 * **When to use**
 *
 * Use this to drop old versions after a deployment, or a whole projection that is no longer needed.
 *
 * **Details**
 *
 * The current version stays, unless the option `current` is set. Without `version`, it removes all versions of the
 * projection: views, tracking and dead letters. To remove a projection whose definition is no longer in the program,
 * pass its name instead of the projection.
 *
 * Runners that are still working stop with `ProjectionRemoved`. If something that does not belong to the projection
 * depends on its tables, it fails with `ProjectionHasDependents`, and nothing is removed.
 *
 * **Gotchas**
 *
 * A runner that is started later rebuilds the view, so remove the definition first.
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
  return removeVersions(store as Effect.Effect<ViewStore<unknown, never>>, name, of)
}

/** The dead letters: the events that were set aside, in the order of the log. */
export const deadLetters = <K extends View.Any>(
  projection: Followed<K, Delivery, unknown>
): Effect.Effect<ReadonlyArray<DeadLetter>, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.deadLetters(trackingKey(projection)))

/** Which dead letters: all of a stream, or one, by its event id. A `DeadLetter` selects itself. */
export type Discarded = { readonly stream: string } | { readonly eventId: string }

/**
 * Discards dead letters: those of a stream, or one event. Returns how many there were.
 *
 * **When to use**
 *
 * Use this if an event should never take effect in the view. Use {@link replay} if its handler was fixed.
 *
 * **Details**
 *
 * The discarded events do not take effect in the view, now or later; the log keeps them. Once a stream has no dead
 * letters left, its next events are handled again.
 *
 * **Gotchas**
 *
 * If one event is discarded, the events after it in its stream are still dead-lettered; {@link replay} handles them.
 */
export const discard = <K extends View.Any>(
  projection: Followed<K, Delivery, unknown>,
  what: Discarded
): Effect.Effect<number, RecorderError, ViewStores.Of<K>> =>
  Effect.flatMap(storeOf(projection), (store) => store.discard(trackingKey(projection), what))

/** The result of replaying dead letters. */
export interface Replayed {
  /** How many events took effect. */
  readonly replayed: number
  /** The remaining dead letters: events that failed again, and the events after them in their streams. */
  readonly left: ReadonlyArray<DeadLetter>
}

/**
 * Handles dead letters again, of all streams or of one, in the order of each stream.
 *
 * **When to use**
 *
 * Use this after the handler was fixed, or the cause of its failure is gone. Use {@link discard} to give up events.
 *
 * **Details**
 *
 * It reads the events from the log, and handles them as the runner would. If an event fails again, it and the events
 * after it in its stream remain dead-lettered.
 */
export const replay = <K extends View.Any, R>(
  projection: Followed<K, Delivery, R>,
  options: { readonly stream?: string } = {}
): Effect.Effect<Replayed, RecorderError, ViewStores.Of<K> | HandlerServices<K, R> | LogReader | Mapper> =>
  Effect.gen(function* () {
    const store = yield* storeOf(projection)
    yield* requireSameRunner(store, projection, `replay the dead letters of projection "${projection.name}"`)
    return yield* again(store, yield* LogReader, yield* Mapper, projection, options.stream)
  })
