import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, DateTime, Effect, Exit, Fiber, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate } from "effect-eventsourcing"
import { addTrick, Counter, Dog, increase, TrickAlreadyKnown } from "../support/dog.ts"
import type { Log } from "../support/memoryLog.ts"
import { counting, makeLog, open } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
const registered = Dog.Registered({ name: "Rex" })
const one = Counter.Id.make("1")

const dogsOn = Effect.fnUntraced(function* (log: Log, options?: Parameters<typeof open>[1]) {
  return (yield* open(log, options)).repository.of(Dog)
})
const countersOn = Effect.fnUntraced(function* (log: Log, options?: Parameters<typeof open>[1]) {
  return (yield* open(log, options)).repository.of(Counter)
})

describe("execute", () => {
  it.effect.each([
    [
      "a decision that was not called",
      addTrick,
      "call the function if it returns a decision: execute(id, addTrick(...))"
    ],
    ["a function that decides", () => Dog.Rested(), "wrap it if it decides: execute(id, Dog.decide((state) => ...))"],
    ["a constructor that was not called", Dog.Rested, "Dog.Rested was not called: write Dog.Rested(...)"]
  ] as const)("advises what to write instead of %s", ([_what, command, says]) =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      yield* dogs.execute(rex, registered)
      // @ts-expect-error only a program without types gets this far
      const error = yield* Effect.flip(dogs.execute(rex, command))
      assert.include(String(error), says)
      assert.strictEqual((yield* dogs.get(rex)).version, 0)
    })
  )

  it.effect("returns the new state, version and times, and the recorded events", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      yield* TestClock.setTime(1000)
      const created = yield* dogs.execute(rex, registered)
      assert.deepInclude(created, { id: rex, version: 0, state: { name: "Rex", tricks: [] } })
      yield* TestClock.setTime(5000)
      const changed = yield* dogs.execute(rex, addTrick("sit"))
      assert.deepInclude(changed, { id: rex, version: 1, state: { name: "Rex", tricks: ["sit"] } })
      assert.deepStrictEqual(
        changed.events.map(({ event, version }) => [version, event]),
        [[1, { trick: "sit", _tag: "TrickAdded" }]]
      )
      assert.isTrue((changed.position ?? 0n) > (created.position ?? 0n))
      const times = ({ createdAt, modifiedAt }: typeof changed) => [createdAt, modifiedAt].map(DateTime.toEpochMillis)
      assert.deepStrictEqual(times(created), [1000, 1000])
      assert.deepStrictEqual(times(changed), [1000, 5000])
    })
  )

  it.effect("records an event that is passed directly, or several at once", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const dogs = yield* dogsOn(log)
      const born = yield* dogs.execute(rex, [registered, Dog.TrickAdded({ trick: "sit" }), Dog.Rested()])
      assert.deepInclude(born, { version: 2, state: { name: "Rex", tricks: ["sit"] } })
      yield* dogs.execute(rex, Dog.TrickAdded({ trick: "roll" }))
      const last = yield* dogs.execute(rex, [Dog.Rested(), Dog.Rested()])
      assert.deepStrictEqual([last.position, last.positions], [6n, [5n, 6n]])
      const none = yield* dogs.execute(
        rex,
        Dog.decide(() => [])
      )
      assert.deepStrictEqual([none.position, none.positions], [undefined, []])
      assert.deepInclude(last, { version: 5, state: { name: "Rex", tricks: ["sit", "roll"] } })
      assert.strictEqual(calls.append, 3)
    })
  )

  it.effect("accepts the outcome of a decision: an event, several, none, or an Effect of those", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      yield* dogs.execute(rex, registered)
      const versions = [
        yield* dogs.execute(
          rex,
          Dog.decide(() => Dog.Rested())
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => [Dog.Rested(), Dog.TrickAdded({ trick: "sit" })])
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => undefined)
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => [])
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => {})
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => Effect.succeed(Dog.Rested()))
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => Effect.succeed([Dog.Rested(), Dog.Rested()]))
        ),
        yield* dogs.execute(
          rex,
          Dog.decide(() => Effect.void)
        )
      ].map(({ events, version }) => [version, events.length])
      assert.deepStrictEqual(versions, [
        [1, 1],
        [3, 2],
        [3, 0],
        [3, 0],
        [3, 0],
        [4, 1],
        [6, 2],
        [6, 0]
      ])
    })
  )

  it.effect("returns the state and no position if nothing was recorded", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const dogs = yield* dogsOn(log)
      yield* dogs.execute(rex, registered)
      const nothing = yield* dogs.execute(
        rex,
        Dog.decide(() => [])
      )
      assert.deepInclude(nothing, { version: 0, state: { name: "Rex", tricks: [] }, events: [], position: undefined })
      assert.strictEqual(calls.append, 1)
    })
  )

  it.effect("lets a decision wait", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      yield* dogs.execute(rex, registered)
      const deciding = yield* Effect.forkChild(
        dogs.execute(
          rex,
          Dog.decide(({ name }) => Effect.as(Effect.sleep("1 hour"), Dog.TrickAdded({ trick: name })))
        )
      )
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual((yield* Fiber.join(deciding)).state.tricks, ["Rex"])
    })
  )

  it.effect("passes a failure of the domain unchanged, whatever it is, and records nothing", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const dogs = yield* dogsOn(log)
      yield* dogs.execute(rex, [registered, Dog.TrickAdded({ trick: "sit" })])
      const known = yield* Effect.flip(dogs.execute(rex, addTrick("sit")))
      assert.deepStrictEqual(known, new TrickAlreadyKnown({ trick: "sit" }))

      class WrongExpectedVersion extends Data.TaggedError("WrongExpectedVersion")<{ readonly of: string }> {}
      for (const failure of ["a text", 7, undefined, new WrongExpectedVersion({ of: "the domain" })]) {
        let decisions = 0
        const refused = Dog.decide(() => {
          decisions++
          return Effect.fail(failure)
        })
        assert.strictEqual(yield* Effect.flip(dogs.execute(rex, refused)), failure)
        assert.isAtMost(decisions, 2)
      }
      assert.strictEqual(calls.append, 1)
    })
  )
})

