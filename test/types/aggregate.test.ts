/** What compiles and what does not. `tsc` checks this file; at run time, it only calls what is valid. */
import { describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Schema, SchemaGetter } from "effect"
import type { EventSourcingError, EventStore } from "effect-eventsourcing"
import { Aggregate, Decision, DomainEvent, Evolution, Repository } from "effect-eventsourcing"
import type { DogEvent, DogState, TrickAlreadyKnown } from "../support/dog.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"

// never called: nothing in here runs
declare const dogs: Repository.AggregateRepository<typeof Dog>
declare const store: EventStore.EventStore["Service"]
const types = (_: () => unknown) => {}

const rex = Dog.Id.make("rex")
const one = Counter.Id.make("1")

describe("Aggregate.make", () => {
  it("infers state, events and constructors from one literal", () => {
    expectTypeOf<Aggregate.StateOf<typeof Dog>>().toEqualTypeOf<DogState>()
    expectTypeOf<Aggregate.Event<typeof Dog>>().toEqualTypeOf<DogEvent>()
    expectTypeOf<Aggregate.CreationOf<typeof Dog>>().toEqualTypeOf<{
      readonly _tag: "Registered"
      readonly name: string
    }>()
    expectTypeOf<Aggregate.NameOf<typeof Dog>>().toEqualTypeOf<"Dog">()
    expectTypeOf(Dog.TrickAdded({ trick: "sit" })).toEqualTypeOf<{
      readonly _tag: "TrickAdded"
      readonly trick: string
    }>()
    expectTypeOf(Dog.Rested()).toEqualTypeOf<{ readonly _tag: "Rested" }>()
    expectTypeOf(Dog.fold([Dog.Registered({ name: "Rex" })])).toEqualTypeOf<DogState | undefined>()
  })

  it("refuses a wrong payload", () => {
    types(() => [
      // @ts-expect-error a number instead of a text
      Dog.TrickAdded({ trick: 7 }),
      // @ts-expect-error no such field
      Dog.TrickAdded({ trick: "sit", level: 2 }),
      // @ts-expect-error the field is missing
      Dog.TrickAdded({}),
      // @ts-expect-error the payload is missing
      Dog.TrickAdded(),
      // @ts-expect-error no such event
      Dog.Barked?.()
    ])
  })

  it("has a constructor without an argument for an event without fields, and one for the members of a union", () => {
    const Shape = Schema.Union([
      Schema.Struct({ kind: Schema.Literal("circle"), radius: Schema.Int }),
      Schema.Struct({ kind: Schema.Literal("square"), side: Schema.Int })
    ])
    const Contact = Schema.Union([
      Schema.Struct({ email: Schema.String }),
      Schema.Struct({ email: Schema.String, phone: Schema.String })
    ])
    const Sheet = Aggregate.make("Sheet", {
      state: Schema.Int,
      creation: { Begun: {} },
      events: { Drawn: Shape, Signed: Contact, Noted: { text: Schema.optional(Schema.String) }, Archived: {} },
      reduce: { Begun: () => 0, Drawn: (n) => n + 1, Signed: (n) => n, Noted: (n) => n, Archived: (n) => n }
    })
    const body = { password: "secret" }
    types(() => [
      Sheet.Drawn({ kind: "circle", radius: 1 }),
      Sheet.Drawn({ kind: "square", side: 1 }),
      Sheet.Signed({ email: "a@b" }),
      Sheet.Signed({ email: "a@b", phone: "112" }),
      Sheet.Noted(),
      Sheet.Noted({ text: "a" }),
      // @ts-expect-error an event without fields takes nothing
      Sheet.Archived(body),
      // @ts-expect-error the field of another member
      Sheet.Drawn({ kind: "circle", side: 1 }),
      // @ts-expect-error nothing that a member has
      Sheet.Signed({ phone: "112" }),
      // @ts-expect-error anything
      Sheet.Signed(7),
      // @ts-expect-error no such field
      Sheet.Noted({ texts: "a" })
    ])
    expectTypeOf(Sheet.Archived).toEqualTypeOf<() => { readonly _tag: "Archived" }>()
  })

  it("refuses a missing reducer, one too many, and one that returns no state", () => {
    const state = Schema.Struct({ open: Schema.Boolean })
    types(() =>
      Aggregate.make("Door", {
        state,
        creation: { Made: {} },
        events: { Opened: {} },
        // @ts-expect-error Opened has no reducer
        reduce: { Made: () => ({ open: false }) }
      })
    )
    types(() =>
      Aggregate.make("Door", {
        state,
        creation: { Made: {} },
        events: { Opened: {} },
        // @ts-expect-error Made has no reducer
        reduce: { Opened: () => ({ open: true }) }
      })
    )
    types(() =>
      Aggregate.make("Door", {
        state,
        creation: { Made: {} },
        events: {},
        // @ts-expect-error there is no event Closed
        reduce: { Made: () => ({ open: false }), Closed: () => ({ open: false }) }
      })
    )
    types(() =>
      Aggregate.make("Door", {
        state,
        creation: { Made: {} },
        events: {},
        // @ts-expect-error a text instead of a boolean
        reduce: { Made: () => ({ open: "no" }) }
      })
    )
    types(() =>
      Aggregate.make("Door", {
        state,
        creation: { Made: {} },
        events: { Opened: { by: Schema.String } },
        // @ts-expect-error Opened has no field called "who"
        reduce: { Made: () => ({ open: false }), Opened: (_door, { who }) => ({ open: who !== "" }) }
      })
    )
  })

  it("accepts an aggregate that only has events that create it", () => {
    const Receipt = Aggregate.make("Receipt", {
      state: Schema.Struct({ total: Schema.Int }),
      creation: { Printed: { amount: Schema.Int }, Cancelled: {} },
      events: {},
      reduce: { Printed: ({ amount }) => ({ total: amount }), Cancelled: () => ({ total: 0 }) }
    })
    expectTypeOf<Aggregate.Event<typeof Receipt>>().toEqualTypeOf<
      { readonly _tag: "Printed"; readonly amount: number } | { readonly _tag: "Cancelled" }
    >()
  })

  it("accepts a name from a function that is generic in it, without a cast", () => {
    const makeLedger = <const Name extends string>(name: Name) => {
      const Ledger = Aggregate.make(name, {
        state: Schema.Struct({ balance: Schema.Int }),
        creation: { Opened: { balance: Schema.Int } },
        events: { Moved: { by: Schema.Int } },
        reduce: {
          Opened: ({ balance }) => ({ balance }),
          Moved: (ledger, { by }) => ({ balance: ledger.balance + by })
        }
      })
      const move = (by: number) =>
        Ledger.decide(({ balance }) => (balance + by < 0 ? Effect.fail("too little" as const) : Ledger.Moved({ by })))
      const open = (who: string) =>
        Effect.gen(function* () {
          const ledgers = yield* Repository.of(Ledger)
          yield* ledgers.execute(Ledger.id(who), Ledger.Opened({ balance: 1 }))
          return (yield* ledgers.execute(Ledger.id(who), move(1))).state.balance
        })
      return { Ledger, move, open }
    }
    const { Ledger } = makeLedger("Savings")
    expectTypeOf<Aggregate.NameOf<typeof Ledger>>().toEqualTypeOf<"Savings">()
    expectTypeOf(Ledger.id("ada")).toEqualTypeOf<Aggregate.Id<"Savings">>()
  })

  it("refuses a name with a dash", () => {
    types(() =>
      Aggregate.make(
        // @ts-expect-error it separates the name from the id
        "Guide-Dog",
        { state: Schema.Int, creation: { Born: {} }, events: {}, reduce: { Born: () => 0 } }
      )
    )
  })

  it("refuses an event that both creates and changes", () => {
    types(() =>
      Aggregate.make("Door", {
        state: Schema.Int,
        creation: { Made: {} },
        events: { Made: {} },
        // @ts-expect-error Made already creates the aggregate
        reduce: { Made: () => 0 }
      })
    )
  })

  it("refuses schemas that need a service: a reader might not have it", () => {
    class Rates extends Context.Service<Rates, { readonly eur: number }>()("test/Rates") {}
    const needsRates = Schema.String.pipe(
      Schema.decode({
        decode: SchemaGetter.checkEffect((text: string) => Effect.as(Rates, text === "" ? "empty" : undefined)),
        encode: SchemaGetter.passthrough()
      })
    )
    types(() =>
      Aggregate.make("Door", {
        state: Schema.Int,
        // @ts-expect-error its decoding needs Rates
        creation: { Made: { by: needsRates } },
        events: {},
        reduce: { Made: () => 0 }
      })
    )
  })
})

