import { assert, describe, it } from "@effect/vitest"
import { DateTime, Effect, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventSourcingError } from "effect-eventsourcing"
import type { DogEvent } from "../support/dog.ts"
import { addTrick, Dog } from "../support/dog.ts"
import { counting, makeLog, open, withRecorder } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
const registered = Dog.Registered({ name: "Rex" })

describe("get", () => {
  it.effect("returns the state, version and times of an aggregate", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yield* makeLog, { cacheCapacity: 0 })
      const dogs = repository.of(Dog)
      yield* TestClock.setTime(1000)
      yield* dogs.execute(rex, registered)
      yield* TestClock.setTime(2000)
      yield* dogs.execute(rex, addTrick("sit"))
      yield* TestClock.setTime(3000)
      assert.deepStrictEqual(yield* dogs.get(rex), {
        id: rex,
        version: 1,
        state: { name: "Rex", tricks: ["sit"] },
        createdAt: DateTime.makeUnsafe(1000),
        modifiedAt: DateTime.makeUnsafe(2000)
      })
      assert.deepInclude(yield* dogs.get(rex, { version: 0 }), {
        version: 0,
        createdAt: DateTime.makeUnsafe(1000),
        modifiedAt: DateTime.makeUnsafe(1000)
      })
    })
  )

  it.effect("fails with AggregateNotFound if there is none, or none at that version", () =>
    Effect.gen(function* () {
      const dogs = (yield* open(yield* makeLog)).repository.of(Dog)
      const missing = { _tag: "AggregateNotFound", aggregate: "Dog", id: "rex" } as const
      assert.deepInclude(yield* Effect.flip(dogs.get(rex)), { ...missing, version: undefined })
      assert.deepInclude(yield* Effect.flip(dogs.get(rex, { version: 0 })), { ...missing, version: 0 })
      assert.deepInclude(yield* Effect.flip(dogs.get(rex, { allowStale: true })), { ...missing, version: undefined })
      yield* dogs.execute(rex, [registered, Dog.Rested()])
      for (const version of [2, -1, 0.5, Number.MAX_SAFE_INTEGER]) {
        assert.deepInclude(yield* Effect.flip(dogs.get(rex, { version })), { ...missing, version })
      }
      assert.strictEqual((yield* dogs.get(rex, { version: 1 })).version, 1)
    })
  )

  const Step = Schema.Struct({ trick: Schema.NonEmptyString, rests: Schema.Boolean })

  it.effect.prop(
    "G11 returns the same at every version from the start, from a snapshot, and from the cache: the fold of the events",
    [Schema.Array(Step), Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 100 }))],
    Effect.fnUntraced(function* ([steps, seed]) {
      const events: [DogEvent, ...Array<DogEvent>] = [
        registered,
        ...steps.map(({ rests, trick }) => (rests ? Dog.Rested() : Dog.TrickAdded({ trick })))
      ]
      const log = yield* makeLog
      const writer = (yield* open(log)).repository.of(Dog)
      for (const event of events) yield* writer.execute(rex, event)

      const expectSame = Effect.fnUntraced(function* (dogs: typeof writer) {
        for (const version of events.keys()) {
          const then = yield* dogs.get(rex, { version })
          assert.strictEqual(then.version, version)
          assert.deepStrictEqual(then.state, Dog.fold(events.slice(0, version + 1)))
        }
        assert.deepStrictEqual((yield* dogs.get(rex)).state, Dog.fold(events))
      })
      yield* expectSame(writer)
      yield* expectSame((yield* open(log, { cacheCapacity: 0 })).repository.of(Dog))

      // a snapshot of some version in between: events up to it, the snapshot, the rest
      const middle = seed % events.length
      const other = yield* makeLog
      const early = (yield* open(other)).repository.of(Dog)
      for (const event of events.slice(0, middle + 1)) yield* early.execute(rex, event)
      yield* early.snapshot(rex)
      for (const event of events.slice(middle + 1)) yield* early.execute(rex, event)
      yield* expectSame(early)
      yield* expectSame((yield* open(other, { cacheCapacity: 0 })).repository.of(Dog))
      yield* expectSame((yield* open(other)).repository.of(Dog))
    })
  )

  it.effect("rebuilds an aggregate of several pages", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const { repository, store } = yield* open(log)
      const tricks = Array.from({ length: 1300 }, (_, i) => Dog.TrickAdded({ trick: `${i}` }))
      yield* store.append(Dog, rex, { expected: "NoStream", events: [registered, ...tricks] })
      const { state, version } = yield* repository.of(Dog).get(rex)
      assert.strictEqual(version, 1300)
      assert.deepStrictEqual(
        state.tricks,
        tricks.map(({ trick }) => trick)
      )
      assert.isAtMost(calls.readStream, 4)
      assert.strictEqual((yield* repository.of(Dog).get(rex, { version: 700 })).state.tricks.length, 700)
    })
  )

  it.effect("G8 fails if an event is missing in the middle, instead of returning a wrong state", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const dogs = (yield* open(base)).repository.of(Dog)
      yield* dogs.execute(rex, [registered, Dog.TrickAdded({ trick: "sit" }), Dog.Rested()])
      const holed = withRecorder(base, (recorder) => ({
        readStream: (read) =>
          Effect.map(recorder.readStream(read), (page) => page.filter(({ version }) => version !== 1))
      }))
      const error = yield* Effect.flip((yield* open(holed)).repository.of(Dog).get(rex))
      if (error._tag !== "RecorderFailure") return assert.fail(error._tag)
      assert.include(error.message, 'stream "Dog-rex" is incomplete')
    })
  )

  it.effect("passes failures of the recorder unchanged", () =>
    Effect.gen(function* () {
      const failure = new EventSourcingError.RecorderUnavailable({ operation: "read", reason: "out of reach" })
      const log = withRecorder(yield* makeLog, () => ({
        readStream: () => Effect.fail(failure),
        append: () => Effect.die("never asked")
      }))
      const dogs = (yield* open(log)).repository.of(Dog)
      const failures = yield* Effect.all([
        Effect.flip(dogs.get(rex)),
        Effect.flip(dogs.exists(rex)),
        Effect.flip(dogs.execute(rex, registered)),
        Effect.flip(Stream.runCollect(dogs.history(rex)))
      ])
      for (const error of failures) assert.strictEqual(error, failure)
    })
  )
})

