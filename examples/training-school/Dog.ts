/** A dog at the school: what happens to dogs, what that makes of them, and what may be asked of them. */
import { Effect, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export const Dog = Aggregate.make("Dog", {
  state: Schema.Struct({ name: Schema.String, tricks: Schema.Array(Schema.String) }),
  creation: {
    Registered: { name: Schema.NonEmptyString }
  },
  events: {
    TrickAdded: { trick: Schema.NonEmptyString }
  },
  reduce: {
    Registered: ({ name }) => ({ name, tricks: [] }),
    TrickAdded: (dog, { trick }) => ({ ...dog, tricks: [...dog.tricks, trick] })
  }
})

export class TrickAlreadyKnown extends Schema.TaggedError<TrickAlreadyKnown>()("TrickAlreadyKnown", {
  dog: Schema.String,
  trick: Schema.String
}) {}

/** A decision: what is to be recorded, as a pure function of the state, or why it can't be. */
export const addTrick = (trick: string) =>
  Dog.decide((dog) =>
    dog.tricks.includes(trick)
      ? Effect.fail(new TrickAlreadyKnown({ dog: dog.name, trick }))
      : Dog.TrickAdded({ trick })
  )
