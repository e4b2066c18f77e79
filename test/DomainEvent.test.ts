import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Aggregate, DomainEvent, Evolution } from "effect-eventsourcing"
import { makeLog, open } from "./support/memoryLog.ts"

const state = Schema.Struct({ name: Schema.String })

describe("DomainEvent.make", () => {
  it("accepts letters, digits and _ . : - in a stored type, up to 256 of them", () => {
    for (const type of ["a", "Dog.Registered", "dog-registered:v1_0", "x".repeat(256)]) {
      assert.strictEqual(DomainEvent.make({ schema: {}, type }).type, type)
      assert.deepStrictEqual(DomainEvent.make({ schema: {}, aliases: [type] }).aliases, [type])
    }
  })

  it.each(["", " ", "Dog Registered", "Dog/Registered", "Dögg", "Dog\n", "Dog+1", "\u0000", "x".repeat(257)])(
    "refuses the type %j, also as an alias",
    (type) => {
      assert.throws(() => DomainEvent.make({ schema: {}, type }), "it must be 1 to 256 letters, digits")
      assert.throws(() => DomainEvent.make({ schema: {}, aliases: [type] }), "it must be 1 to 256 letters, digits")
    }
  )

  it("has no stored type of its own and no aliases by default", () => {
    const plain = DomainEvent.make({ schema: { name: Schema.String } })
    assert.strictEqual(plain.type, undefined)
    assert.deepStrictEqual(plain.aliases, [])
    assert.strictEqual(plain.evolution.current, 1)
  })

  it("keeps the versions of an evolution", () => {
    const schema = Evolution.version(1, {}).version(2, { name: Schema.String }, () => ({ name: "?" }))
    assert.strictEqual(DomainEvent.make({ schema }).evolution.current, 2)
  })
})

describe("the stored type", () => {
  const typesOf = (aggregate: Aggregate.Any) => [...aggregate.compiled.byType.keys()]

  it("is <Aggregate>.<Event> unless it is named otherwise", () => {
    const Dog = Aggregate.make("Dog", {
      state,
      creation: { Registered: { name: Schema.String } },
      events: { Renamed: DomainEvent.make({ type: "dog-renamed", schema: { name: Schema.String } }) },
      reduce: { Registered: ({ name }) => ({ name }), Renamed: (_dog, { name }) => ({ name }) }
    })
    assert.deepStrictEqual(typesOf(Dog), ["Dog.Registered", "dog-renamed"])
  })

  it("can belong to one event only, aliases included", () => {
    const make =
      (first: Parameters<typeof DomainEvent.make>[0], second: Parameters<typeof DomainEvent.make>[0]) => () =>
        Aggregate.make("Dog", {
          state,
          creation: { Registered: DomainEvent.make(first) },
          events: { Renamed: DomainEvent.make(second) },
          reduce: { Registered: () => ({ name: "" }), Renamed: (dog) => dog }
        })
    const schema = {}
    assert.throws(make({ schema, type: "x" }, { schema, type: "x" }), '"x" is given to both Registered and Renamed')
    assert.throws(make({ schema, aliases: ["x"] }, { schema, aliases: ["x"] }), '"x" is given to both')
    assert.throws(make({ schema }, { schema, aliases: ["Dog.Registered"] }), '"Dog.Registered" is given to both')
  })
})

describe("a renamed event", () => {
  const Before = Aggregate.make("Dog", {
    state,
    creation: { Created: { name: Schema.String } },
    events: { NameChanged: { name: Schema.String } },
    reduce: { Created: ({ name }) => ({ name }), NameChanged: (_dog, { name }) => ({ name }) }
  })
  const After = Aggregate.make("Dog", {
    state,
    creation: { Registered: DomainEvent.make({ aliases: ["Dog.Created"], schema: { name: Schema.String } }) },
    events: {
      Renamed: DomainEvent.make({ aliases: ["Dog.NameChanged", "Dog.NameFixed"], schema: { name: Schema.String } })
    },
    reduce: { Registered: ({ name }) => ({ name }), Renamed: (_dog, { name }) => ({ name }) }
  })

  it.effect("is found under its aliases, and recorded under its new name", () =>
    Effect.gen(function* () {
      const { repository, store } = yield* open(yield* makeLog)
      yield* repository
        .of(Before)
        .execute(Before.id("Fido"), [Before.Created({ name: "Fido" }), Before.NameChanged({ name: "Fidel" })])
      const dogs = repository.of(After)
      const fido = After.id("Fido")
      assert.deepStrictEqual((yield* dogs.get(fido)).state, { name: "Fidel" })
      yield* dogs.execute(fido, After.Renamed({ name: "Fidelio" }))

      const history = yield* Stream.runCollect(dogs.history(fido))
      assert.deepStrictEqual(
        history.map(({ event }) => event),
        [
          { name: "Fido", _tag: "Registered" },
          { name: "Fidel", _tag: "Renamed" },
          { name: "Fidelio", _tag: "Renamed" }
        ]
      )
      // a program from before the rename does not know the new name, and does not skip the event (G8)
      const error = yield* Effect.flip(Stream.runCollect(store.read(Before, Before.id("Fido"))))
      assert.strictEqual(error._tag, "UnknownEventType")
    })
  )
})

describe("an event's schema", () => {
  class Address extends Schema.Class<Address>("Address")({ street: Schema.String, since: Schema.Date }) {}

  const Person = Aggregate.make("Person", {
    state: Schema.Array(Schema.String),
    creation: { Born: Schema.Struct({ name: Schema.String }) },
    events: {
      Greeted: Schema.TaggedStruct("Greeted", { by: Schema.BigInt }),
      Contacted: Schema.Union([Schema.Struct({ mail: Schema.String }), Schema.Struct({ phone: Schema.BigInt })]),
      Moved: Address,
      Tagged: Schema.Record(Schema.String, Schema.String),
      Counted: Schema.Record(Schema.String, Schema.Int)
    },
    reduce: {
      Born: ({ name }) => [name],
      Greeted: (seen, { by }) => [...seen, `${by}`],
      Contacted: (seen, event) => [...seen, "mail" in event ? event.mail : `${event.phone}`],
      Moved: (seen, { street }) => [...seen, street],
      Tagged: (seen, { a }) => [...seen, `${a}`],
      Counted: (seen, { a }) => [...seen, `${a}`]
    }
  })
  const since = new Date(0)

  it.effect.each([
    ["a tagged struct", Person.Greeted({ by: 7n })],
    ["a union", Person.Contacted({ phone: 7n })],
    ["a class", Person.Moved({ street: "Rue", since })],
    ["a record", Person.Tagged({ a: "b" })],
    ["a record of numbers", Person.Counted({ a: 1 })]
  ] as const)("can be %s", ([, event]) =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog)
      const people = repository.of(Person)
      const id = Person.id("Ada")
      yield* people.execute(id, [Person.Born({ name: "Ada" }), event])
      const [, found] = yield* Stream.runCollect(people.history(id))
      assert.deepStrictEqual({ ...found?.event }, event)
      assert.strictEqual((yield* people.get(id)).state.length, 2)
    })
  )
})
