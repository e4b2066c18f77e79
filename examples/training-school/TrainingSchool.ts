/** The application: what the school does for its callers. It knows dogs by their names, and nothing of databases. */
import { Effect } from "effect"
import { Repository } from "effect-eventsourcing"
import { addTrick, Dog } from "./Dog.ts"

export const makeTrainingSchool = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  return {
    /** Fails with `AggregateAlreadyExists` if there is a dog of that name. */
    register: (name: string) => dogs.execute(Dog.id(name), Dog.Registered({ name })),

    /** Fails with `AggregateNotFound` if there is no such dog, and with `TrickAlreadyKnown`. */
    addTrick: (name: string, trick: string) => dogs.execute(Dog.id(name), addTrick(trick)),

    /** Fails with `AggregateNotFound` if there is no such dog. */
    details: (name: string) => dogs.get(Dog.id(name))
  }
})
