/** Commands at an expected version, lost responses, and interruption. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventSourcingError } from "effect-eventsourcing"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { counting, losingAnswers, makeLog, open, withRecorder } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
const registered = Dog.Registered({ name: "Rex" })
const one = Counter.Id.make("1")

describe("an expected version", () => {
  it.effect("is the version that the aggregate must have, or NoStream", () =>
    Effect.gen(function* () {
      const dogs = (yield* open(yield* makeLog)).repository.of(Dog)
      yield* dogs.execute(rex, registered, { expectedVersion: "NoStream" })
      yield* dogs.execute(rex, addTrick("sit"), { expectedVersion: 0 })
      const done = yield* dogs.execute(rex, addTrick("roll"), { expectedVersion: 1 })
      assert.strictEqual(done.version, 2)
      for (const expectedVersion of ["NoStream", 0, 1, 3] as const) {
        const error = yield* Effect.flip(dogs.execute(rex, addTrick("jump"), { expectedVersion }))
        assert.deepInclude(error, { _tag: "WrongExpectedVersion", expected: expectedVersion, actual: 2 })
      }
      const missing = Dog.Id.make("max")
      const nowhere = yield* Effect.flip(dogs.execute(missing, addTrick("sit"), { expectedVersion: 0 }))
      assert.deepInclude(nowhere, { _tag: "WrongExpectedVersion", expected: 0, actual: "NoStream" })
    })
  )

  it.effect("is checked before the decision, which is not taken at another version", () =>
    Effect.gen(function* () {
      const dogs = (yield* open(yield* makeLog)).repository.of(Dog)
      yield* dogs.execute(rex, [registered, Dog.Rested()])
      let decisions = 0
      const counted = Dog.decide(() => {
        decisions++
        return Dog.Rested()
      })
      yield* Effect.flip(dogs.execute(rex, counted, { expectedVersion: 0 }))
      assert.strictEqual(decisions, 0)
    })
  )

  it.effect.each([
    ["an event", Counter.decide((count) => Counter.Increased({ to: count + 1 }))],
    ["none", Counter.decide(() => [])],
    ["a failure", Counter.decide(() => Effect.fail("refused" as const))]
  ] as const)("that only a stale cache has is not enough if the decision is %s", ([, decision]) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [here, there] = yield* Effect.all([open(log), open(log)])
      const counters = here.repository.of(Counter)
      yield* counters.execute(one, Counter.Started())
      yield* there.repository.of(Counter).execute(one, increase)
      const error = yield* Effect.flip(counters.execute(one, decision, { expectedVersion: 0 }))
      assert.deepInclude(error, { _tag: "WrongExpectedVersion", expected: 0, actual: 1 })
    })
  )

  it.effect("that only another process has reached is accepted, whatever the cache has", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [here, there] = yield* Effect.all([open(log), open(log)])
      const counters = here.repository.of(Counter)
      yield* counters.execute(one, Counter.Started())
      yield* there.repository.of(Counter).execute(one, increase)
      assert.deepInclude(yield* counters.execute(one, increase, { expectedVersion: 1 }), { version: 2, state: 2 })
    })
  )
})

describe("a lost answer", () => {
  it.effect.each([undefined, 0])("does not lead to a new decision (expected version %j)", (expectedVersion) =>
    Effect.gen(function* () {
      const base = yield* makeLog
      yield* (yield* open(base)).repository.of(Counter).execute(one, Counter.Started())
      const { calls, log } = losingAnswers(base, { times: 3 })
      const counters = (yield* open(log)).repository.of(Counter)
      let decisions = 0
      const counted = Counter.decide((count) => {
        decisions++
        return Counter.Increased({ to: count + 1 })
      })
      const executing = yield* Effect.forkChild(
        counters.execute(one, counted, expectedVersion === undefined ? {} : { expectedVersion })
      )
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* Fiber.join(executing), { version: 1, state: 1 })
      assert.strictEqual(calls.append, 4)
      assert.strictEqual(decisions, 1)
      assert.deepInclude(yield* counters.get(one), { version: 1, state: 1 })
    })
  )

  it.effect("that never arrives leaves a repository that continues from the events that were recorded after all", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      const { log } = losingAnswers(base, { times: 6 })
      const counters = (yield* open(log)).repository.of(Counter)
      const executing = yield* Effect.forkChild(Effect.flip(counters.execute(one, Counter.Started())))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Fiber.join(executing))._tag, "RecorderUnavailable")
      assert.deepInclude(yield* counters.execute(one, increase), { version: 1, state: 1 })
    })
  )

  it.effect("does not matter if the recorder failed permanently", () =>
    Effect.gen(function* () {
      const failure = new EventSourcingError.RecorderFailure({ operation: "append", reason: "the disk is full" })
      const base = yield* makeLog
      const { calls, log } = counting(withRecorder(base, () => ({ append: () => Effect.fail(failure) })))
      const counters = (yield* open(log)).repository.of(Counter)
      assert.strictEqual(yield* Effect.flip(counters.execute(one, Counter.Started())), failure)
      assert.strictEqual(calls.append, 1)
      assert.isFalse(yield* counters.exists(one))
    })
  )
})

describe("G10 an interrupted command", () => {
  it.effect.each(["before", "after"] as const)(
    "that is interrupted %s its events are recorded leaves the cache correct and the aggregate unlocked",
    (moment) =>
      Effect.gen(function* () {
        const reached = yield* Deferred.make<void>()
        let holding = false
        const log = withRecorder(yield* makeLog, (recorder) => {
          const hold = Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
          return {
            append: (append) =>
              Effect.suspend(() => {
                if (!holding) return recorder.append(append)
                return moment === "before" ? hold : Effect.andThen(recorder.append(append), hold)
              })
          }
        })
        const counters = (yield* open(log)).repository.of(Counter)
        yield* counters.execute(one, Counter.Started())
        holding = true
        const held = yield* Effect.forkChild(counters.execute(one, increase))
        const waiting = yield* Effect.forkChild(counters.execute(one, increase))
        yield* Deferred.await(reached)
        // neither the waiting command nor the running one may keep others out
        yield* Fiber.interrupt(waiting)
        yield* Fiber.interrupt(held)
        holding = false
        assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(held)))
        const recorded = moment === "after" ? 1 : 0
        assert.deepInclude(yield* counters.get(one), { version: recorded, state: recorded })
        assert.deepInclude(yield* counters.execute(one, increase), { version: recorded + 1, state: recorded + 1 })
      })
  )

  it.effect("that is interrupted while it decides records nothing and leaves the aggregate unlocked", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const counters = (yield* open(log)).repository.of(Counter)
      yield* counters.execute(one, Counter.Started())
      const started = yield* Deferred.make<void>()
      const endless = Counter.decide(() => Effect.andThen(Deferred.succeed(started, undefined), Effect.never))
      const deciding = yield* Effect.forkChild(counters.execute(one, endless))
      yield* Deferred.await(started)
      yield* Fiber.interrupt(deciding)
      assert.deepInclude(yield* counters.execute(one, increase), { version: 1, state: 1 })
      assert.strictEqual(calls.append, 2)
    })
  )
})
