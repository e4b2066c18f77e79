/** Decisions: pure functions from an aggregate's state to events, or to a failure of the domain. */
import { Effect } from "effect"

/** What must hold for a decision to be taken: the aggregate exists, is missing, or either. */
export type Requires = "existing" | "missing" | "either"

/** What a decision's function may return directly: one event, several, or none. */
export type Outcome<Event> = Event | ReadonlyArray<Event> | undefined | void

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
 * `E` is the type of its failures, `State` the state on which it is taken, and `Event` the events that it may decide.
 */
export interface Decision<in out Name extends string, out E, out State = unknown, out Event = unknown> {
  readonly _tag: "effect-eventsourcing/Decision"
  readonly aggregate: Name
  readonly requires: Requires
  /** @internal */
  readonly decide: (state: unknown) => unknown
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly error: E; readonly state: State; readonly event: Event }
}

/** Whether a value is a decision. */
export const isDecision = (u: unknown): u is Decision<string, unknown> =>
  typeof u === "object" && u !== null && "_tag" in u && u._tag === "effect-eventsourcing/Decision"

/** @internal */
export const make = <Name extends string, E, State, Event>(
  aggregate: Name,
  requires: Requires,
  decide: (state: never) => unknown
): Decision<Name, E, State, Event> =>
  ({ _tag: "effect-eventsourcing/Decision", aggregate, requires, decide }) as Decision<Name, E, State, Event>

/** Takes a decision on a state, or on none, and returns the aggregate's events as an array. */
export const take = <Name extends string, E, State, Event>(
  decision: Decision<Name, E, State, Event>,
  state: NoInfer<State> | undefined
): Effect.Effect<ReadonlyArray<Event>, E> => {
  const outcome = decision.decide(state) as Outcome<Event> | Effect.Effect<Outcome<Event>, E>
  return Effect.isEffect(outcome) ? Effect.map(outcome, toEvents) : Effect.succeed(toEvents(outcome))
}

/** The events of an outcome, as an array. */
export const toEvents = <Event>(outcome: Outcome<Event>): ReadonlyArray<Event> =>
  outcome === undefined ? [] : isArray(outcome) ? outcome : [outcome]

const isArray: (u: unknown) => u is ReadonlyArray<unknown> = Array.isArray
