/** Each property finds the fault that it is there for, and no other property does; a sound aggregate has no faults. */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Cause, DateTime, Effect, Schema, SchemaGetter } from "effect"
import { Aggregate, DomainEvent, Evolution } from "effect-eventsourcing"
import { generated } from "effect-eventsourcing/testing/vitest"
import type { Options } from "../../src/testing/vitest/properties.ts"
import { propertiesOf } from "../../src/testing/vitest/properties.ts"

const ROUND_TRIP = (tag: string) => `${tag} round-trips through its encoding`
const TOTAL = "the reducers are total"
const PURE = "the reducers are pure"
const SNAPSHOT = "a state from a snapshot is the state from events"
const ACCEPTED = (decision: string) => `${decision}: its events are accepted by the reducers`

/** Checks all properties, as `testAggregate` does; returns the reports of those that do not hold. */
const check = Effect.fnUntraced(function* <A extends Aggregate.Any>(aggregate: A, options: Options<A> = {}) {
  const reports = new Map<string, string>()
  for (const { arbitrary, check, name } of propertiesOf(aggregate, options)) {
    const result = yield* Arbitrary.checkEffect(
      arbitrary(),
      (value) => Effect.catchCause(Effect.as(check(value), true), (cause) => Effect.fail(cause)),
      { seed: 7, ...options.arbitrary }
    )
    const input = result._tag === "Falsified" ? result.shrunkInput : undefined
    const cause =
      result._tag === "Falsified" && result.failure._tag === "PropertyError" ? result.failure.error : undefined
    if (result._tag !== "Passed") {
      const error = cause === undefined ? new Error(result._tag) : Cause.squash(cause)
      reports.set(name, `${error instanceof Error ? error.message : error}`)
      inputs.set(name, input)
    }
  }
  return reports
})
/** The shrunk counterexamples of the last check. */
const inputs = new Map<string, unknown>()

/** Exactly these properties do not hold, with these messages. */
const assertFaults = (reports: ReadonlyMap<string, string>, expected: Readonly<Record<string, RegExp>>) => {
  assert.deepStrictEqual([...reports.keys()], Object.keys(expected), [...reports].join("\n"))
  for (const [name, message] of Object.entries(expected)) assert.match(reports.get(name) ?? "", message)
}

const EPOCH = DateTime.makeUnsafe(0)
const Trick = { trick: Schema.NonEmptyString }

const Dog = Aggregate.make("Dog", {
  state: Evolution.version(1, { name: Schema.String }).version(
    2,
    { name: Schema.String, tricks: Schema.ReadonlySet(Schema.String), born: Schema.DateTimeUtc },
    ({ name }) => ({ name, tricks: new Set<string>(), born: EPOCH })
  ),
  creation: {
    Registered: DomainEvent.make({
      aliases: ["Dog.Created"],
      schema: Evolution.version(1, { name: Schema.NonEmptyString }).version(
        2,
        { name: Schema.NonEmptyString, born: Schema.DateTimeUtc, weight: Schema.optionalKey(Schema.BigDecimal) },
        ({ name }) => ({ name, born: EPOCH })
      )
    })
  },
  events: {
    TrickAdded: Trick,
    Rested: {},
    Measured: Schema.Union([
      Schema.Struct({ height: Schema.Finite }),
      Schema.Struct({ length: Schema.Option(Schema.BigInt) })
    ])
  },
  reduce: {
    Registered: ({ name, born }) => ({ name, born, tricks: new Set<string>() }),
    TrickAdded: (dog, { trick }) => ({ ...dog, tricks: new Set([...dog.tricks, trick]) }),
    Rested: (dog) => dog,
    Measured: (dog) => dog
  }
})
const learn = (trick: string) => Dog.decide(({ tricks }) => (tricks.has(trick) ? [] : Dog.TrickAdded({ trick })))

describe("the properties of an aggregate", () => {
  it("are one for each event, for each older version, three for histories, and one for each decision", () => {
    assert.deepStrictEqual(
      propertiesOf(Dog, { decisions: { rest: Dog.Rested() } }).map(({ name }) => name),
      [
        ...["Registered", "TrickAdded", "Rested", "Measured"].map(ROUND_TRIP),
        "Registered: version 1 decodes to version 2",
        "the state: version 1 decodes to version 2",
        ...[TOTAL, PURE, SNAPSHOT, ACCEPTED("rest")]
      ]
    )
  })
})