describe("what a decision requires", () => {
  it.effect("decide: an aggregate that exists", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      const missing = { _tag: "AggregateNotFound", aggregate: "Dog", id: "rex", version: undefined } as const
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, addTrick("sit"))), missing)
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, Dog.Rested())), missing)
      assert.isFalse(yield* dogs.exists(rex))
    })
  )

  it.effect("create: one that does not", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      const create = Dog.create(() => [registered, Dog.TrickAdded({ trick: "sit" })])
      assert.deepInclude(yield* dogs.execute(rex, create), { version: 1, state: { name: "Rex", tricks: ["sit"] } })
      const there = { _tag: "AggregateAlreadyExists", aggregate: "Dog", id: "rex", version: 1 } as const
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, create)), there)
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, registered)), there)
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, [registered, Dog.Rested()])), there)
    })
  )

  it.effect("create: may fail and wait too", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      const refused = yield* Effect.flip(
        dogs.execute(
          rex,
          Dog.create(() => Effect.fail("no room" as const))
        )
      )
      assert.strictEqual(refused, "no room")
      const created = yield* dogs.execute(
        rex,
        Dog.create(() => Effect.succeed(registered))
      )
      assert.strictEqual(created.version, 0)
    })
  )

  it.effect("createOrDecide: nothing, but the aggregate must exist afterwards", () =>
    Effect.gen(function* () {
      const dogs = yield* dogsOn(yield* makeLog)
      const train = Dog.createOrDecide((dog) =>
        dog === undefined ? [registered, Dog.TrickAdded({ trick: "sit" })] : Dog.TrickAdded({ trick: "roll" })
      )
      const idle = Dog.createOrDecide(() => [])
      assert.deepInclude(yield* Effect.flip(dogs.execute(rex, idle)), { _tag: "AggregateNotFound", id: "rex" })
      assert.deepInclude(yield* dogs.execute(rex, train), { version: 1 })
      assert.deepInclude(yield* dogs.execute(rex, train), {
        version: 2,
        state: { name: "Rex", tricks: ["sit", "roll"] }
      })
      assert.deepInclude(yield* dogs.execute(rex, idle), { version: 2, events: [] })
    })
  )
})

