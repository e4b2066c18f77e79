import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, DomainEvent } from "effect-eventsourcing"
import { Dog } from "./support/dog.ts"

const uuid = (version: 5 | 7) =>
  new RegExp(`^[0-9a-f]{8}-[0-9a-f]{4}-${version}[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

const definition = {
  state: Schema.Struct({}),
  creation: { Born: {} },
  events: {},
  reduce: { Born: () => ({}) }
} as const

describe("Aggregate ids", () => {
  // the values are those of Python's uuid.uuid5(uuid.NAMESPACE_URL, "/Dog/Fido"): they must never change
  it("are stable when derived from a name: the UUIDv5 of a path", () => {
    assert.strictEqual(Dog.id("Fido"), "e4013879-0e20-5a16-ab21-7d0f3f2c2378")
    assert.strictEqual(Dog.id("Zoë 🐕"), "49e1fcfd-bb11-586c-b436-3e7fcde36a62")
  })

  // the value from RFC 9562, A.4
  it("can be derived from a name in a namespace of the user's own", () => {
    const dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    assert.strictEqual(Dog.idIn(dns, "www.example.com"), "2ed6657d-e927-568b-95e1-2665a8aea6a2")
    assert.strictEqual(Dog.idIn(dns.toUpperCase(), "www.example.com"), "2ed6657d-e927-568b-95e1-2665a8aea6a2")
    assert.throws(() => Dog.idIn("kennel", "Fido"), "a namespace must be a UUID, such as")
  })

  it("differ between aggregates that share a name", () => {
    const Cat = Aggregate.make("Cat", definition)
    assert.notStrictEqual<string>(Cat.id("Fido"), Dog.id("Fido"))
  })

  it.prop("of a name are UUIDs of version 5, the same each time", [Schema.NonEmptyString], ([name]) => {
    if (!name.isWellFormed() || name.includes("\0")) return
    assert.match(Dog.id(name), uuid(5))
    assert.strictEqual(Dog.id(name), Dog.id(name))
  })

  it("can be derived from names longer than a stream name", () => {
    assert.match(Dog.id("x".repeat(10_000)), uuid(5))
  })

  it.each([
    ["an empty name", "", "empty"],
    ["a name with a NUL", "a\0b", "NUL"],
    ["a name with a lone surrogate", "a\ud800", "surrogate"],
    ["a long name with a lone surrogate", `${"x".repeat(600)}\ud800`, "surrogate"]
  ])("can't be derived from %s", (_what, name, because) => {
    assert.throws(() => Dog.id(name), because)
  })

  it.effect("are UUIDs of version 7 that begin with the time of the Clock when random", () =>
    Effect.gen(function* () {
      // the time of the example in RFC 9562, A.6
      yield* TestClock.setTime(0x017f22e279b0)
      const id = yield* Dog.randomId
      assert.match(id, uuid(7))
      assert.isTrue(id.startsWith("017f22e2-79b0-7"))
    })
  )

  it.effect("are unique and sort by time when random", () =>
    Effect.gen(function* () {
      const earlier = yield* Effect.replicateEffect(Dog.randomId, 1000)
      yield* TestClock.adjust(1)
      const later = yield* Effect.replicateEffect(Dog.randomId, 1000)
      assert.strictEqual(new Set([...earlier, ...later]).size, 2000)
      assert.isTrue(earlier.every((a) => later.every((b) => a < b)))
    })
  )

  it("can be any text that is valid in a stream name", () => {
    assert.strictEqual(Dog.Id.make("rex"), "rex")
    assert.strictEqual(Dog.Id.make("a-b c/🐕"), "a-b c/🐕")
    assert.strictEqual(Dog.stream(Dog.Id.make("rex")), "Dog-rex")
  })

  it("fill the stream name up to 512 bytes, the aggregate's name included", () => {
    assert.strictEqual(Dog.stream(Dog.Id.make("x".repeat(508))).length, 512)
    assert.throws(() => Dog.Id.make("x".repeat(509)))
  })

  it.effect.each([
    ["", "empty"],
    ["a\0b", "NUL"],
    ["\udc00", "surrogate"],
    ["x".repeat(509), "512 bytes"]
  ] as const)("are refused with the reason if they are invalid: %j", ([id, because]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Schema.decodeUnknownEffect(Dog.Id)(id))
      assert.include(String(error), because)
      assert.include(String(error), "Dog")
      assert.throws(() => Dog.Id.make(id))
    })
  )
})

describe("Aggregate.make", () => {
  const make = Aggregate.make as (name: string, definition: object) => Aggregate.Any

  it.each([
    ["nothing", "", "empty"],
    ["a dash", "Guide-Dog", "-"],
    ["a NUL", "Do\0g", "NUL"],
    ["a lone surrogate", "Dog\ud800", "surrogate"],
    ["more than 512 bytes", "D".repeat(513), "512 bytes"]
  ])("refuses a name with %s", (_what, name, because) => {
    assert.throws(() => make(name, definition), because)
  })

  it("refuses an event whose default type has other characters, and advises what to do", () => {
    assert.throws(() => make("Dog house", definition), /Dog house\.Born.*DomainEvent\.make/)
    const typed = { ...definition, creation: { Born: DomainEvent.make({ schema: {}, type: "DogHouse.Born" }) } }
    assert.strictEqual(make("Dog house", typed).name, "Dog house")
  })

  it("refuses an event without reducer, and a reducer without event", () => {
    assert.throws(() => make("Dog", { ...definition, reduce: {} }), "Dog.Born has no reducer")
    const reduce = { ...definition.reduce, Barked: () => ({}) }
    assert.throws(() => make("Dog", { ...definition, reduce }), /reducer for "Barked"/)
  })

  it.each([
    ["state", 'Dog: "state" is missing: the schema of the state, or its fields'],
    ["creation", 'Dog: "creation" is missing: the events that create an aggregate'],
    ["events", 'Dog: "events" is missing: the events that change an existing aggregate; {} if there are none'],
    ["reduce", 'Dog: "reduce" is missing: a function for each event']
  ])("names what is missing: %s", (part, message) => {
    assert.throws(() => make("Dog", { ...definition, [part]: undefined }), message)
  })

  it("refuses an event that both creates and changes", () => {
    assert.throws(() => make("Dog", { ...definition, events: { Born: {} } }), "declared twice")
  })

  it.each([
    "name",
    "Id",
    "id",
    "idIn",
    "randomId",
    "stream",
    "decide",
    "create",
    "createOrDecide",
    "fold",
    "snapshotEvery",
    "compiled"
  ])("refuses an event named %s, which is a property of the aggregate", (tag) => {
    const clash = { ...definition, creation: { [tag]: {} }, reduce: { [tag]: () => ({}) } }
    assert.throws(() => make("Dog", clash), tag)
  })
})

describe("Aggregate events", () => {
  it("are plain values, made by constructors that carry their names", () => {
    assert.deepStrictEqual(Dog.Registered({ name: "Fido" }), { _tag: "Registered", name: "Fido" })
    assert.deepStrictEqual(Dog.Rested(), { _tag: "Rested" })
  })
})

describe("Aggregate.fold", () => {
  const Tricks = Schema.Array(Schema.NonEmptyString)

  it("applies events in order", () => {
    const events = [
      Dog.Registered({ name: "Fido" }),
      Dog.TrickAdded({ trick: "sit" }),
      Dog.TrickAdded({ trick: "roll" })
    ]
    assert.deepStrictEqual(Dog.fold(events), { name: "Fido", tricks: ["sit", "roll"] })
  })

  it("is undefined without events", () => {
    assert.strictEqual(Dog.fold([]), undefined)
  })

  it.prop("G11 returns the same state from the start and from any intermediate state", [Tricks], ([tricks]) => {
    const events = [Dog.Registered({ name: "Fido" }), ...tricks.map((trick) => Dog.TrickAdded({ trick }))]
    const whole = Dog.fold(events)
    for (let n = 0; n <= events.length; n++) {
      assert.deepStrictEqual(Dog.fold(events.slice(n), Dog.fold(events.slice(0, n))), whole)
    }
  })

  it("throws on events that can't follow one another", () => {
    const born = Dog.Registered({ name: "Fido" })
    assert.throws(() => Dog.fold([Dog.Rested()]), "does not exist yet")
    assert.throws(() => Dog.fold([born, born]), "already exists")
    assert.throws(() => Dog.fold([born], { name: "Rex", tricks: [] }), "already exists")
    // @ts-expect-error an event that the aggregate does not declare
    assert.throws(() => Dog.fold([born, { _tag: "Barked" }]), 'no event "Barked"')
  })

  it("lets an aggregate's state be any value but undefined", () => {
    const Switch = Aggregate.make("Switch", {
      state: Schema.NullOr(Schema.Boolean),
      creation: { Mounted: {} },
      events: { Turned: { on: Schema.Boolean } },
      reduce: { Mounted: () => null, Turned: (_was, { on }) => on }
    })
    assert.strictEqual(Switch.fold([Switch.Mounted()]), null)
    assert.strictEqual(Switch.fold([Switch.Mounted(), Switch.Turned({ on: false })]), false)
  })

  it("refuses an event named then: an async function that returns the aggregate would never complete", () => {
    assert.throws(
      () =>
        Aggregate.make("Plan", {
          state: Schema.Int,
          creation: { Made: {} },
          // @ts-expect-error a promise has a property with that name
          events: { then: {} },
          reduce: { Made: () => 0, then: (n) => n }
        }),
      'Plan: an event can\'t be named "then"'
    )
  })
})
