/** What a decision is: a pure function from an aggregate's state to events, or to a failure of the domain. */
import { Effect } from "effect"

/** When a decision can be taken. */
export type Requires = "existing" | "missing" | "either"

/** What the function of a decision may return: one event, several, none, or an Effect of those that may fail. */
export type Outcome<Event> = Event | ReadonlyArray<Event> | undefined | void

/** The failure of an outcome. */
export type ErrorOf<R> = R extends Effect.Effect<infer _A, infer E, infer _R> ? E : never

/** A decision on an aggregate of that name; `E` is what it can fail with. */
export interface Decision<in out Name extends string, out E> {
  readonly _tag: "effect-eventsourcing/Decision"
  readonly aggregate: Name
  readonly requires: Requires
  /** @internal */
  readonly decide: (state: never) => unknown
  /** @internal */
  readonly "~E": (_: never) => E
}

/** Whether a value is a decision. */
export const isDecision = (u: unknown): u is Decision<string, unknown> =>
  typeof u === "object" && u !== null && "_tag" in u && u._tag === "effect-eventsourcing/Decision"

/** @internal */
export const make = <Name extends string, E>(
  aggregate: Name,
  requires: Requires,
  decide: Decision<Name, E>["decide"]
): Decision<Name, E> => ({ _tag: "effect-eventsourcing/Decision", aggregate, requires, decide }) as Decision<Name, E>

/** Takes a decision on a state: the events, as an array. */
export const take = <Name extends string, E>(
  decision: Decision<Name, E>,
  state: unknown
): Effect.Effect<ReadonlyArray<unknown>, E> => {
  const outcome = decision.decide(state as never)
  return Effect.isEffect(outcome)
    ? Effect.map(outcome as Effect.Effect<unknown, E>, toEvents)
    : Effect.succeed(toEvents(outcome))
}

/** The events of an outcome, as an array. */
export const toEvents = (outcome: unknown): ReadonlyArray<unknown> =>
  outcome === undefined ? [] : Array.isArray(outcome) ? outcome : [outcome]
