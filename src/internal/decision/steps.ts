/** How decisions are made and taken. */
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import { AggregateAlreadyExists, AggregateNotFound } from "../../EventSourcingError.ts"
import type { Compiled } from "../aggregate/compiled.ts"

/** How a decision is taken: by a function, or by one decision after the other. */
export type Steps = ((state: unknown, revision: AnyRevision) => unknown) | Both

/** Two decisions, of which the second follows the first. */
export interface Both {
  readonly first: Decision.Any
  readonly second: Decision.Any | ((value: unknown) => Decision.Any)
}

/** What a decision gets of its aggregate besides the state. */
export type AnyRevision = Aggregate.Revision<string> | Aggregate.NoRevision<string>

/** Makes a decision on an aggregate. */
export const make = <D extends Decision.Any>(
  aggregate: { readonly name: string; readonly compiled: Compiled },
  requires: Decision.Requires,
  steps: Both | ((state: never, revision: never) => unknown)
): D => {
  const decision: Omit<Decision.Any, "~types"> = {
    _tag: "effect-eventsourcing/Decision",
    aggregate: aggregate.name,
    requires,
    compiled: aggregate.compiled,
    steps: steps as Steps
  }
  // the function that makes it knows the types of its result and its errors
  return decision as D
}

/** What a decision is taken on. */
export interface Current {
  readonly state: unknown
  readonly revision: AnyRevision
}

/** How states are copied and continued while a decision is taken. */
export interface Handling<E> {
  readonly copyState: (state: unknown) => unknown
  /** The state after the events of the first of two decisions. */
  readonly advance: (before: Current, events: ReadonlyArray<Aggregate.AnyEvent>) => Effect.Effect<Current, E>
}

/** The result of a decision. */
export interface Taken<out Event> {
  readonly events: ReadonlyArray<Event>
  /** Has the field `value` if the decision returned one. */
  readonly returned: { readonly value?: unknown }
}

/** Takes a decision whose requirement is met. */
export const takeWith = <Name extends string, E, State, Event, E2>(
  decision: Decision.Decision<Name, E, State, Event>,
  current: Current,
  handling: Handling<E2>
): Effect.Effect<Taken<Event>, E | E2> =>
  // the function that made the decision knows its types
  takeSteps(decision.steps, current, handling) as Effect.Effect<Taken<Event>, E | E2>

const takeSteps = <E>(
  steps: Steps,
  current: Current,
  handling: Handling<E>
): Effect.Effect<Taken<unknown>, unknown> => {
  if (typeof steps !== "function") return takeBoth(steps, current, handling)
  const outcome = steps(handling.copyState(current.state), current.revision)
  return Effect.isEffect(outcome)
    ? Effect.map(outcome as Effect.Effect<Decision.Outcome<unknown>, unknown>, toTaken)
    : Effect.succeed(toTaken(outcome as Decision.Outcome<unknown>))
}

const takeBoth = <E>(
  { first, second: next }: Both,
  current: Current,
  handling: Handling<E>
): Effect.Effect<Taken<unknown>, unknown> =>
  Effect.flatMapEager(takeSteps(first.steps, current, handling), ({ events, returned }) => {
    const second = typeof next === "function" ? next(returned.value) : next
    if (second.aggregate !== first.aggregate) {
      throw new Error(`a decision on a ${first.aggregate} can't be followed by one on a ${second.aggregate}`)
    }
    const after =
      events.length === 0
        ? Effect.succeed(current)
        : handling.advance(current, events as ReadonlyArray<Aggregate.AnyEvent>)
    return Effect.flatMapEager(after, (after): Effect.Effect<Taken<unknown>, unknown> => {
      const refused = refusal(second, after)
      if (refused !== undefined) return Effect.fail(refused)
      return Effect.mapEager(takeSteps(second.steps, after, handling), (last) => ({
        events: [...events, ...last.events],
        returned: last.returned
      }))
    })
  })

/** Why a decision can't be taken; `undefined` if it can. */
export const refusal = (
  { aggregate, requires }: { readonly aggregate: string; readonly requires: Decision.Requires },
  { state, revision }: Current
): AggregateNotFound | AggregateAlreadyExists | undefined => {
  if (requires === "existing" && state === undefined) {
    return new AggregateNotFound({ aggregate, id: revision.id, version: undefined })
  }
  if (requires === "missing" && state !== undefined) {
    return new AggregateAlreadyExists({ aggregate, id: revision.id, version: revision.version ?? 0 })
  }
  return undefined
}

/** The events and the value of an outcome. */
export const toTaken = <Event>(outcome: Decision.Outcome<Event>): Taken<Event> =>
  isWithValue(outcome)
    ? { events: toEvents(outcome.events), returned: { value: outcome.value } }
    : { events: toEvents(outcome), returned: nothing }

const nothing: Taken<never>["returned"] = {}

const isWithValue = <Event>(outcome: Decision.Outcome<Event>): outcome is Decision.WithValue<Decision.Events<Event>> =>
  typeof outcome === "object" && outcome !== null && "value" in outcome && "events" in outcome && !("_tag" in outcome)

/** Events as an array. */
export const toEvents = <Event>(events: Decision.Events<Event>): ReadonlyArray<Event> =>
  events === undefined ? [] : isArray(events) ? events : [events]

const isArray: (u: unknown) => u is ReadonlyArray<unknown> = Array.isArray
