/** Repositories and transactions as parts of a program's own services: what they need is provided once, in the layer. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Repository } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { addTrick, Dog } from "../support/dog.ts"

class Dogs extends Context.Service<Dogs, Repository.AggregateRepository<typeof Dog>>()("test/Dogs") {
  static readonly layer = Layer.effect(Dogs, Repository.of(Dog))
}

const [fido, rex] = [Dog.id("Fido"), Dog.id("Rex")]

describe("a service of a program", () => {
  it.effect("can be a repository, whose commands require nothing more", () =>
    Effect.gen(function* () {
      const dogs = yield* Dogs
      const run = dogs.execute(fido, Dog.Registered({ name: "Fido" }))
      expectTypeOf<Effect.Services<typeof run>>().toEqualTypeOf<never>()
      yield* run
      assert.strictEqual((yield* dogs.execute(fido, addTrick("sit"))).version, 1)
    }).pipe(Effect.provide(Dogs.layer.pipe(Layer.provide(MemoryLayer()))))
  )

  it.effect("can have transactions that require nothing more", () => {
    const make = Effect.gen(function* () {
      const { transaction } = yield* Repository.transactions
      return {
        register: Effect.asVoid(
          transaction({ fido: Repository.missing(Dog, fido), rex: Repository.missing(Dog, rex) }, () => ({
            fido: Dog.Registered({ name: "Fido" }),
            rex: Dog.Registered({ name: "Rex" })
          }))
        ),
        names: Effect.map(
          transaction({ fido: Repository.existing(Dog, fido), rex: Repository.existing(Dog, rex) }, () => ({})),
          (both) => [both.fido.state.name, both.rex.state.name]
        )
      }
    })
    class School extends Context.Service<School>()("test/School", { make }) {
      static readonly layer = Layer.effect(this, this.make)
    }
    return Effect.gen(function* () {
      const school = yield* School
      expectTypeOf<Effect.Services<typeof school.register>>().toEqualTypeOf<never>()
      yield* school.register
      assert.deepStrictEqual(yield* school.names, ["Fido", "Rex"])
    }).pipe(Effect.provide(School.layer.pipe(Layer.provide(MemoryLayer()))))
  })
})
