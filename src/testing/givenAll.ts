/**
 * Given events of several aggregates, when a transaction or a program runs, then the events of each of them.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { givenAll, stream } from "effect-eventsourcing/testing"
 *
 * const Purse = Aggregate.make("Purse", {
 *   state: Schema.Int,
 *   creation: { Opened: { coins: Schema.Int } },
 *   events: { Taken: { coins: Schema.Int }, Put: { coins: Schema.Int } },
 *   reduce: {
 *     Opened: ({ coins }) => coins,
 *     Taken: (purse, { coins }) => purse - coins,
 *     Put: (purse, { coins }) => purse + coins
 *   }
 * })
 * const [ada, bob] = [Purse.id("ada"), Purse.id("bob")]
 * const give = (coins: number) =>
 *   Repository.transaction(
 *     { from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) },
 *     ({ from }) =>
 *       from < coins
 *         ? Effect.fail("too few coins" as const)
 *         : { from: Purse.Taken({ coins }), to: Purse.Put({ coins }) }
 *   )
 *
 * const purses = givenAll(
 *   stream(Purse, ada, Purse.Opened({ coins: 5 })),
 *   stream(Purse, bob, Purse.Opened({ coins: 0 }))
 * )
 * purses.when(give(3)).thenEvents(
 *   stream(Purse, ada, Purse.Taken({ coins: 3 })),
 *   stream(Purse, bob, Purse.Put({ coins: 3 }))
 * )
 * purses.when(give(6)).thenFails("too few coins")
 * ```
 */
import { Effect, Exit } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import type { EventSourcing } from "../EventSourcing.ts"
import { MemoryLayer } from "../memory/MemoryLayer.ts"
import type { Services as MemoryServices } from "../memory/MemoryRecorder.ts"
import type * as Projection from "../Projection.ts"
import { Recorder } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type * as View from "../View.ts"
import { show } from "./internal/compare.ts"
import type { Outcome } from "./internal/outcome.ts"
import { expectations, outcomeOf, runNow } from "./internal/outcome.ts"
import type { Entry, Recordable } from "./internal/recording.ts"
import { areSameEvents, fromNotification, logOf } from "./internal/recording.ts"
import { listed } from "./internal/report.ts"
import type { Projected, Views } from "./projected.ts"
import { projected } from "./projected.ts"
import type { StreamEvents } from "./stream.ts"
import type { FieldsOf, TagOf } from "./types.ts"

/**
 * The services that a program may use: repositories, transactions, and everything else that a log in memory provides.
 */
export type Services = EventSourcing | MemoryServices

/** Aggregates with their histories. */
export interface GivenAll {
  /**
   * Runs a transaction, or any program that uses repositories, on a new log in memory that contains the given events.
   *
   * The program must complete synchronously. Use {@link GivenAll.whenEffect} for one that waits or needs other
   * services.
   */
  readonly when: <A, E>(program: Effect.Effect<A, E, Services>) => Ran<E, A>
  /** {@link GivenAll.when} as an Effect: for programs that wait or need other services. */
  readonly whenEffect: <A, E, R>(
    program: Effect.Effect<A, E, R>
  ) => Effect.Effect<Ran<E, A>, never, Exclude<R, Services>>
  /** Builds the view of a projection from the events, in the given order; see {@link Projected}. */
  readonly project: <K extends View.Any, R>(
    projection: Projection.Projection<K, "followed" | "inline", "exactly-once", R>,
    ...views: Views<K>
  ) => Projected<K, R>
}

/** The result of a program. Each expectation throws an `ExpectationFailed` if it is not met. */
export interface Ran<E, Value = unknown> {
  /** Expects the program to record these events, and no others. The order matters only within an aggregate. */
  readonly thenEvents: (...streams: readonly [StreamEvents, ...ReadonlyArray<StreamEvents>]) => void
  /** Expects the program to succeed without recording an event. */
  readonly thenNothing: () => void
  /**
   * Expects the program to fail with this failure. If a tag is given, it expects a failure with that tag and, if fields
   * are given, with those fields.
   */
  readonly thenFails: <const F extends E | TagOf<E>>(
    failure: F,
    fields?: F extends string ? FieldsOf<E, F> : undefined
  ) => void
  /** Expects the program to return this value. */
  readonly thenValue: (value: NoInfer<Value>) => void
}

/** An event in its stream. */
interface Placed extends Recordable {
  readonly stream: string
}