it.effect("null is not a command, and the error says so", () =>
  Effect.gen(function* () {
    const dogs = yield* dogsOn(yield* makeLog)
    yield* dogs.execute(rex, registered)
    // @ts-expect-error not an event
    const error = yield* Effect.flip(dogs.execute(rex, null))
    assert.include(String(error), "null is not an event of Dog")
    // @ts-expect-error a bigint
    const expected = yield* Effect.flip(dogs.execute(rex, Dog.Rested(), { expectedVersion: 0n }))
    assert.include(expected.message, 'the expected version must be 0, 1, 2… or "NoStream", got 0 of type bigint')
  })
)

describe("a bug in the user's functions", () => {
  const Fragile = Aggregate.make("Fragile", {
    state: Schema.Int,
    creation: { Made: {} },
    events: { Hit: { hard: Schema.Boolean } },
    reduce: {
      Made: () => 0,
      Hit: (hits, { hard }) => {
        if (hard) throw new Error("it broke")
        return hits + 1
      }
    }
  })
  const id = Fragile.Id.make("1")

  const fragile = Effect.gen(function* () {
    const { calls, log } = counting(yield* makeLog)
    const things = (yield* open(log)).repository.of(Fragile)
    yield* things.execute(id, Fragile.Made())
    return { things, calls }
  })

  it.effect.each([
    ["a reducer that throws", Fragile.Hit({ hard: true }), "it broke"],
    [
      "a reducer that throws on the second event",
      [Fragile.Hit({ hard: false }), Fragile.Hit({ hard: true })],
      "it broke"
    ],
    [
      "a decision that throws",
      Fragile.decide(() => {
        throw new Error("no idea")
      }),
      "no idea"
    ],
    ["a decision that dies", Fragile.decide(() => Effect.die(new Error("no idea"))), "no idea"]
  ] as const)("%s is a defect, records nothing, and does not stop the next command", ([, command, message]) =>
    Effect.gen(function* () {
      const { calls, things } = yield* fragile
      const exit = yield* Effect.exit(things.execute(id, command))
      if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
      assert.isTrue(Cause.hasDies(exit.cause))
      assert.include(Cause.pretty(exit.cause), message)
      assert.strictEqual(calls.append, 1)
      assert.deepInclude(yield* things.execute(id, Fragile.Hit({ hard: false })), { version: 1, state: 1 })
    })
  )

  it.effect("an event that can't follow is an EventNotEncodable, and nothing is recorded", () =>
    Effect.gen(function* () {
      const { calls, things } = yield* fragile
      const created = yield* Effect.flip(
        things.execute(
          id,
          Fragile.createOrDecide(() => Fragile.Made())
        )
      )
      assert.deepInclude(created, { _tag: "EventNotEncodable", version: 1, type: "Fragile.Made" })
      const changed = yield* Effect.flip(
        things.execute(
          Fragile.Id.make("2"),
          Fragile.createOrDecide(() => Fragile.Hit({ hard: false }))
        )
      )
      assert.deepInclude(changed, { _tag: "EventNotEncodable", version: 0, type: "Fragile.Hit" })
      assert.strictEqual(calls.append, 1)
      assert.isFalse(yield* things.exists(Fragile.Id.make("2")))
    })
  )

  it.effect("an event that does not fit its schema is an EventNotEncodable, and nothing is recorded", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yield* makeLog)
      const dogs = yield* dogsOn(log)
      yield* dogs.execute(rex, registered)
      const error = yield* Effect.flip(dogs.execute(rex, [Dog.Rested(), Dog.TrickAdded({ trick: "" })]))
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Dog-rex", version: 2, type: "Dog.TrickAdded" })
      assert.strictEqual(calls.append, 1)
      assert.strictEqual((yield* dogs.get(rex)).version, 0)
    })
  )
})

