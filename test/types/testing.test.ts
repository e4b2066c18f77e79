/**
 * What compiles of the test kit and what does not. `tsc` checks this file; at run time, it only calls what is valid.
 */
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Schema } from "effect"
import type { Aggregate, EventSourcingError } from "effect-eventsourcing"
import { Projection, Repository } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import type { Decided, EventsIn, ExpectationFailed, History } from "effect-eventsourcing/testing"
import { given, givenAll, stream } from "effect-eventsourcing/testing"
import { generated, testAggregate } from "effect-eventsourcing/testing/vitest"
import { Counter, Dog } from "../support/dog.ts"

// never called: nothing in here runs
const types = (_: () => unknown) => {}

class Refused extends Schema.TaggedError<Refused>()("Refused", { trick: Schema.String }) {}
const teach = (trick: string) =>
  Dog.decide((dog) => (dog.tricks.includes(trick) ? Effect.fail(new Refused({ trick })) : Dog.TrickAdded({ trick })))

const registered = Dog.Registered({ name: "Rex" })
const taught = Dog.TrickAdded({ trick: "sit" })
const rex = Dog.Id.make("rex")

type Registered = typeof registered
type Taught = typeof taught
interface Barked {
  readonly _tag: "Barked"
  readonly loud: boolean
}
interface Wrong {
  readonly _tag: "TrickAdded"
  readonly trick: number
}

describe("given", () => {
  it("infers events, state and failures from the aggregate and the decision", () => {
    const decided = given(Dog, registered, taught).when(teach("sit"))
    expectTypeOf(decided).toEqualTypeOf<Decided<typeof Dog, Refused | EventSourcingError.AggregateNotFound>>()
    expectTypeOf(given(Dog).when(registered)).toEqualTypeOf<
      Decided<typeof Dog, EventSourcingError.AggregateAlreadyExists>
    >()
    expectTypeOf(given(Dog).whenEffect(teach("sit"))).toEqualTypeOf<
      Effect.Effect<Decided<typeof Dog, Refused | EventSourcingError.AggregateNotFound>>
    >()
    expectTypeOf(decided.thenState).parameter(0).toEqualTypeOf<Aggregate.StateOf<typeof Dog>>()
  })

  it("accepts a history of any length, and one whose length is not known", () => {
    const events: ReadonlyArray<Aggregate.Event<typeof Dog>> = [registered, taught]
    given(Dog)
    given(Dog, registered)
    given(Dog, registered, taught, taught)
    given(Dog, ...events)
    given(Dog, { _tag: "Registered", name: "Rex" }, { _tag: "TrickAdded", trick: "sit" })
  })

  it("refuses a wrong event, with the reason in its place", () => {
    expectTypeOf<History<typeof Dog, readonly [Registered, Taught]>>().toEqualTypeOf<readonly [Registered, Taught]>()
    expectTypeOf<History<typeof Dog, readonly [Barked]>>().toEqualTypeOf<readonly ['Dog has no event "Barked"']>()
    expectTypeOf<History<typeof Dog, readonly [Registered, Barked]>>().toEqualTypeOf<
      readonly [Registered, 'Dog has no event "Barked"']
    >()
    expectTypeOf<History<typeof Dog, readonly [Taught]>>().toEqualTypeOf<
      readonly ['"TrickAdded" changes a Dog that exists: the first event has to create it']
    >()
    expectTypeOf<History<typeof Dog, readonly [Registered, Registered]>>().toEqualTypeOf<
      readonly [Registered, '"Registered" creates the Dog: only the first event can']
    >()
    // fields that are wrong are compared one by one
    expectTypeOf<History<typeof Dog, readonly [Registered, Wrong]>>().toEqualTypeOf<readonly [Registered, Taught]>()
    expectTypeOf<History<typeof Dog, ReadonlyArray<Registered | Barked>>>().toEqualTypeOf<
      ReadonlyArray<Registered | 'Dog has no event "Barked"'>
    >()
    const barked: Barked = { _tag: "Barked", loud: true }
    const barks: ReadonlyArray<Registered | Barked> = []
    types(() => [
      // @ts-expect-error not an event of a dog
      given(Dog, barked),
      // @ts-expect-error not an event of a dog
      given(Dog, registered, barked),
      // @ts-expect-error not an event of a dog
      given(Dog, ...barks),
      // @ts-expect-error an event of another aggregate
      given(Dog, Counter.Started()),
      // @ts-expect-error the first event must create the aggregate
      given(Dog, taught),
      // @ts-expect-error only the first event can create the aggregate
      given(Dog, registered, registered),
      // @ts-expect-error a number instead of a text
      given(Dog, registered, { _tag: "TrickAdded", trick: 7 }),
      // @ts-expect-error a field is missing
      given(Dog, { _tag: "Registered" }),
      // @ts-expect-error not an event
      given(Dog, "Registered")
    ])
  })

  it("refuses decisions of another aggregate", () => {
    types(() => [
      // @ts-expect-error a decision of another aggregate
      given(Dog, registered).when(Counter.decide(() => [])),
      // @ts-expect-error an event of another aggregate
      given(Dog, registered).when(Counter.Started()),
      // @ts-expect-error a function that returns a decision
      given(Dog, registered).when(teach),
      // @ts-expect-error a function that returns a decision
      given(Dog, registered).whenEffect(teach)
    ])
  })
})