/** More events than any program of a test records. */
const ALL = 100_000

/**
 * Starts a test with the events of several aggregates, each a `stream`.
 *
 * **When to use**
 *
 * Use this to test transactions, programs and projections over several aggregates. Use `given` for one aggregate.
 *
 * **Details**
 *
 * The program runs on a new log in memory. Several streams of the same aggregate continue its history. The events are
 * encoded and decoded, as recorded events are.
 *
 * **Gotchas**
 *
 * It throws if one of the events could not be recorded.
 */
export const givenAll = (...streams: ReadonlyArray<StreamEvents>): GivenAll => {
  const log = logOf(streams)
  const given = listed("given", log.map(placedOf).map(showPlaced))

  /** Runs a program on a new log, and returns the events that it has recorded. */
  const run = <A, E, R>(
    program: Effect.Effect<A, E, R>
  ): Effect.Effect<Outcome<ReadonlyArray<Notification>>, never, Exclude<R, Services>> =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      for (const { recorded, stored } of log) {
        const expected = recorded.version === 0 ? ("NoStream" as const) : recorded.version - 1
        yield* Effect.orDie(recorder.append({ stream: recorded.stream, expected, events: [stored] }))
      }
      const exit = yield* Effect.exit(program)
      const all = yield* Effect.orDie(recorder.readAll({ limit: ALL }))
      return yield* outcomeOf(
        Exit.map(exit, (value) => ({ events: all.slice(log.length), value })),
        "the program"
      )
    }).pipe(Effect.provide(MemoryLayer()))

  const ran = <E, Value>(outcome: Outcome<ReadonlyArray<Notification>>): Ran<E, Value> => {
    const expect = (...more: ReadonlyArray<StreamEvents>) => {
      const aggregates = [...streams, ...more].map(({ aggregate }) => aggregate)
      const decoded: Outcome<ReadonlyArray<Placed>> =
        outcome._tag === "Recorded"
          ? { ...outcome, events: byStream(outcome.events.map((one) => decodeIfKnown(aggregates, one))) }
          : outcome
      return expectations<ReadonlyArray<Placed>, ReadonlyArray<StreamEvents>>(decoded, {
        about: undefined,
        what: "the program",
        given: () => [given],
        show: (events) => events.map(showPlaced),
        read: (expected) =>
          byStream(
            logOf([...streams, ...expected])
              .slice(log.length)
              .map(placedOf)
          ),
        areSame: (expected, actual) =>
          areSameEvents(expected, actual) && expected.every(({ stream }, i) => stream === actual[i]?.stream),
        isEmpty: (events) => events.length === 0
      })
    }
    const self: Ran<E, Value> = {
      thenEvents: (...expected) => expect(...expected).events(expected, self.thenEvents),
      thenNothing: () => expect().nothing(self.thenNothing),
      thenFails: (failure, fields) => expect().failure(failure, fields, self.thenFails),
      thenValue: (value) => expect().value(value, self.thenValue)
    }
    return self
  }

  const self: GivenAll = {
    when: <A, E>(program: Effect.Effect<A, E, Services>) =>
      ran<E, A>(runNow(run(program), "the program", "whenEffect", self.when)),
    whenEffect: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.map(run(program), (outcome) => ran<E, A>(outcome)),
    project: (projection, ...views) => projected(log, projection, views)
  }
  return self
}

const placedOf = ({ recorded: { event, stream }, stored: { payload, schemaVersion, type } }: Entry): Placed => {
  const text = payload as string
  return { stream, event, type, schemaVersion, json: JSON.parse(text) as unknown, payload: text }
}

/** Shows events of an aggregate that the test does not mention as they are stored. */
const decodeIfKnown = (aggregates: ReadonlyArray<Aggregate.Any>, notification: Notification): Placed => {
  const { payload, schemaVersion, stream, type } = notification
  const known = fromNotification(aggregates, notification)
  if (known !== undefined) return { ...known, stream }
  const text = String(payload)
  const json = JSON.parse(text) as object
  return { stream, event: { ...json, _tag: type }, type, schemaVersion, json, payload: text }
}

/** The order matters only within a stream. */
const byStream = (events: ReadonlyArray<Placed>): ReadonlyArray<Placed> =>
  events.toSorted((a, b) => (a.stream < b.stream ? -1 : a.stream > b.stream ? 1 : 0))

const showPlaced = ({ event, stream }: Placed): string => `${stream}: ${show(event)}`
