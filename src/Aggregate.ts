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
import * as Decision from "./Decision.ts"
import * as DomainEvent from "./DomainEvent.ts"
import type { AggregateAlreadyExists, AggregateNotFound } from "./EventSourcingError.ts"
import * as Evolution from "./Evolution.ts"
import { textProblem } from "./internal/encoding/textProblem.ts"
import * as Uuid from "./internal/encoding/uuid.ts"
import { isType } from "./StoredEvent.ts"
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

/** One event of an aggregate, compiled. @internal */
export interface CompiledEvent {
  readonly tag: string
  readonly type: string
  readonly creates: boolean
  readonly codec: Evolution.Codec<object>
  readonly construct: (payload?: object) => AnyEvent
}

/** What the event store needs from an aggregate. @internal */
export interface Compiled {
  readonly byTag: ReadonlyMap<string, CompiledEvent>
  /** By stored type, including aliases. */
  readonly byType: ReadonlyMap<string, CompiledEvent>
  readonly state: Evolution.Codec<unknown>
  /** Copies a state that could be changed in place; returns the state itself if nothing can change it. */
  readonly copyState: (state: unknown) => unknown
  readonly apply: (state: unknown, event: AnyEvent) => unknown
}

/**
 * The requirements on a name besides being a string. It is an index lookup because a conditional type would stay
 * unresolved for a name that is itself a type parameter: a generic function that makes aggregates would not compile.
 */
interface NameCheck {
  readonly [name: string]: unknown
  readonly [name: `${string}-${string}`]: {
    readonly "an aggregate's name has no '-': it separates the name from the id in stream names": never
  }
}

/** The properties that every aggregate, object or promise has: a constructor can't have one of these names. */
type Reserved = keyof Aggregate<string, unknown, AnyEvent, AnyEvent> | keyof Object | "then"

/** The type that an event declares for its own `_tag`; `never` if it declares none. */
type DeclaredTag<P> = P extends unknown
  ? { readonly [K in keyof P as string extends K ? never : K extends "_tag" ? K : never]: P[K] } extends infer T
    ? T[keyof T]
    : never
  : never

/** Intersected with each declaration: for an invalid one, the resulting type names the problem. */
type DeclarationChecks<D extends Declarations> = {
  readonly [K in keyof D]: K extends Reserved
    ? {
        readonly [Message in `an event can't be called '${K}': an aggregate or a promise has a property of that name`]: never
      }
    : [DeclaredTag<DomainEvent.PayloadOf<D[K]>>] extends [K]
      ? unknown
      : { readonly "an event can't have a field '_tag': that is where it has its name": never }
}

type StateSource = Evolution.Source | Evolution.Any<unknown>
type StateType<S> = [S[keyof S]] extends [never] ? {} : S extends Evolution.Any<infer Type> ? Type : Evolution.TypeOf<S>

