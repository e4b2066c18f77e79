/**
 * Aggregates as pure reducers: typed events, a state, and how each event changes it.
 *
 * @example
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: Schema.Struct({ name: Schema.String, tricks: Schema.Array(Schema.String) }),
 *   creation: { Registered: { name: Schema.NonEmptyString } },
 *   events: { TrickAdded: { trick: Schema.NonEmptyString } },
 *   reduce: {
 *     Registered: ({ name }) => ({ name, tricks: [] }),
 *     TrickAdded: (dog, { trick }) => ({ ...dog, tricks: [...dog.tricks, trick] })
 *   }
 * })
 *
 * const events = [Dog.Registered({ name: "Fido" }), Dog.TrickAdded({ trick: "roll over" })]
 * console.log(Dog.fold(events)?.tricks) // prints: [ 'roll over' ]
 * ```
 */

import type { Brand, DateTime } from "effect"
import { Clock, Effect, Schema } from "effect"
import type * as Decision from "./Decision.ts"
import type * as DomainEvent from "./DomainEvent.ts"
import type { AggregateAlreadyExists, AggregateNotFound } from "./EventSourcingError.ts"
import type * as Evolution from "./Evolution.ts"
import { checkKey, checkName, compile } from "./internal/aggregate/compile.ts"
import type { Compiled } from "./internal/aggregate/compiled.ts"
import type { DeclarationChecks, NameCheck } from "./internal/aggregate/declarationChecks.ts"
import { make as makeDecision } from "./internal/decision/steps.ts"
import * as Uuid from "./internal/encoding/uuid.ts"
import * as StreamName from "./StreamName.ts"

/** The id of an aggregate with this name. */
export type Id<Name extends string> = string & Brand.Brand<`${Name}Id`>

/** An event as a plain value: its fields and its name as `_tag`. */
export interface AnyEvent {
  readonly _tag: string
}

/** Events by name, as they are declared. */
export interface Declarations {
  readonly [event: string]: DomainEvent.Declaration
}

type Simplify<A> = { readonly [K in keyof A]: A[K] } & {}

/** Like `Omit`, which would lose the fields that are declared beside an index signature. */
type WithoutTag<P> = { readonly [K in keyof P as K extends "_tag" ? never : K]: P[K] }

/** The event with a name and a declaration. */
export type EventOf<Tag, D> =
  DomainEvent.PayloadOf<D> extends infer P
    ? P extends unknown // each member of a union by itself
      ? Simplify<{ readonly _tag: Tag } & WithoutTag<P>>
      : never
    : never

/** All events of some declarations, as a union. */
export type EventsOf<D extends Declarations> = { readonly [K in keyof D & string]: EventOf<K, D[K]> }[keyof D & string]

/** The fields of an event; for an event that is a union, the fields of each member. */
type Payload<E extends AnyEvent> = E extends unknown ? WithoutTag<E> : never

type FieldOf<E extends AnyEvent> = E extends unknown ? Exclude<keyof E, "_tag"> : never

/** Makes an event: without an argument if the event has no fields, with an optional one if all fields are optional. */
export type Constructor<E extends AnyEvent> = [FieldOf<E>] extends [never]
  ? () => E
  : {} extends Payload<E>
    ? (payload?: Payload<E>) => E
    : (payload: Payload<E>) => E

/** One constructor for each event, by the event's name. */
export type Constructors<E extends AnyEvent> = {
  readonly [Tag in E["_tag"]]: Constructor<Extract<E, { readonly _tag: Tag }>>
}

/**
 * What a decision's function may return: one event, several, none, each alone or as `{ events, value }`, or an Effect of
 * these, which may fail.
 */
export type Outcome<Event> = Decision.Outcome<Event> | Effect.Effect<Decision.Outcome<Event>, unknown>

/** What a decision to create may return: a creation event, perhaps followed by others, or an Effect of these. */
export type CreationOutcome<Creation, Change> =
  | CreationEvents<Creation, Change>
  | Decision.WithValue<CreationEvents<Creation, Change>>
  | Effect.Effect<CreationEvents<Creation, Change> | Decision.WithValue<CreationEvents<Creation, Change>>, unknown>

