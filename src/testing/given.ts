/**
 * Given events of one aggregate, when a decision is taken, then events, nothing or a failure.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 * import { given } from "effect-eventsourcing/testing"
 *
 * const Door = Aggregate.make("Door", {
 *   state: Schema.Literals(["open", "locked"]),
 *   creation: { Made: {} },
 *   events: { Locked: {} },
 *   reduce: { Made: () => "open" as const, Locked: () => "locked" as const }
 * })
 * const lock = Door.decide((door) => (door === "locked" ? Effect.fail("locked already" as const) : Door.Locked()))
 *
 * given(Door, Door.Made()).when(lock).thenEvents(Door.Locked())
 * given(Door, Door.Made(), Door.Locked()).when(lock).thenFails("locked already")
 * given(Door).when(lock).thenFails("AggregateNotFound")
 * given(Door, Door.Made(), Door.Locked()).thenState("locked")
 * ```
 */
import { Effect } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import * as Decision from "../Decision.ts"
import { AggregateAlreadyExists, AggregateNotFound } from "../EventSourcingError.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { toDecision } from "../internal/repository/command.ts"
import * as Metadata from "../Metadata.ts"
import type * as Projection from "../Projection.ts"
import type * as Repository from "../Repository.ts"
import type * as View from "../View.ts"
import { show } from "./internal/compare.ts"
import type { Outcome } from "./internal/outcome.ts"
import { expectations, outcomeOf, runNow } from "./internal/outcome.ts"
import type { Recordable } from "./internal/recording.ts"
import { areSameEvents, areSameStates, foldAll, logOf, recordable } from "./internal/recording.ts"
import type { Paragraph } from "./internal/report.ts"
import { compared, failed, listed } from "./internal/report.ts"
import type { Projected, Views } from "./projected.ts"
import { projected } from "./projected.ts"
import type { EventsIn, FieldsOf, History, TagOf } from "./types.ts"

/** An aggregate with a history. */
export interface Given<A extends Aggregate.Any> {
  /**
   * Takes a decision or records events, like `execute` of a repository, but without a repository.
   *
   * The decision must complete synchronously. Use {@link Given.whenEffect} for one that waits, for instance for a
   * promise.
   */
  readonly when: <const C extends Repository.Command<A>>(command: C) => Decided<A, Repository.CommandError<A, C>>
  /** {@link Given.when} as an Effect: for decisions that wait. */
  readonly whenEffect: <const C extends Repository.Command<A>>(
    command: C
  ) => Effect.Effect<Decided<A, Repository.CommandError<A, C>>>
  /** Expects this state after the history; `undefined` if the history is empty. */
  readonly thenState: (state: NoInfer<Aggregate.StateOf<A>> | undefined) => void
  /** Builds the view of a projection from the history; see {@link Projected}. */
  readonly project: <K extends View.Any, R>(
    projection: Projection.Projection<K, "followed" | "inline", "exactly-once", R>,
    ...views: Views<K>
  ) => Projected<K, R>
}

/** The result of a decision. Each expectation throws an `ExpectationFailed` if it is not met. */
export interface Decided<A extends Aggregate.Any, E> {
  /** Expects the decision to record these events, in this order, and no others. */
  readonly thenEvents: <const Es extends readonly [Aggregate.AnyEvent, ...ReadonlyArray<Aggregate.AnyEvent>]>(
    ...events: Es & EventsIn<A, Es>
  ) => void
  /** Expects the decision to succeed without recording an event. */
  readonly thenNothing: () => void
  /**
   * Expects the decision to fail with this failure. If a tag is given, it expects a failure with that tag and, if
   * fields are given, with those fields.
   */
  readonly thenFails: <const F extends E | TagOf<E>>(
    failure: F,
    fields?: F extends string ? FieldsOf<E, F> : undefined
  ) => void
  /** Expects this state after the events that the decision recorded. */
  readonly thenState: (state: NoInfer<Aggregate.StateOf<A>>) => void
}

/**
 * Starts a test with the history of one aggregate.
 *
 * **When to use**
 *
 * Use this to test decisions and states of one aggregate. Use `givenAll` for transactions and programs over several. No
 * backend is involved.
 *
 * **Details**
 *
 * The first event creates the aggregate; without events it does not exist. The events are encoded and decoded, as
 * recorded events are. It works with any test runner: an expectation that is not met throws `ExpectationFailed`.
 *
 * **Gotchas**
 *
 * It throws if one of the events could not be recorded.
 *
 * **Example** (A decision that fails the second time)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate } from "effect-eventsourcing"
 * import { given } from "effect-eventsourcing/testing"
 *
 * const Door = Aggregate.make("Door", {
 *   state: Schema.Literals(["open", "locked"]),
 *   creation: { Made: {} },
 *   events: { Locked: {} },
 *   reduce: { Made: () => "open" as const, Locked: () => "locked" as const }
 * })
 * const lock = Door.decide((door) => (door === "locked" ? Effect.fail("locked already" as const) : Door.Locked()))
 *
 * given(Door, Door.Made()).when(lock).thenEvents(Door.Locked())
 * given(Door, Door.Made(), Door.Locked()).when(lock).thenFails("locked already")
 * ```
 */
