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
import { DateTime, Effect, Exit } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import type * as Decision from "../Decision.ts"
import { AggregateNotFound } from "../EventSourcingError.ts"
import { refusal } from "../internal/decision/steps.ts"
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
import { currentOf, take } from "./internal/taking.ts"
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
  readonly when: <const C extends Repository.Command<A>>(
    command: C
  ) => Decided<A, Repository.CommandError<A, C>, Decision.ValueOf<C>>
  /** {@link Given.when} as an Effect: for decisions that wait. */
  readonly whenEffect: <const C extends Repository.Command<A>>(
    command: C
  ) => Effect.Effect<Decided<A, Repository.CommandError<A, C>, Decision.ValueOf<C>>>
  /**
   * The same history of the aggregate with this id and these times, for decisions that ask for them.
   *
   * Without it, the id is `given`, and the times are those of `givenAll`: the first event was recorded at the start of
   * the year 2000 (UTC), and each further one a second after the one before. The version is that of the last event.
   */
  readonly as: (known: GivenRevision<A>) => Given<A>
  /** Expects this state after the history; `undefined` if the history is empty. */
  readonly thenState: (state: NoInfer<Aggregate.StateOf<A>> | undefined) => void
  /** Builds the view of a projection from the history; see {@link Projected}. */
  readonly project: <K extends View.Any, R>(
    projection: Projection.Projection<K, "followed" | "inline", "exactly-once", R>,
    ...views: Views<K>
  ) => Projected<K, R>
}

/** The id and the times of an aggregate in a test. */
export interface GivenRevision<A extends Aggregate.Any> {
  readonly id?: Aggregate.Id<Aggregate.NameOf<A>>
  readonly createdAt?: DateTime.DateTime.Input
  readonly modifiedAt?: DateTime.DateTime.Input
}

/** The result of a decision. Each expectation throws an `ExpectationFailed` if it is not met. */
export interface Decided<A extends Aggregate.Any, E, Value = undefined> {
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
  /** Expects the decision to return this value; `undefined` if it returns none. */
  readonly thenValue: (value: NoInfer<Value>) => void
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
): Given<A> =>
  givenAs(
    aggregate,
    recordable(aggregate, 0, events).map(({ event }) => event),
    {}
  )

const givenAs = <A extends Aggregate.Any>(
  aggregate: A,
  history: ReadonlyArray<Aggregate.AnyEvent>,
  known: GivenRevision<A>
): Given<A> => {
  const { name } = aggregate
  const before = foldAll(aggregate, undefined, history)
  const id = known.id ?? ("given" as Aggregate.Id<Aggregate.NameOf<A>>)
  const taking = { aggregate, state: before, events: history.length, known: { ...known, id } }

  const context = (): ReadonlyArray<Paragraph> => [
    listed("given", history.length === 0 ? [] : history.map(show)),
    ...(before === undefined ? [] : [listed("state", [show(before)])])
  ]

  const takeCommand = <const C extends Repository.Command<A>>(
    command: C
  ): Effect.Effect<Outcome<ReadonlyArray<Recordable>>> => {
    const decision = toDecision(aggregate, command)
    const refused = refusal(decision, currentOf(taking))
    if (refused !== undefined) return Effect.succeed({ _tag: "Failed", failure: refused })
    return Effect.flatMap(Effect.exit(take(taking, decision)), (exit) =>
      Effect.map(
        outcomeOf(
          Exit.map(exit, ({ events, returned }) => ({ events, value: returned.value })),
          "the decision"
        ),
        (outcome): Outcome<ReadonlyArray<Recordable>> => {
          if (outcome._tag !== "Recorded") return outcome
          if (outcome.events.length === 0 && before === undefined) {
            return { _tag: "Failed", failure: new AggregateNotFound({ aggregate: name, id, version: undefined }) }
          }
          try {
            const recorded = recordable(aggregate, history.length, outcome.events)
            foldAll(
              aggregate,
              before,
              recorded.map(({ event }) => event)
            )
            return { ...outcome, events: recorded }
          } catch (cause) {
            return { _tag: "Broken", reason: `the decision's events: ${messageOf(cause)}`, cause }
          }
        }
      )
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

  const decided = <E, Value>(outcome: Outcome<ReadonlyArray<Recordable>>): Decided<A, E, Value> => {
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
    const self: Decided<A, E, Value> = {
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
      },
      thenValue: (value) => expect.value(value, self.thenValue)
    }
    return self
  }

  const self: Given<A> = {
    when: (command) => decided(runNow(takeCommand(command), "the decision", "whenEffect", self.when)),
    whenEffect: <const C extends Repository.Command<A>>(command: C) =>
      Effect.map(takeCommand(command), (outcome) =>
        decided<Repository.CommandError<A, C>, Decision.ValueOf<C>>(outcome)
      ),
    as: (more) => givenAs(aggregate, history, { ...known, ...more }),
    thenState: (state) => compareStates(state, before, [listed("given", history.map(show))], self.thenState),
    project: (projection, ...views) => {
      const section = (events: ReadonlyArray<Aggregate.AnyEvent>, time: DateTime.DateTime.Input | undefined) => ({
        ...{ aggregate, id, events, metadata: Metadata.empty },
        recordedAt: time === undefined ? undefined : DateTime.toEpochMillis(DateTime.makeUnsafe(time))
      })
      const [first, later] = [history.slice(0, 1), history.slice(1)]
      return projected(logOf([section(first, known.createdAt), section(later, known.modifiedAt)]), projection, views)
    }
  }
  return self
}
