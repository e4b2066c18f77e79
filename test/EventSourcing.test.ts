/** The layer above a backend's recorders. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore, Repository } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Dog } from "./support/dog.ts"

const register = (name: string) =>
  Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(Dog.id(name), Dog.Registered({ name })))
const isEmpty = EventStore.EventStore.use((store) => Effect.map(store.head, (head) => head === undefined))

describe("a program with several logs", () => {
  for (const [other, inner] of Object.entries({
    memory: MemoryLayer(),
    SQLite: SqliteLayer({ filename: ":memory:" })
  })) {
    it.effect(`writes to the innermost one that is provided (${other} in memory)`, () =>
      Effect.gen(function* () {
        yield* Effect.gen(function* () {
          assert.isTrue(yield* isEmpty)
          yield* register("Rex")
          assert.isFalse(yield* isEmpty)
        }).pipe(Effect.provide(inner))
        assert.isTrue(yield* isEmpty)
        yield* register("Fido")
        assert.isFalse(yield* isEmpty)
        yield* Effect.provide(
          Effect.gen(function* () {
            const dogs = yield* Repository.of(Dog)
            assert.isFalse(yield* dogs.exists(Dog.id("Fido")))
          }),
          inner
        )
      }).pipe(Effect.provide(MemoryLayer()))
    )
  }
})