describe("a conflict", () => {
  /** Decides to increase, and lets another process be faster during the first of its decisions. */
  const overtaken = Effect.fnUntraced(function* (log: Log, times: number) {
    const others = yield* countersOn(log)
    const decisions: Array<number> = []
    const decision = Counter.decide((count) =>
      Effect.gen(function* () {
        decisions.push(count)
        if (decisions.length <= times) yield* Effect.orDie(others.execute(one, increase))
        return Counter.Increased({ to: count + 1 })
      })
    )
    return { decision, decisions }
  })

  it.effect("is decided again on the events of the other", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = yield* countersOn(log, { conflictRetry: Schedule.recurs(10) })
      yield* counters.execute(one, Counter.Started())
      const { decision, decisions } = yield* overtaken(log, 3)
      assert.deepInclude(yield* counters.execute(one, decision), { state: 4, version: 4 })
      assert.deepStrictEqual(decisions, [0, 1, 2, 3])
    })
  )

  it.effect.each([0, 1, 3])("is decided again as often as the policy allows (%i times), and then returned", (times) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = yield* countersOn(log, { conflictRetry: Schedule.recurs(times) })
      yield* counters.execute(one, Counter.Started())
      const { decision, decisions } = yield* overtaken(log, Infinity)
      const error = yield* Effect.flip(counters.execute(one, decision))
      assert.strictEqual(decisions.length, 1 + times)
      assert.deepInclude(error, {
        _tag: "WrongExpectedVersion",
        stream: "Counter-1",
        expected: times,
        actual: times + 1
      })
    })
  )

  it.effect("is decided again at once by default, then with pauses of 10 ms for 10 seconds, and then given up", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = yield* countersOn(log)
      yield* counters.execute(one, Counter.Started())
      const { decision, decisions } = yield* overtaken(log, Infinity)
      const executing = yield* Effect.forkChild(Effect.flip(counters.execute(one, decision)), {
        startImmediately: true
      })
      yield* TestClock.adjust(0)
      assert.strictEqual(decisions.length, 2)
      yield* TestClock.adjust("11 seconds")
      assert.strictEqual((yield* Fiber.join(executing))._tag, "WrongExpectedVersion")
      // jitter makes the pauses 8 to 12 ms
      assert.isAbove(decisions.length, 800)
      assert.isBelow(decisions.length, 1300)
    })
  )

  it.effect("on creating is an AggregateAlreadyExists in the end", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = yield* countersOn(log, { conflictRetry: Schedule.recurs(1) })
      const others = yield* countersOn(log)
      const create = Counter.create(() =>
        Effect.as(Effect.exit(others.execute(one, Counter.Started())), Counter.Started())
      )
      const error = yield* Effect.flip(counters.execute(one, create))
      assert.deepInclude(error, { _tag: "AggregateAlreadyExists", version: 0 })
    })
  )

  it.effect("with an expected version is returned, without a retry", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const counters = yield* countersOn(log)
      yield* counters.execute(one, Counter.Started())
      const { decision, decisions } = yield* overtaken(log, Infinity)
      const error = yield* Effect.flip(counters.execute(one, decision, { expectedVersion: 0 }))
      assert.deepInclude(error, { _tag: "WrongExpectedVersion", stream: "Counter-1", expected: 0, actual: 1 })
      assert.strictEqual(decisions.length, 1)
    })
  )
})