describe("then", () => {
  const decided = given(Dog, registered).when(teach("sit"))

  it("refuses events that are not of the aggregate, and failures that the decision does not have", () => {
    expectTypeOf<EventsIn<typeof Dog, readonly [Taught, Registered, Barked]>>().toEqualTypeOf<
      readonly [Taught, Registered, 'Dog has no event "Barked"']
    >()
    types(() => [
      decided.thenEvents(taught, Dog.Rested()),
      decided.thenFails("Refused"),
      decided.thenFails("Refused", { trick: "sit" }),
      decided.thenFails("AggregateNotFound", { id: "rex" }),
      decided.thenFails(new Refused({ trick: "sit" })),
      // @ts-expect-error an event of another aggregate
      decided.thenEvents(Counter.Started()),
      // @ts-expect-error thenNothing is for that
      decided.thenEvents(),
      // @ts-expect-error a number instead of a text
      decided.thenEvents({ _tag: "TrickAdded", trick: 7 }),
      // @ts-expect-error a decision on an existing dog does not fail this way
      decided.thenFails("AggregateAlreadyExists"),
      // @ts-expect-error no such failure
      decided.thenFails("Refsued"),
      // @ts-expect-error no such field
      decided.thenFails("Refused", { tricks: "sit" }),
      // @ts-expect-error a number instead of a text
      decided.thenFails("Refused", { trick: 7 }),
      // @ts-expect-error no state
      decided.thenState({ name: "Rex" })
    ])
  })

  it("of an Effect does not exist before it has run", () => {
    types(() => [
      // @ts-expect-error an Effect has no expectations
      given(Dog, registered).whenEffect(teach("sit")).thenNothing
    ])
  })
})

describe("givenAll", () => {
  class Fee extends Context.Service<Fee, bigint>()("test/Fee") {}
  const swap = Repository.transaction({ dog: Repository.existing(Dog, rex) }, ({ dog }) =>
    dog.tricks.length === 0 ? Effect.fail(new Refused({ trick: "" })) : { dog: taught }
  )

  it("accepts events and ids of an aggregate, and failures of the program", () => {
    const ran = givenAll(stream(Dog, rex, registered)).when(swap)
    types(() => [
      ran.thenEvents(stream(Dog, rex, taught)),
      ran.thenFails("Refused"),
      ran.thenFails("AggregateNotFound"),
      // @ts-expect-error no such failure
      ran.thenFails("Refsued"),
      // @ts-expect-error an id of another aggregate
      stream(Dog, Counter.Id.make("1"), registered),
      // @ts-expect-error an event of another aggregate
      stream(Dog, rex, Counter.Started()),
      // @ts-expect-error events without their stream
      givenAll(registered),
      // @ts-expect-error a service that it does not provide
      givenAll().when(Fee)
    ])
    expectTypeOf(givenAll().whenEffect(Fee)).toMatchTypeOf<Effect.Effect<unknown, never, Fee>>()
    expectTypeOf(givenAll().whenEffect(swap)).toMatchTypeOf<Effect.Effect<unknown>>()
  })
})

