/** The names in the test of hover texts: each `^?` points to the name above it. */
import { Effect, Schema } from "effect"
import { Aggregate, Projection, Repository } from "effect-eventsourcing"
import { andThen } from "effect-eventsourcing/Decision"

class TrickAlreadyKnown extends Schema.TaggedError<TrickAlreadyKnown>()("TrickAlreadyKnown", {
  trick: Schema.String
}) {}

interface DogState {
  readonly name: string
  readonly tricks: ReadonlyArray<string>
}

const DogState: Schema.Codec<DogState> = Schema.Struct({ name: Schema.String, tricks: Schema.Array(Schema.String) })

const Dog = Aggregate.make("Dog", {
  state: DogState,
  creation: { Registered: { name: Schema.NonEmptyString } },
  events: { TrickAdded: { trick: Schema.NonEmptyString }, Renamed: { name: Schema.NonEmptyString } },
  reduce: {
    Registered: ({ name }) => ({ name, tricks: [] }),
    TrickAdded: (dog, { trick }) => ({ ...dog, tricks: [...dog.tricks, trick] }),
    Renamed: (dog, { name }) => ({ ...dog, name })
  }
})

const addTrick = (trick: string) =>
  Dog.decide((dog) =>
    dog.tricks.includes(trick) ? Effect.fail(new TrickAlreadyKnown({ trick })) : Dog.TrickAdded({ trick })
  )

const count = Dog.decide((dog) => ({ events: Dog.Renamed({ name: dog.name }), value: dog.tricks.length }))

const Names = Projection.make("names", {
  aggregates: [Dog],
  view: Projection.memory(() => new Map<string, string>()),
  handlers: {
    Dog: {
      Registered: ({ aggregateId, event }, view) => view.update((names) => names.set(aggregateId, event.name)),
      TrickAdded: Projection.ignore,
      Renamed: Projection.ignore
    }
  }
})

export const program = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  //    ^? repository
  const addSit = addTrick("sit")
  //    ^? decision
  const executing = dogs.execute(Dog.id("Fido"), addSit)
  //    ^? executing
  const executed = yield* dogs.execute(Dog.id("Fido"), addSit)
  //                           ^? execute
  const { events } = executed
  //                 ^? executed
  const composed = andThen(addSit, count)
  //    ^? composed
  const counted = yield* dogs.execute(Dog.id("Fido"), composed)
  //    ^? counted
  const transacting = Repository.transaction(
    //                           ^? transaction
    { one: Repository.existing(Dog, Dog.id("Fido")), other: Repository.existing(Dog, Dog.id("Rex")) },
    ({ one }) => ({ other: Dog.Renamed({ name: one.name }) })
  )
  const transacted = yield* transacting
  //    ^? transacted
  const reading = Projection.read(Names, (view) => view.get)
  //                         ^? read
  const names = yield* reading
  //                   ^? reading
  return { executing, events, counted, transacted, names }
})