/** A reducer for each event: a creation event's takes the event alone, a changing event's takes state and event. */
export type Reducers<State, C extends Declarations, V extends Declarations> = {
  readonly [K in keyof C | keyof V]: K extends keyof C
    ? K extends keyof V
      ? "an event can't both create and change an aggregate: give one of the two another name"
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
    throw new Error(`${plainName}: snapshotEvery is a whole number of events from 1 on, not ${snapshotEvery}`)
  }
  const idSchema = Schema.String.check(
    Schema.makeFilter((id: string) => {
      const found = id.length === 0 ? "is empty" : StreamName.problem(`${plainName}-${id}`)
      return found === undefined ? undefined : `an id of ${plainName} that ${found}`
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
    decide: (decide) => Decision.make(named, "existing", decide),
    create: (decide) => Decision.make(named, "missing", (_none, revision: NoRevision<Name>) => decide(revision)),
    createOrDecide: (decide) => Decision.make(named, "either", decide),
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
      throw new Error(`${plainName}: an event can't be called "${tag}", the aggregate has that itself`)
    // an async function that returned the aggregate would never complete: it would be taken for a promise
    if (tag === "then") throw new Error(`${plainName}: an event can't be called "then", a promise has that`)
  }
  const constructors = Object.fromEntries(
    // named after their events, for messages about a constructor that was not called
    [...compiled.byTag].map(([tag, { construct }]) => [tag, { [tag]: (payload?: object) => construct(payload) }[tag]])
  )
  // the constructors are created by name, and "~types" has no value: the compiler can't see either
  return Object.assign(aggregate, constructors) as unknown as Defined<Name, StateType<S>, EventsOf<C>, EventsOf<V>>
}

/** The name that an id is derived from may be longer than a stream's name, since the id contains only its hash. */
const checkKey = (name: string, key: string): string => {
  const found = textProblem(key)
  if (found !== undefined) throw new Error(`a name of ${name} that ${found}`)
  return key
}

const UUID_EXAMPLE = "00000000-0000-0000-0000-000000000000"

const checkName = (name: string): void => {
  const found = name.includes("-") ? "contains a -, which ends the name in a stream's" : StreamName.problem(name)
  if (found !== undefined) throw new Error(`aggregate name "${name}" ${found}`)
  if (StreamName.problem(`${name}-${UUID_EXAMPLE}`) !== undefined) {
    throw new Error(
      `aggregate name "${name}" leaves no room for an id in the ${StreamName.MAX_BYTES} bytes of a stream's`
    )
  }
}

/** The required parts of a definition, and what to write if one is missing. */
const PARTS = {
  state: "the schema of the state, or its fields",
  creation: "the events that begin an aggregate, such as { Registered: { name: Schema.String } }",
  events: "the events that change an aggregate that exists; {} if there are none",
  reduce: "a function for each event that returns the state after it"
}

const compile = (
  name: string,
  definition: {
    readonly state: StateSource
    readonly creation: Declarations
    readonly events: Declarations
    readonly reduce: object
  }
): Compiled => {
  for (const part of ["state", "creation", "events", "reduce"] as const) {
    if (definition[part] === undefined) throw new Error(`${name}: "${part}" is missing: ${PARTS[part]}`)
  }
  const byTag = new Map<string, CompiledEvent>()
  const byType = new Map<string, CompiledEvent>()
  const declare = (tag: string, declaration: DomainEvent.Declaration, creates: boolean) => {
    const { type = `${name}.${tag}`, aliases, evolution } = DomainEvent.fromDeclaration(declaration)
    if (!isType(type)) {
      throw new Error(
        `${name}.${tag}: "${type}" can't be recorded as an event type: only letters, digits and _ . : -. Give it one with DomainEvent.make({ type })`
      )
    }
    if (byTag.has(tag)) throw new Error(`${name}.${tag} is declared twice`)
    const construct = DomainEvent.constructorOf(`${name}.${tag}`, tag, evolution)
    const event = { tag, type, creates, codec: DomainEvent.compile(tag, evolution), construct }
    byTag.set(tag, event)
    for (const stored of new Set([type, ...aliases])) {
      const other = byType.get(stored)
      if (other !== undefined) throw new Error(`${name}: the type "${stored}" is given to both ${other.tag} and ${tag}`)
      byType.set(stored, event)
    }
  }
  for (const [tag, declaration] of Object.entries(definition.creation)) declare(tag, declaration, true)
  for (const [tag, declaration] of Object.entries(definition.events)) declare(tag, declaration, false)

  const reducers = new Map(Object.entries(definition.reduce)) as ReadonlyMap<
    string,
    (first: unknown, second?: unknown) => unknown
  >
  for (const tag of byTag.keys()) {
    if (!reducers.has(tag)) throw new Error(`${name}.${tag} has no reducer`)
  }
  for (const tag of reducers.keys()) {
    if (!byTag.has(tag)) throw new Error(`${name} has a reducer for "${tag}", which is no event of it`)
  }
  const { state } = definition
  const versions = Evolution.isEvolution(state) ? state : Evolution.version(1, state as Evolution.Source)
  if (Evolution.accepts(versions, undefined)) {
    throw new Error(`${name}: a state can't be undefined, which stands for an aggregate that does not exist`)
  }
  return {
    byTag,
    byType,
    state: Evolution.compile(versions),
    copyState: Evolution.copier(versions),
    apply: (state, event) => {
      const declared = byTag.get(event._tag)
      const reduce = reducers.get(event._tag)
      if (declared === undefined || reduce === undefined) throw new Error(`${name} has no event "${event._tag}"`)
      if (declared.creates) {
        if (state !== undefined) throw new Error(`${name}.${event._tag} creates, and the aggregate exists already`)
        return reduce(event)
      }
      if (state === undefined) throw new Error(`${name}.${event._tag} changes an aggregate, and there is none yet`)
      return reduce(state, event)
    }
  }
}
