/** What a decision is: a pure function from an aggregate's state to events, or to a failure of the domain. */
import { Effect } from "effect"

/** When a decision can be taken. */
export type Requires = "existing" | "missing" | "either"

/** What the function of a decision may return: one event, several, none, or an Effect of those that may fail. */
export type Outcome<Event> = Event | ReadonlyArray<Event> | undefined | void

/** The failure of an outcome. */
export type ErrorOf<R> = R extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

/**
 * A decision on an aggregate of that name. `E` is what it can fail with, `State` what it is taken on, `Event` the events that it
 * may decide.
 */
export interface Decision<in out Name extends string, out E, out State = unknown, out Event = unknown> {
  readonly _tag: "effect-eventsourcing/Decision"
  readonly aggregate: Name
  readonly requires: Requires
  /** @internal */
  readonly decide: (state: unknown) => unknown
  /** The types, for the compiler; no value has it. */
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

/** Takes a decision on a state, or on none: the aggregate's events, as an array. */
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
