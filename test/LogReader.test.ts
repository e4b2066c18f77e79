/** The read half of a log: a program that only reads or follows a log requires nothing else of it. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Layer, Stream } from "effect"
import {
  EventSourcing,
  LogReader,
  Projection,
  ProjectionRunner,
  Recorder,
  Repository,
  Subscription
} from "effect-eventsourcing"
import type { KurrentLayer } from "effect-eventsourcing/kurrent"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import type { PostgresLayer } from "effect-eventsourcing/postgres"
import type { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Dog } from "./support/dog.ts"

const names = Projection.make("names", {
  aggregates: [Dog],
  view: Projection.memory((): ReadonlyArray<string> => []),
  handlers: {
    Dog: {
      Registered: ({ event }, view) => view.update((names) => [...names, event.name]),
      TrickAdded: Projection.ignore,
      Rested: Projection.ignore
    }
  }
})

/** The log of another service, of which the program has only the read half. */
const readHalfOf = (log: Context.Context<Recorder.Recorder>): Layer.Layer<LogReader.LogReader> => {
  const { append: _, ...reader } = Context.get(log, Recorder.Recorder)
  return Layer.succeed(LogReader.LogReader, reader)
}

describe("a reader of a log", () => {
  it.effect("is followed by subscriptions and projections as the log itself is", () =>
    Effect.gen(function* () {
      const log = yield* Layer.build(MemoryLayer())
      const dogs = yield* Effect.provideContext(Repository.of(Dog), log)
      const register = (name: string) => dogs.execute(Dog.id(name), Dog.Registered({ name }))
      yield* register("Rex")
      const following = Effect.gen(function* () {
        yield* ProjectionRunner.make(names)
        const { position } = yield* register("Fido")
        yield* Projection.wait(names, position)
        assert.deepStrictEqual(yield* Projection.read(names, (view) => view.get), ["Rex", "Fido"])
        const seen = yield* Stream.runCollect(Stream.take(Subscription.all([Dog]), 2))
        assert.deepStrictEqual(
          seen.map(({ event }) => (event._tag === "Registered" ? event.name : "")),
          ["Rex", "Fido"]
        )
      })
      const reader = EventSourcing.layerReader().pipe(Layer.provideMerge(readHalfOf(log)))
      yield* following.pipe(Effect.provide(Layer.merge(reader, MemoryViews())))
    })
  )

  it("is provided with every log", () => {
    type Provided<L> = L extends Layer.Layer<infer A, unknown, unknown> ? A : never
    type Reader = LogReader.LogReader
    expectTypeOf<Extract<Provided<ReturnType<typeof MemoryLayer>>, Reader>>().toEqualTypeOf<Reader>()
    expectTypeOf<Extract<Provided<ReturnType<typeof SqliteLayer>>, Reader>>().toEqualTypeOf<Reader>()
    expectTypeOf<Extract<Provided<ReturnType<typeof PostgresLayer>>, Reader>>().toEqualTypeOf<Reader>()
    expectTypeOf<Extract<Provided<ReturnType<typeof KurrentLayer>>, Reader>>().toEqualTypeOf<Reader>()
  })

  it.effect("is the recorder of the innermost log that is provided", () =>
    Effect.gen(function* () {
      const [inner, outer] = [yield* Layer.build(MemoryLayer()), yield* Effect.context<LogReader.LogReader>()]
      const idOf = (log: Context.Context<LogReader.LogReader>) => Context.get(log, LogReader.LogReader).logId
      assert.strictEqual(idOf(inner), Context.get(inner, Recorder.Recorder).logId)
      assert.strictEqual(idOf(outer), (yield* Recorder.Recorder).logId)
      assert.notStrictEqual(idOf(inner), idOf(outer))
    }).pipe(Effect.provide(MemoryLayer()))
  )
})