describe("Evolution", () => {
  const first = Evolution.version(1, { owner: Schema.String })

  it("infers the newest version", () => {
    const second = first.version(2, { owner: Schema.String, age: Schema.Int }, (v1) => ({ ...v1, age: 0 }))
    expectTypeOf(second.Type).toEqualTypeOf<{ readonly owner: string; readonly age: number }>()
    expectTypeOf(second.current).toEqualTypeOf<2>()
    expectTypeOf<DomainEvent.PayloadOf<typeof second>>().toEqualTypeOf<{
      readonly owner: string
      readonly age: number
    }>()
  })

  it("refuses a gap in the chain, a duplicate version, and a chain that does not begin with 1", () => {
    types(() => [
      // @ts-expect-error 2 is missing
      first.version(3, { owner: Schema.String }, (v1) => v1),
      // @ts-expect-error 1 is there
      first.version(1, { owner: Schema.String }, (v1) => v1),
      // @ts-expect-error 1 is missing
      Evolution.version(2, { owner: Schema.String })
    ])
  })

  it("refuses a step with a wrong result, or none, or from another version than the one before", () => {
    types(() => [
      // @ts-expect-error the age is missing
      first.version(2, { owner: Schema.String, age: Schema.Int }, (v1) => v1),
      // @ts-expect-error the age is a text
      first.version(2, { age: Schema.Int }, ({ owner }) => ({ age: owner })),
      // @ts-expect-error the step is missing
      first.version(2, { owner: Schema.String }),
      // @ts-expect-error version 1 has no name
      first.version(2, { owner: Schema.String }, ({ name }) => ({ owner: name }))
    ])
  })

  it("passes reducers the newest version of events and state", () => {
    types(() =>
      Aggregate.make("Account", {
        state: Evolution.version(1, Schema.Int).version(2, Schema.String, String),
        creation: {
          Opened: DomainEvent.make({
            aliases: ["Account.Created"],
            schema: first.version(2, { name: Schema.String }, ({ owner }) => ({ name: owner }))
          })
        },
        events: { Closed: {} },
        reduce: {
          Opened: (event) => {
            expectTypeOf(event).toEqualTypeOf<{ readonly _tag: "Opened"; readonly name: string }>()
            return event.name
          },
          Closed: (state) => {
            expectTypeOf(state).toEqualTypeOf<string>()
            return state
          }
        }
      })
    )
  })
})

