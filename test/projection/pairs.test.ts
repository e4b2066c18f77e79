/** Projections of each backend's log into each kind of view. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { ProjectionRunner, Repository } from "effect-eventsourcing"
import { logs, MemoryViews, sqlViews } from "../support/backends.ts"
import { memoryCounts, readMemoryCounts, readSqlCounts, sqlCounts } from "../support/countsView.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

const fido = Dog.id("Fido")
const counter = Counter.id("one")

/** Registers a dog and teaches it; returns the position of the last event. */
const teach = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  yield* dogs.execute(fido, Dog.Registered({ name: "Fido" }))
  yield* dogs.execute(fido, addTrick("roll over"))
  return (yield* dogs.execute(fido, addTrick("play dead"))).position
})

const countUp = Effect.gen(function* () {
  const counters = yield* Repository.of(Counter)
  yield* counters.execute(counter, Counter.Started())
  return (yield* counters.execute(counter, increase)).position
})

describe.concurrent.each(Object.entries(logs))("projections from %s", (_, makeLog) => {
  it.live("G6 into memory: existing events and new ones", () =>
    Effect.gen(function* () {
      const layer = Layer.merge(yield* makeLog, MemoryViews())
      yield* Effect.gen(function* () {
        const first = yield* teach
        const runner = yield* ProjectionRunner.make(memoryCounts)
        yield* untilProcessed(memoryCounts, first)
        assert.deepStrictEqual(yield* readMemoryCounts, { Registered: 1, TrickAdded: 2 })
        yield* untilProcessed(memoryCounts, yield* countUp)
        assert.deepStrictEqual(yield* readMemoryCounts, { Increased: 1, Registered: 1, TrickAdded: 2 })
        void runner
      }).pipe(Effect.scoped, Effect.provide(layer))
    })
  )

  describe.each(Object.entries(sqlViews))("into %s", (_, makeViews) => {
    it.live("G6 existing events and new ones, also across a restart", () =>
      Effect.gen(function* () {
        const log = yield* makeLog
        const views = yield* makeViews
        yield* Effect.gen(function* () {
          const first = yield* teach
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* ProjectionRunner.make(sqlCounts())
              yield* untilProcessed(sqlCounts(), first)
              assert.deepStrictEqual(yield* readSqlCounts, { Registered: 1, TrickAdded: 2 })
            })
          )
          const position = yield* countUp
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* ProjectionRunner.make(sqlCounts())
              yield* untilProcessed(sqlCounts(), position)
              assert.deepStrictEqual(yield* readSqlCounts, { Increased: 1, Registered: 1, TrickAdded: 2 })
            })
          )
        }).pipe(Effect.provide(Layer.merge(log, views)))
      })
    )
  })
})
