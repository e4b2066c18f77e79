/** Decisions: pure functions from an aggregate's state to events, or to a failure of the domain. */
import { Effect } from "effect"
import type * as Aggregate from "./Aggregate.ts"
import type { Compiled } from "./internal/aggregate/compiled.ts"
import type { AnyRevision, Both, Steps } from "./internal/decision/steps.ts"
import { make, takeWith } from "./internal/decision/steps.ts"

export { toEvents } from "./internal/decision/steps.ts"

/** What must hold for a decision to be taken: the aggregate exists, is missing, or either. */
export type Requires = "existing" | "missing" | "either"

/** One event, several, or none. */
export type Events<Event> = Event | ReadonlyArray<Event> | undefined | void

/** Events together with a value for the caller. */
export interface WithValue<out Events, out Value = unknown> {
  /** It has no tag, which distinguishes it from an event. */
  readonly _tag?: undefined
  readonly events: Events
  readonly value: Value
}

/** The direct results of a decision's function: one event, several, or none, alone or together with a value. */
export type Outcome<Event> = Events<Event> | WithValue<Events<Event>>

/** The error type of an outcome. */
export type ErrorOf<R> = R extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

/**
 * A decision on an aggregate with this name: a value that `Repository` executes.
 *
 * **When to use**
 *
 * Make one with `decide`, `create` or `createOrDecide` of an aggregate. Use this type in the signature of a function
 * that returns decisions.
 *
 * **Details**
 *
 * `E` is the type of its failures, `State` the state on which it is taken, and `Event` the events that it may decide. A
 * decision that also returns a value is a {@link Returning} in addition.
 */
export interface Decision<in out Name extends string, out E, out State = unknown, out Event = unknown> {
  readonly _tag: "effect-eventsourcing/Decision"
  readonly aggregate: Name
  readonly requires: Requires
  /** @internal */
  readonly compiled: Compiled
  /** @internal */
  readonly steps: Steps
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly error: E; readonly state: State; readonly event: Event }
}

/**
 * What a decision is in addition if it returns a value: `Decision<"Seat", SoldOut> & Returning<number>`.
 *
 * A decision returns a value if its function returns `{ events, value }`.
 */
export interface Returning<out Value> {
  /** Carries the type for the compiler; it has no value at run time. */
  readonly "~value": Value
}

/** Any decision, on any aggregate. */
export interface Any {
  readonly _tag: "effect-eventsourcing/Decision"
  readonly aggregate: string
  readonly requires: Requires
  /** @internal */
  readonly compiled: Compiled
  /** @internal */
  readonly steps: Steps
  readonly "~types": { readonly error: unknown; readonly state: unknown; readonly event: unknown }
}

/** The value that a decision, or its function, returns; `undefined` if it returns none. */
export type ValueOf<R> = R extends Effect.Effect<infer A, infer _E, infer _R> ? ValueOfOne<A> : ValueOfOne<R>

type ValueOfOne<A> =
  A extends Returning<infer Value> ? Value : A extends WithValue<unknown, infer Value> ? Value : undefined

/** The outcomes and decisions among these that have a value. */
type Valued<R> =
  R extends Effect.Effect<infer A, infer _E, infer _R>
    ? Extract<A, WithValue<unknown>>
    : Extract<R, WithValue<unknown> | Returning<unknown>>

/** {@link Returning} for an outcome with a value; `unknown`, which adds nothing to a decision's type, for any other. */
export type ReturningOf<R> = [Valued<R>] extends [never] ? unknown : Returning<ValueOf<R>>

/** What a command's result has in addition if the command returns a value; `unknown` if it does not. */
export type Returned<C> = [Valued<C>] extends [never] ? unknown : { readonly value: ValueOf<C> }

/** Whether a value is a decision. */
export const isDecision = (u: unknown): u is Decision<string, unknown> =>
  typeof u === "object" && u !== null && "_tag" in u && u._tag === "effect-eventsourcing/Decision"

/**
 * Composes two decisions on one aggregate into one decision. The second sees the state after the events of the first.
 *
 * **When to use**
 *
 * Use this for a command that consists of commands which exist already. The events of both are recorded in one append,
 * all or none (G1). The result is a decision like any other: execute it, use it in a transaction, compose it again.
 *
 * **Details**
 *
 * The second is a decision, or a function that makes it from the first's value. The value of the whole is that of the
 * second. If either of them fails, or the second finds its requirement not met after the events of the first, the whole
 * decision fails, and nothing is recorded. After a conflict, both are taken again.
 *
 * **Gotchas**
 *
 * The second gets the version that the aggregate has after the events of the first. As their time it gets the current
 * one, since they are not recorded yet.
 *
 * **Example** (Two decisions in one append)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Decision } from "effect-eventsourcing"
 *
 * const Door = Aggregate.make("Door", {
 *   state: Schema.Literals(["open", "closed", "locked"]),
 *   creation: { Made: {} },
 *   events: { Closed: {}, Locked: {} },
 *   reduce: { Made: () => "open" as const, Closed: () => "closed" as const, Locked: () => "locked" as const }
 * })
 *
 * const close = Door.decide((door) => (door === "open" ? Door.Closed() : Effect.fail("not open" as const)))
 * const lock = Door.decide((door) => (door === "closed" ? Door.Locked() : Effect.fail("not closed" as const)))
 *
 * const closeAndLock = Decision.andThen(close, lock)
 * console.log(Effect.runSync(Decision.take(closeAndLock, "open"))) // prints: [ { _tag: 'Closed' }, { _tag: 'Locked' } ]
 * ```
 */
export const andThen = <D1 extends Any, D2 extends Decision<D1["aggregate"], unknown>>(
  first: D1,
  second: D2 | ((value: ValueOf<D1>) => D2)
): Decision<
  D1["aggregate"],
  D1["~types"]["error"] | D2["~types"]["error"],
  D1["~types"]["state"],
  D1["~types"]["event"] | D2["~types"]["event"]
> &
  ReturningOf<D2> => {
  const aggregate = { name: first.aggregate, compiled: first.compiled }
  return make(aggregate, first.requires, { first, second: second as Both["second"] })
}

/**
 * Takes a decision on a state, or on none, and returns the aggregate's events as an array.
 *
 * The third argument is needed for a decision that asks for the aggregate's id, version or times.
 */
export const take = <Name extends string, E, State, Event>(
  decision: Decision<Name, E, State, Event>,
  state: NoInfer<State> | undefined,
  revision?: Aggregate.Revision<Name> | Aggregate.NoRevision<Name>
): Effect.Effect<ReadonlyArray<Event>, E> => {
  const { compiled } = decision
  const taken = takeWith(
    decision,
    { state, revision: revision ?? notGiven },
    {
      copyState: compiled.copyState,
      advance: (before, events) =>
        Effect.succeed({ state: events.reduce(compiled.apply, before.state), revision: before.revision })
    }
  )
  return Effect.mapEager(taken, ({ events }) => events)
}

const needed = (): never => {
  throw new Error(
    "the decision asks for the aggregate's id, version or times: give them to Decision.take as the third argument"
  )
}

/** The revision to use if `take` was not given one. */
const notGiven: AnyRevision = Object.defineProperties(
  {},
  Object.fromEntries(["id", "version", "createdAt", "modifiedAt"].map((name) => [name, { get: needed }]))
) as AnyRevision