export const given = <A extends Aggregate.Any, const Es extends ReadonlyArray<Aggregate.AnyEvent>>(
  aggregate: A,
  ...events: Es & History<A, Es>
): Given<A> => {
  const { name } = aggregate
  const history = recordable(aggregate, 0, events).map(({ event }) => event)
  const before = foldAll(aggregate, undefined, history)

  const context = (): ReadonlyArray<Paragraph> => [
    listed("given", history.length === 0 ? [] : history.map(show)),
    ...(before === undefined ? [] : [listed("state", [show(before)])])
  ]

  const take = <const C extends Repository.Command<A>>(
    command: C
  ): Effect.Effect<Outcome<ReadonlyArray<Recordable>>> => {
    const decision = toDecision(aggregate, command)
    const refused = refusal(aggregate, decision.requires, history.length - 1)
    if (refused !== undefined) return Effect.succeed({ _tag: "Failed", failure: refused })
    const taken = Effect.suspend(() =>
      Decision.take(decision, aggregate.compiled.copyState(before) as Aggregate.StateOf<A>)
    )
    return Effect.flatMap(Effect.exit(taken), (exit) =>
      Effect.map(outcomeOf(exit, "the decision"), (outcome): Outcome<ReadonlyArray<Recordable>> => {
        if (outcome._tag !== "Recorded") return outcome
        if (outcome.events.length === 0 && before === undefined) return { _tag: "Failed", failure: notFound(aggregate) }
        try {
          const recorded = recordable(aggregate, history.length, outcome.events)
          foldAll(
            aggregate,
            before,
            recorded.map(({ event }) => event)
          )
          return { _tag: "Recorded", events: recorded }
        } catch (cause) {
          return { _tag: "Broken", reason: `the decision's events: ${messageOf(cause)}`, cause }
        }
      })
    )
  }

  const compareStates = (
    expected: unknown,
    actual: unknown,
    paragraphs: ReadonlyArray<Paragraph>,
    from: (...args: ReadonlyArray<never>) => unknown
  ): void => {
    if (areSameStates(aggregate, expected, actual)) return
    const difference = compared("came out", [show(expected)], [show(actual)])
    throw failed(
      `${name}: the state differs from the expected one`,
      [...paragraphs, difference],
      { expected, actual },
      from
    )
  }

  const decided = <E>(outcome: Outcome<ReadonlyArray<Recordable>>): Decided<A, E> => {
    const showAll = (recorded: ReadonlyArray<Recordable>) => recorded.map(({ event }) => show(event))
    const expect = expectations<ReadonlyArray<Recordable>, ReadonlyArray<unknown>>(outcome, {
      about: name,
      what: "the decision",
      given: context,
      show: showAll,
      read: (expected) => recordable(aggregate, history.length, expected),
      areSame: areSameEvents,
      isEmpty: (recorded) => recorded.length === 0
    })
    const self: Decided<A, E> = {
      thenEvents: (...expected) => expect.events(expected, self.thenEvents),
      thenNothing: () => expect.nothing(self.thenNothing),
      thenFails: (failure, fields) => expect.failure(failure, fields, self.thenFails),
      thenState: (state) => {
        const recorded = expect.recorded("a state was expected", listed("expected", [show(state)]), self.thenState)
        const after = foldAll(
          aggregate,
          before,
          recorded.map(({ event }) => event)
        )
        compareStates(state, after, [...context(), listed("recorded", showAll(recorded))], self.thenState)
      }
    }
    return self
  }

  const self: Given<A> = {
    when: (command) => decided(runNow(take(command), "the decision", "whenEffect", self.when)),
    whenEffect: <const C extends Repository.Command<A>>(command: C) =>
      Effect.map(take(command), (outcome) => decided<Repository.CommandError<A, C>>(outcome)),
    thenState: (state) => compareStates(state, before, [listed("given", history.map(show))], self.thenState),
    project: (projection, ...views) => {
      const section = { aggregate, id: "given", events: history, recordedAt: undefined, metadata: Metadata.empty }
      return projected(logOf([section]), projection, views)
    }
  }
  return self
}

const notFound = ({ name }: Aggregate.Any) =>
  new AggregateNotFound({ aggregate: name, id: "given", version: undefined })

/** The error with which a repository would refuse to take a decision; `undefined` if it would take it. */
const refusal = (
  aggregate: Aggregate.Any,
  requires: Decision.Requires,
  version: number
): AggregateNotFound | AggregateAlreadyExists | undefined => {
  if (requires === "existing" && version < 0) return notFound(aggregate)
  if (requires === "missing" && version >= 0) {
    return new AggregateAlreadyExists({ aggregate: aggregate.name, id: "given", version })
  }
  return undefined
}
