/** The aggregate in most tests: dogs and their tricks. */
import { Effect, Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

export class TrickAlreadyKnown extends Schema.TaggedError<TrickAlreadyKnown>()("TrickAlreadyKnown", {
  trick: Schema.String
}) {}

export const Dog = Aggregate.make("Dog", {
  state: Schema.Struct({ name: Schema.String, tricks: Schema.Array(Schema.String) }),
  creation: { Registered: { name: Schema.NonEmptyString } },
  events: { TrickAdded: { trick: Schema.NonEmptyString }, Rested: {} },
  reduce: {
    Registered: ({ name }) => ({ name, tricks: [] }),
    TrickAdded: (dog, { trick }) => ({ ...dog, tricks: [...dog.tricks, trick] }),
    Rested: (dog) => dog
  }
})

/** Its inferred type, spelled out. */
export type DogEvent =
  | { readonly _tag: "Registered"; readonly name: string }
  | { readonly _tag: "TrickAdded"; readonly trick: string }
  | { readonly _tag: "Rested" }
export interface DogState {
  readonly name: string
  readonly tricks: ReadonlyArray<string>
}

export const addTrick = (trick: string) =>
  Dog.decide((dog) =>
    dog.tricks.includes(trick) ? Effect.fail(new TrickAlreadyKnown({ trick })) : Dog.TrickAdded({ trick })
  )

/** A number that grows: the decisions on it show which state they were taken on. */
export const makeCounter = (options: { readonly snapshotEvery?: number } = {}) =>
  Aggregate.make("Counter", {
    state: Schema.Int,
    creation: { Started: {} },
    events: { Increased: { to: Schema.Int } },
    reduce: { Started: () => 0, Increased: (_count, { to }) => to },
    ...options
  })

export const Counter = makeCounter()

/** Increases by one: lost or duplicated updates, and decisions on a wrong state, show in the count. */
export const increase = Counter.decide((count) => Counter.Increased({ to: count + 1 }))