describe("project", () => {
  class Weight extends Context.Service<Weight, number>()("test/Weight") {}
  const dogs = given(Dog, registered)
  const ignored = { Registered: Projection.ignore, TrickAdded: Projection.ignore, Rested: Projection.ignore }
  const Value = Projection.make("value", {
    aggregates: [Dog],
    view: Projection.memory(() => 0),
    handlers: { Dog: ignored }
  })
  const Rows = Projection.make("rows", {
    aggregates: [Dog],
    view: Projection.sql(() => Effect.void),
    handlers: { Dog: ignored }
  })
  const Weighed = Projection.make("weighed", {
    aggregates: [Dog],
    view: Projection.memory(() => 0),
    handlers: { Dog: { ...ignored, Registered: (_event, view) => Effect.flatMap(Weight, view.set) } }
  })
  const Mail = Projection.atLeastOnce("mail", {
    aggregates: [Dog],
    view: Projection.memory(() => undefined),
    handlers: { Dog: ignored }
  })

  it("requires a place for tables, and types what is read", () => {
    const sqlite = SqliteViews({ filename: ":memory:" })
    types(() => [
      dogs.project(Value).thenState(1),
      dogs.project(Value, MemoryViews()).thenState(1),
      dogs.project(Rows, sqlite).thenRows(({ sql }) => sql<{ readonly n: number }>`SELECT 1 AS n`, [{ n: 1 }]),
      // @ts-expect-error a text instead of a number
      dogs.project(Rows, sqlite).thenRows(({ sql }) => sql<{ readonly n: number }>`SELECT 1 AS n`, [{ n: "1" }]),
      // @ts-expect-error a text instead of a number
      dogs.project(Value).thenState("1"),
      // @ts-expect-error rows of a value
      dogs.project(Value).thenRows,
      // @ts-expect-error no place for tables
      dogs.project(Rows),
      // @ts-expect-error a place for values
      dogs.project(Rows, MemoryViews()),
      // @ts-expect-error a side effect has no view
      dogs.project(Mail)
    ])
  })

  it("requires services to be provided to an Effect", () => {
    expectTypeOf(
      dogs.project(Weighed).thenState
    ).toEqualTypeOf<"the handlers of the projection ask for services: use thenStateEffect, and provide them">()
    expectTypeOf(dogs.project(Weighed).thenStateEffect(1)).toEqualTypeOf<
      Effect.Effect<void, ExpectationFailed, Weight>
    >()
    expectTypeOf(dogs.project(Value).thenStateEffect(1)).toEqualTypeOf<Effect.Effect<void, ExpectationFailed>>()
  })
})

describe("testAggregate", () => {
  it("requires decisions of the aggregate, and inputs of their arguments' types", () => {
    types(() => [
      testAggregate(Dog),
      testAggregate(Dog, {
        decisions: { teach: generated(teach, Schema.NonEmptyString), rest: Dog.Rested(), all: Dog.decide(() => []) },
        canFollow: (dog, event) => event._tag !== "TrickAdded" || !dog.tricks.includes(event.trick),
        payloads: { TrickAdded: Schema.Struct({ trick: Schema.Literals(["sit", "stay"]) }) },
        maxEvents: 5,
        arbitrary: { runs: 10, seed: 1 }
      }),
      // @ts-expect-error a number instead of a text
      generated(teach, Schema.Int),
      // @ts-expect-error the argument has no schema
      generated(teach),
      // @ts-expect-error a decision of another aggregate
      testAggregate(Dog, { decisions: { start: Counter.Started() } }),
      // @ts-expect-error a decision of another aggregate
      testAggregate(Dog, { decisions: { start: generated(() => Counter.decide(() => [])) } }),
      // @ts-expect-error no such event
      testAggregate(Dog, { payloads: { Barked: Schema.Struct({}) } }),
      // @ts-expect-error fields of another type
      testAggregate(Dog, { payloads: { TrickAdded: Schema.Struct({ trick: Schema.Int }) } })
    ])
  })
})