const EMPTY = { state: Schema.Int, creation: { Begun: {} } }

describe("a fault that a property detects", () => {
  it.effect("none in a sound aggregate", () =>
    Effect.gen(function* () {
      assertFaults(yield* check(Dog, { decisions: { learn: generated(learn, Schema.NonEmptyString) } }), {})
    })
  )

  it.effect("a reducer that uses the clock, random numbers, or a counter of its own", () =>
    Effect.gen(function* () {
      const reducers = {
        Ticked: (_: number) => Date.now(),
        Dated: (_: number) => new Date().getFullYear(),
        Rolled: (_: number) => Math.floor(Math.random() * 100),
        Named: (_: number) => crypto.randomUUID().length + Number.parseInt(crypto.randomUUID().slice(0, 1), 16)
      }
      let calls = 0
      for (const reduce of [...Object.values(reducers), () => calls++]) {
        const Clock = Aggregate.make("Clock", {
          ...EMPTY,
          events: { Ticked: {} },
          reduce: { Begun: () => 0, Ticked: reduce }
        })
        const reports = yield* check(Clock)
        assert.match(
          reports.get(PURE) ?? "",
          /^the reducer of Clock\.Ticked is not pure: called again, at another time, it returns another state \(- first, \+ again\)\n- .+\n\+ .+$/
        )
        assert.deepStrictEqual(inputs.get(PURE), [{ _tag: "Begun" }, { _tag: "Ticked" }])
      }
      // the clock and randomness are the original ones
      assert.isAbove(Date.now(), Date.UTC(2020, 0, 1))
      assert.notStrictEqual(crypto.randomUUID(), crypto.randomUUID())
      assert.notStrictEqual(Math.random(), Math.random())
    })
  )

  it.effect("a reducer that changes the state, or the event", () =>
    Effect.gen(function* () {
      const List = Aggregate.make("List", {
        state: Schema.Struct({ items: Schema.mutable(Schema.Array(Schema.String)) }),
        creation: { Begun: {} },
        events: { Added: { item: Schema.String } },
        reduce: {
          Begun: () => ({ items: [] }),
          Added: (list, { item }) => {
            list.items.push(item)
            return list
          }
        }
      })
      assertFaults(yield* check(List), {
        [PURE]:
          /^the reducer of List\.Added changes the state that it gets \(- before, \+ after\)\n- \{"items":\[\]\}\n\+ \{"items":\[""\]\}$/
      })
      const Queue = Aggregate.make("Queue", {
        ...EMPTY,
        events: { Sorted: { by: Schema.mutable(Schema.Array(Schema.Int)) } },
        reduce: { Begun: () => 0, Sorted: (n, { by }) => n + by.sort((a, b) => a - b).length }
      })
      assertFaults(yield* check(Queue), { [PURE]: /^the reducer of Queue\.Sorted changes the event that it gets/ })
    })
  )

  it.effect("a reducer that is partial: it throws, or forgets to return", () =>
    Effect.gen(function* () {
      const Stack = Aggregate.make("Stack", {
        ...EMPTY,
        events: { Pushed: {}, Popped: {} },
        reduce: {
          Begun: () => 0,
          Pushed: (n) => n + 1,
          Popped: (n) => {
            if (n === 0) throw new Error("nothing to pop")
            return n - 1
          }
        }
      })
      assertFaults(yield* check(Stack), { [TOTAL]: /^the reducer of Stack\.Popped threw: nothing to pop$/ })
      assert.deepStrictEqual(inputs.get(TOTAL), [{ _tag: "Begun" }, { _tag: "Popped" }])
      // unless histories have no such events
      assertFaults(yield* check(Stack, { canFollow: (n, { _tag }) => _tag !== "Popped" || n > 0 }), {})

      const Hole = Aggregate.make("Hole", {
        ...EMPTY,
        events: { Dug: {} },
        reduce: { Begun: () => 0, Dug: (n) => [1][n] as number }
      })
      assertFaults(yield* check(Hole), { [TOTAL]: /^the reducer of Hole\.Dug returned undefined$/ })
    })
  )

  it.effect("an encoding that loses a field", () =>
    Effect.gen(function* () {
      // the record contains only the name
      const Person = Schema.Struct({ name: Schema.String }).pipe(
        Schema.decodeTo(Schema.Struct({ name: Schema.String, age: Schema.Int }), {
          decode: SchemaGetter.transform(({ name }) => ({ name, age: 0 })),
          encode: SchemaGetter.transform(({ name }) => ({ name }))
        })
      )
      const Family = Aggregate.make("Family", {
        ...EMPTY,
        events: { Born: { person: Person } },
        reduce: { Begun: () => 0, Born: (n) => n + 1 }
      })
      assertFaults(yield* check(Family), {
        [ROUND_TRIP("Born")]:
          /^Born .* can't be recorded: it would be read back as another value at \["person"\]\["age"\]/s
      })
      assert.deepInclude(inputs.get(ROUND_TRIP("Born")), { _tag: "Born" })
    })
  )

  it.effect("an upcaster that throws, or whose result is not of the newest version", () =>
    Effect.gen(function* () {
      const ofStep = (up: (name: string) => string) =>
        Aggregate.make("Dog", {
          state: Schema.String,
          creation: {
            Registered: Evolution.version(1, { name: Schema.String }).version(
              2,
              { name: Schema.NonEmptyString },
              ({ name }) => ({ name: up(name) })
            )
          },
          events: {},
          reduce: { Registered: ({ name }) => name }
        })
      const name = "Registered: version 1 decodes to version 2"
      assertFaults(yield* check(ofStep((name) => name)), {
        [name]: /^version 1 of Dog\.Registered can't be upcast to version 2: Expected .*length/s
      })
      assert.deepStrictEqual(inputs.get(name), { name: "" })
      const throws = ofStep((name) => {
        if (name === "") throw new Error("no name")
        return name
      })
      assertFaults(yield* check(throws), { [name]: /can't be upcast to version 2: no name$/ })
      assertFaults(yield* check(ofStep((name) => name || "nameless")), {})
    })
  )

  it.effect("an upcaster that uses the clock, so that each read returns another value", () =>
    Effect.gen(function* () {
      const Dog = Aggregate.make("Dog", {
        state: Schema.Int,
        creation: {
          Registered: Evolution.version(1, { name: Schema.String })
            .version(2, { name: Schema.String, year: Schema.Int }, (v1) => ({ ...v1, year: new Date().getFullYear() }))
            .version(3, { year: Schema.Int }, ({ year }) => ({ year }))
        },
        events: {},
        reduce: { Registered: ({ year }) => year }
      })
      assertFaults(yield* check(Dog), {
        "Registered: version 1 decodes to version 3":
          /^the step from version 1 of Dog\.Registered is not pure: read again, at another time, the value is another one \(- first, \+ again\)\n- Registered \{"year":2001\}\n\+ Registered \{"year":2032\}$/
      })
    })
  )

  it.effect("an upcaster of the state, for snapshots of an older version", () =>
    Effect.gen(function* () {
      const Dog = Aggregate.make("Dog", {
        state: Evolution.version(1, { name: Schema.String }).version(2, { name: Schema.NonEmptyString }, (v1) => v1),
        creation: { Registered: { name: Schema.NonEmptyString } },
        events: {},
        reduce: { Registered: ({ name }) => ({ name }) }
      })
      assertFaults(yield* check(Dog), {
        "the state: version 1 decodes to version 2":
          /^version 1 of the state of Dog can't be upcast to version 2: Expected/
      })
    })
  )

  it.effect("a state of which a snapshot loses a part, or that does not fit its schema", () =>
    Effect.gen(function* () {
      // the reducers use a field that the state's schema does not have
      interface Secret {
        readonly sum: number
      }
      const secrets = new WeakMap<object, number>()
      const Total = Aggregate.make("Total", {
        state: Schema.Struct({ sum: Schema.Int }),
        creation: { Begun: {} },
        events: { Doubled: {}, Added: {} },
        reduce: {
          Begun: (): Secret => ({ sum: 0 }),
          Added: (total) => {
            const next = { sum: total.sum }
            secrets.set(next, (secrets.get(total) ?? 0) + 1)
            return next
          },
          Doubled: (total) => ({ sum: total.sum + (secrets.get(total) ?? 0) })
        }
      })
      assertFaults(yield* check(Total), {
        [SNAPSHOT]:
          /^the state from a snapshot after event 1 differs from the state from all events \(- from events, \+ from the snapshot\)\n- \{"sum":1\}\n\+ \{"sum":0\}$/
      })
      assert.deepStrictEqual(inputs.get(SNAPSHOT), [{ _tag: "Begun" }, { _tag: "Added" }, { _tag: "Doubled" }])

      const Count = Aggregate.make("Count", {
        state: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
        creation: { Begun: {} },
        events: { Decreased: {} },
        reduce: { Begun: () => 0, Decreased: (n) => n - 1 }
      })
      assertFaults(yield* check(Count), {
        [SNAPSHOT]: /^the state does not fit its schema, so that no snapshot can be taken: Expected/
      })
      assertFaults(yield* check(Count, { canFollow: (n) => n > 0 }), {})
    })
  )

  it.effect("a decision whose event the reducers refuse", () =>
    Effect.gen(function* () {
      const Stack = Aggregate.make("Stack", {
        ...EMPTY,
        events: { Pushed: { count: Schema.Int }, Popped: {} },
        reduce: {
          Begun: () => 0,
          Pushed: (n, { count }) => n + Math.abs(count),
          Popped: (n) => {
            if (n === 0) throw new Error("nothing to pop")
            return n - 1
          }
        }
      })
      const canFollow = (n: number, { _tag }: { readonly _tag: string }) => _tag !== "Popped" || n > 0
      const careless = Stack.decide(() => Stack.Popped())
      const careful = Stack.decide((n) => (n === 0 ? Effect.fail("empty" as const) : Stack.Popped()))
      const push = (count: number) => Stack.decide(() => Stack.Pushed({ count }))
      assertFaults(
        yield* check(Stack, { canFollow, decisions: { careless, careful, push: generated(push, Schema.Int) } }),
        {
          [ACCEPTED("careless")]:
            /^the events that the decision records are not accepted: Popped can't follow the state 0, by canFollow$/
        }
      )
      assert.deepInclude(inputs.get(ACCEPTED("careless")), { history: [{ _tag: "Begun" }] })
      // two at once, of which the first is accepted
      const twice = Stack.decide((n) => (n === 0 ? [] : [Stack.Popped(), Stack.Popped()]))
      const refused = yield* check(Stack, { canFollow: () => true, decisions: { twice } })
      assert.match(
        refused.get(ACCEPTED("twice")) ?? "",
        /^the events that the decision records are not accepted: the reducer of Stack\.Popped threw: nothing to pop$/
      )
      // one that can't be recorded
      const bad = (count: number) => Stack.decide(() => Stack.Pushed({ count }))
      assertFaults(yield* check(Stack, { canFollow, decisions: { bad: generated(bad, Schema.Finite) } }), {
        [ACCEPTED("bad")]:
          /^the events that the decision records are not accepted: Pushed \{"count":.*\} can't be recorded: Expected an integer/
      })
      // one that throws, and one that waits
      const throwing = Stack.createOrDecide((n) => {
        if (n === undefined) throw new Error("no stack")
        return Stack.Pushed({ count: 1 })
      })
      const waiting = Stack.decide((n) => Effect.promise(async () => (n === 0 ? [] : [Stack.Popped()])))
      assertFaults(yield* check(Stack, { canFollow, decisions: { throwing, waiting } }), {
        [ACCEPTED("throwing")]: /^the decision threw: no stack$/
      })
    })
  )

  it.effect("a schema without generated values is a failure that advises what to pass", () =>
    Effect.gen(function* () {
      class Money {
        readonly cents: number
        constructor(cents: number) {
          this.cents = cents
        }
      }
      const MoneySchema = Schema.Int.pipe(
        Schema.decodeTo(
          Schema.declare((value): value is Money => value instanceof Money),
          {
            decode: SchemaGetter.transform((cents) => new Money(cents)),
            encode: SchemaGetter.transform(({ cents }) => cents)
          }
        )
      )
      const Till = Aggregate.make("Till", {
        ...EMPTY,
        events: { Paid: { money: MoneySchema } },
        reduce: { Begun: () => 0, Paid: (n, { money }) => n + money.cents }
      })
      const paid = propertiesOf(Till).find(({ name }) => name === ROUND_TRIP("Paid"))
      assert.throws(
        () => paid?.arbitrary(),
        /^the fields of Till\.Paid can't be generated from the schema; give payloads: \{ Paid: \.\.\. \}: /
      )
      const money = Arbitrary.map(Arbitrary.schema(Schema.Int), (cents) => ({ money: new Money(cents) }))
      assertFaults(yield* check(Till, { payloads: { Paid: money } }), {})
    })
  )
})