describe("ids", () => {
  it("are those of one aggregate", () => {
    types(() => [
      dogs.get(rex),
      // @ts-expect-error the id of a counter
      dogs.get(one),
      // @ts-expect-error any text
      dogs.get("rex"),
      // @ts-expect-error the id of a counter
      dogs.execute(one, addTrick("sit")),
      // @ts-expect-error the id of a counter
      Dog.stream(one),
      // @ts-expect-error the id of a counter
      Repository.existing(Dog, one),
      // @ts-expect-error the id of a counter
      store.read(Dog, one)
    ])
  })
})

describe("decisions", () => {
  it("are those of one aggregate", () => {
    types(() => [
      dogs.execute(rex, addTrick("sit")),
      // @ts-expect-error a decision on a counter
      dogs.execute(rex, increase),
      // @ts-expect-error an event of a counter
      dogs.execute(rex, Counter.Started()),
      // @ts-expect-error no event at all
      dogs.execute(rex, { _tag: "Barked" }),
      // @ts-expect-error nothing to do
      dogs.execute(rex, []),
      // @ts-expect-error an event with a wrong payload
      dogs.execute(rex, { _tag: "TrickAdded", trick: 7 })
    ])
  })

  it("on an existing aggregate return events that change it, and get the state", () => {
    Dog.decide((dog) => {
      expectTypeOf(dog).toEqualTypeOf<DogState>()
      return []
    })
    types(() => [
      // @ts-expect-error a creation event
      Dog.decide(() => Dog.Registered({ name: "Rex" })),
      // @ts-expect-error a creation event among others
      Dog.decide(() => [Dog.Rested(), Dog.Registered({ name: "Rex" })]),
      // @ts-expect-error an Effect of a creation event
      Dog.decide(() => Effect.succeed(Dog.Registered({ name: "Rex" }))),
      // @ts-expect-error an event of another aggregate
      Dog.decide(() => Counter.Increased({ to: 1 })),
      // @ts-expect-error not an event
      Dog.decide(() => ({ _tag: "Barked" })),
      // @ts-expect-error a wrong payload
      Dog.decide(() => ({ _tag: "TrickAdded", trick: 7 })),
      // @ts-expect-error a text
      Dog.decide(() => "sit")
    ])
  })

  it("that create return an event that creates first", () => {
    types(() => [
      Dog.create(() => [Dog.Registered({ name: "Rex" }), Dog.Rested()]),
      // @ts-expect-error an event that changes the aggregate
      Dog.create(() => Dog.Rested()),
      // @ts-expect-error an event that changes the aggregate comes first
      Dog.create(() => [Dog.Rested(), Dog.Registered({ name: "Rex" })]),
      // @ts-expect-error it creates the aggregate twice
      Dog.create(() => [Dog.Registered({ name: "Rex" }), Dog.Registered({ name: "Rex" })]),
      // @ts-expect-error nothing is created
      Dog.create(() => [])
    ])
  })

  it("on an aggregate that may exist return any events, and get a state or none", () => {
    Dog.createOrDecide((dog) => {
      expectTypeOf(dog).toEqualTypeOf<DogState | undefined>()
      return dog === undefined ? Dog.Registered({ name: "Rex" }) : Dog.Rested()
    })
  })

  it("require no services: what they need is passed to them", () => {
    class Rates extends Context.Service<Rates, { readonly eur: number }>()("test/Rates") {}
    types(() =>
      // @ts-expect-error it needs Rates, which nothing would provide
      Dog.decide(() => Effect.as(Rates, Dog.Rested()))
    )
  })

  it("that are taken get the state of their aggregate, and return its events", () => {
    const dog: DogState = { name: "Rex", tricks: [] }
    const taken = Decision.take(addTrick("sit"), dog)
    type Change = Exclude<DogEvent, { readonly _tag: "Registered" }>
    expectTypeOf(taken).toEqualTypeOf<
      Effect.Effect<ReadonlyArray<Change>, TrickAlreadyKnown | EventSourcingError.AggregateNotFound>
    >()
    const register = Dog.create(() => Dog.Registered({ name: "Rex" }))
    const created = Decision.take(register, undefined)
    expectTypeOf<Effect.Success<typeof created>>().toEqualTypeOf<ReadonlyArray<DogEvent>>()
    const either = Dog.createOrDecide((dog) => (dog === undefined ? Dog.Registered({ name: "Rex" }) : Dog.Rested()))
    expectTypeOf(Dog.fold(Effect.runSync(Effect.orDie(Decision.take(either, dog))), dog)).toEqualTypeOf<DogState>()
    types(() => [
      // @ts-expect-error the state of another aggregate
      Decision.take(addTrick("sit"), 7),
      // @ts-expect-error it creates the aggregate, and gets no state
      Decision.take(register, dog)
    ])
  })

  it("know their failure exactly", () => {
    const refuse = Dog.decide((dog) => (dog.name === "" ? Effect.fail("nameless" as const) : Dog.Rested()))
    expectTypeOf(refuse).toEqualTypeOf<ReturnType<typeof Dog.decide<Effect.Effect<never, "nameless">>>>()
  })
})