describe("exists", () => {
  it.effect("tells whether the aggregate has an event, also one that another process recorded", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [here, there] = (yield* Effect.all([open(log), open(log)])).map(({ repository }) => repository.of(Dog))
      assert.isFalse(yield* here!.exists(rex))
      yield* there!.execute(rex, registered)
      assert.isTrue(yield* here!.exists(rex))
      assert.isFalse(yield* here!.exists(Dog.Id.make("max")))
    })
  )
})

describe("history", () => {
  it.effect("streams the events of an aggregate with what their recording added", () =>
    Effect.gen(function* () {
      const dogs = (yield* open(yield* makeLog)).repository.of(Dog)
      assert.deepStrictEqual(yield* Stream.runCollect(dogs.history(rex)), [])
      const executed = [yield* dogs.execute(rex, registered), yield* dogs.execute(rex, addTrick("sit"))]
      yield* dogs.execute(Dog.Id.make("max"), registered)
      const history = yield* Stream.runCollect(dogs.history(rex))
      assert.deepStrictEqual(
        history.map(({ position, ...event }) => event),
        executed.flatMap(({ events }) => events)
      )
      assert.deepStrictEqual(
        history.map(({ position }) => position),
        executed.map(({ position }) => position) as never
      )
      const newest = yield* dogs.history(rex, { direction: "backward" }).pipe(Stream.take(1), Stream.runCollect)
      assert.deepStrictEqual(
        newest.map(({ version }) => version),
        [1]
      )
      const behind = yield* Stream.runCollect(dogs.history(rex, { after: 0 }))
      assert.deepStrictEqual(
        behind.map(({ version }) => version),
        [1]
      )
    })
  )
})