type CreationEvents<Creation, Change> = Creation | readonly [Creation, ...ReadonlyArray<Change>]

/** An aggregate: its name, ids, decisions and reducer. The constructors of its events are further properties. */
export interface Aggregate<
  in out Name extends string,
  in out State,
  in out Creation extends AnyEvent,
  in out Change extends AnyEvent
> {
  /** The aggregate's name, and the category of its streams. */
  readonly name: Name
  /**
   * The schema of ids: any string that forms a valid stream name together with the aggregate's name.
   * `Dog.Id.make("rex")` throws on an invalid id; decoding fails with a typed error.
   */
  readonly Id: Schema.Codec<Id<Name>, string> & { readonly make: (id: string) => Id<Name> }
  /** The stable id of a name (the UUIDv5 of `/<Aggregate>/<name>`): the same name always has the same id. */
  readonly id: (name: string) => Id<Name>
  /** The stable id of a name in a namespace of your own, which must be a UUID: the UUIDv5 of the name alone. */
  readonly idIn: (namespace: string, name: string) => Id<Name>
  /** A new random id (UUIDv7). */
  readonly randomId: Effect.Effect<Id<Name>>
  /** The name of an aggregate's stream. */
  readonly stream: (id: Id<Name>) => StreamName.StreamName

  /**
   * Makes a decision on an aggregate that exists.
   *
   * **When to use**
   *
   * Use this for a command that changes an aggregate. Use `create` for a command that creates one, and `createOrDecide`
   * for a command that does either.
   *
   * **Details**
   *
   * The function gets the state and returns one event, several, none, or an Effect of these. Its failures appear in the
   * decision's type. The decision fails with `AggregateNotFound` if the aggregate does not exist.
   *
   * As its second argument it gets the aggregate's id, version and times. If it returns `{ events, value }`, the value
   * is part of what `execute` returns.
   *
   * **Gotchas**
   *
   * The function must be pure: after a conflict it is called again with the newer state, and the last call counts.
   *
   * **Example** (A decision that may fail)
   *
   * ```ts
   * import { Effect, Schema } from "effect"
   * import { Aggregate } from "effect-eventsourcing"
   *
   * const Door = Aggregate.make("Door", {
   *   state: Schema.Literals(["open", "locked"]),
   *   creation: { Made: {} },
   *   events: { Locked: {} },
   *   reduce: { Made: () => "open" as const, Locked: () => "locked" as const }
   * })
   *
   * const lock = Door.decide((door) => (door === "locked" ? Effect.fail("locked already" as const) : Door.Locked()))
   * console.log(lock.requires) // prints: existing
   * ```
   */
  readonly decide: <const R extends Outcome<Change>>(
    decide: (state: State, revision: Revision<Name>) => R
  ) => Decision.Decision<Name, Decision.ErrorOf<R> | AggregateNotFound, State, Change> & Decision.ReturningOf<R>
  /**
   * Makes a decision to create an aggregate.
   *
   * **When to use**
   *
   * Use this for a command that must find no aggregate yet.
   *
   * **Details**
   *
   * The function gets no state, but the id. It returns a creation event, perhaps followed by others, or an Effect of
   * these, also as `{ events, value }`. The decision fails with `AggregateAlreadyExists` if the aggregate exists.
   */
  readonly create: <const R extends CreationOutcome<Creation, Change>>(
    decide: (revision: NoRevision<Name>) => R
  ) => Decision.Decision<Name, Decision.ErrorOf<R> | AggregateAlreadyExists, undefined, Creation | Change> &
    Decision.ReturningOf<R>
  /**
   * Makes a decision on an aggregate that may or may not exist.
   *
   * **When to use**
   *
   * Use this for a command that creates the aggregate if necessary.
   *
   * **Details**
   *
   * The state is `undefined` if the aggregate does not exist. The decision fails with `AggregateNotFound` if the
   * aggregate does not exist afterwards either. Otherwise it is like `decide`.
   */
  readonly createOrDecide: <const R extends Outcome<Creation | Change>>(
    decide: (state: State | undefined, revision: Revision<Name> | NoRevision<Name>) => R
  ) => Decision.Decision<Name, Decision.ErrorOf<R> | AggregateNotFound, State | undefined, Creation | Change> &
    Decision.ReturningOf<R>

  /** Applies events to a state, or to none. It is pure, and throws on events that can't follow one another. */
  readonly fold: {
    (events: Iterable<Creation | Change>, state: State): State
    (events: Iterable<Creation | Change>, state?: State | undefined): State | undefined
  }

  /** A snapshot is saved whenever this many events have been recorded; if `undefined`, only on demand. */
  readonly snapshotEvery: number | undefined

  /** @internal */
  readonly compiled: Compiled
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": {
    readonly state: State
    readonly creation: Creation
    readonly change: Change
    readonly event: Creation | Change
  }
}

/** An aggregate with a constructor for each of its events: the type that {@link make} returns. */
export type Defined<Name extends string, State, Creation extends AnyEvent, Change extends AnyEvent> = Aggregate<
  Name,
  State,
  Creation,
  Change
> &
  Constructors<Creation | Change>

/** Any aggregate. */
export interface Any {
  readonly name: string
  readonly snapshotEvery: number | undefined
  readonly "~types": {
    readonly state: unknown
    readonly creation: AnyEvent
    readonly change: AnyEvent
    readonly event: AnyEvent
  }
  /** @internal */
  readonly compiled: Compiled
}

/** The name of an aggregate. */
export type NameOf<A extends Any> = A["name"]
/** The state of an aggregate. */
export type StateOf<A extends Any> = A["~types"]["state"]
/** The events that create an aggregate. */
export type CreationOf<A extends Any> = A["~types"]["creation"]
/** The events that change an aggregate that exists. */
export type ChangeOf<A extends Any> = A["~types"]["change"]
/** All events of an aggregate. */
export type Event<A extends Any> = A["~types"]["event"]

/** Which aggregate it is, and at which version. */
export interface Revision<Name extends string> {
  readonly id: Id<Name>
  /** The version of the last event that the state includes: 0 after the first. */
  readonly version: number
  /** When the first event was recorded. */
  readonly createdAt: DateTime.Utc
  /** When the event at `version` was recorded. */
  readonly modifiedAt: DateTime.Utc
}

/** Which aggregate it is, before its first event. */
export interface NoRevision<Name extends string> {
  readonly id: Id<Name>
  readonly version: undefined
  readonly createdAt: undefined
  readonly modifiedAt: undefined
}

/** An aggregate as it stood at a version. */
export interface Instance<Name extends string, out State> extends Revision<Name> {
  readonly state: State
}

/** How a state is declared: a schema, fields, or the versions of either. */
export type StateSource = Evolution.Source | Evolution.Any<unknown>
type StateType<S> = [S[keyof S]] extends [never] ? {} : S extends Evolution.Any<infer Type> ? Type : Evolution.TypeOf<S>

/** A reducer for each event: a creation event's takes the event alone, a changing event's takes state and event. */
export type Reducers<State, C extends Declarations, V extends Declarations> = {
  readonly [K in keyof C | keyof V]: K extends keyof C
    ? K extends keyof V
      ? "an event can't both create and change an aggregate; give one of the two another name"
      : (event: EventOf<K, C[K]>) => State
    : K extends keyof V
      ? (state: State, event: EventOf<K, V[K]>) => State
      : never
}

/**
 * Defines an aggregate: its typed events, its state, and how each event changes the state.
 *
 * **When to use**
 *
 * Call this once per kind of aggregate, at the top level of a module.
 *
 * **Details**
 *
 * - `state`: the schema of the state, or its fields; snapshots use it. It becomes an `Evolution` once there are
 *   snapshots of older versions.
 * - `creation`: the events that begin a stream. Their reducers get the event alone.
 * - `events`: the events that change an existing aggregate. Their reducers get the state and the event.
 * - `reduce`: how each event changes the state; pure. A missing reducer is a compile error.
 * - `snapshotEvery`: save a snapshot whenever this many events have been recorded (1, 2, 3…). This happens in the
 *   background: the command neither waits for it nor fails if it does. Default: on demand.
 *
 * **Gotchas**
 *
 * It throws on names that can't be recorded, so that the program fails when it starts.
 *
 * **Example** (An aggregate and its events)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.Int,
 *   creation: { Started: {} },
 *   events: { Increased: { by: Schema.Int } },
 *   reduce: { Started: () => 0, Increased: (count, { by }) => count + by }
 * })
 *
 * console.log(Counter.fold([Counter.Started(), Counter.Increased({ by: 2 })])) // prints: 2
 * ```
 */
export const make = <
  const Name extends string,
  const S extends StateSource,
  const C extends Declarations,
  const V extends Declarations
>(
  name: Name & NameCheck[Name],
  definition: {
    readonly state: S
    readonly creation: C & DeclarationChecks<NoInfer<C>>
    readonly events: V & DeclarationChecks<NoInfer<V>>
    readonly reduce: Reducers<StateType<S>, NoInfer<C>, NoInfer<V>>
    readonly snapshotEvery?: number
  }
): Defined<
  Name,
  StateType<S>,
  // written out so that an editor shows the events and not how they were declared
  { readonly [K in keyof C & string]: EventOf<K, C[K]> }[keyof C & string],
  { readonly [K in keyof V & string]: EventOf<K, V[K]> }[keyof V & string]
> => {
  const plainName: string = name
  checkName(plainName)
  const compiled = compile(plainName, definition)
  const { snapshotEvery } = definition
  if (snapshotEvery !== undefined && !(Number.isInteger(snapshotEvery) && snapshotEvery > 0)) {
    throw new Error(`${plainName}: snapshotEvery must be a whole number of at least 1, got ${snapshotEvery}`)
  }
  const idSchema = Schema.String.check(
    Schema.makeFilter((id: string) => {
      const found = id.length === 0 ? "is empty" : StreamName.problem(`${plainName}-${id}`)
      return found === undefined ? undefined : `invalid id of ${plainName}: it ${found}`
    })
  )
  const makeId = (id: string) => idSchema.make(id) as string as Id<Name>
  const named = { name: plainName, compiled }
  const aggregate: Omit<Aggregate<Name, StateType<S>, EventsOf<C>, EventsOf<V>>, "~types"> = {
    name: plainName as Name,
    Id: idSchema as Aggregate<Name, StateType<S>, EventsOf<C>, EventsOf<V>>["Id"],
    id: (key) => makeId(Uuid.v5(`/${plainName}/${checkKey(plainName, key)}`)),
    idIn: (namespace, key) => makeId(Uuid.v5(checkKey(plainName, key), namespace)),
    randomId: Effect.map(Clock.currentTimeMillis, (now) => makeId(Uuid.v7(now))),
    stream: (id) => StreamName.of(plainName, id),
    decide: (decide) => makeDecision(named, "existing", decide),
    create: (decide) => makeDecision(named, "missing", (_none, revision: NoRevision<Name>) => decide(revision)),
    createOrDecide: (decide) => makeDecision(named, "either", decide),
    fold: (events: Iterable<AnyEvent>, state?: StateType<S>) => {
      let folded: unknown = state
      for (const event of events) folded = compiled.apply(folded, event)
      return folded as StateType<S>
    },
    snapshotEvery,
    compiled
  }
  for (const tag of compiled.byTag.keys()) {
    if (tag in aggregate)
      throw new Error(
        `${plainName}: an event can't be named "${tag}", because the aggregate has a property of that name`
      )
    // an async function that returned the aggregate would never complete: it would be taken for a promise
    if (tag === "then")
      throw new Error(
        `${plainName}: an event can't be named "then", because the aggregate would be taken for a promise`
      )
  }
  const constructors = Object.fromEntries(
    // named after their events, for messages about a constructor that was not called
    [...compiled.byTag].map(([tag, { construct }]) => [tag, { [tag]: (payload?: object) => construct(payload) }[tag]])
  )
  // the constructors are created by name, and "~types" has no value: the compiler can't see either
  return Object.assign(aggregate, constructors) as unknown as Defined<Name, StateType<S>, EventsOf<C>, EventsOf<V>>
}
