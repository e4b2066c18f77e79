/** Two repositories on one log are like two processes: each has a cache that knows nothing of the other. */
import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Deferred, Effect, Fiber, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Aggregate, MultiStreamAppend, Recorder, Repository } from "effect-eventsourcing"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { counting, makeLog, open, withRecorder } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")

/** A process under test, whose calls are counted, and another. */
const twoProcesses = Effect.fnUntraced(function* (options: Repository.Options = {}) {
  const log = yield* makeLog
  const { calls, log: counted } = counting(log)
  const here = (yield* open(counted, { conflictRetry: Schedule.recurs(5), ...options })).repository
  const there = (yield* open(log)).repository
  return { log: counted, here, there, calls }
})

describe("the cache", () => {
  it.effect("makes a command one append and no read", () =>
    Effect.gen(function* () {
      const { calls, here } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, Counter.Started())
      const { readStream } = calls
      for (let i = 0; i < 50; i++) yield* counters.execute(one, increase)
      assert.deepStrictEqual(calls, { append: 51, readStream })
      assert.deepInclude(yield* counters.get(one), { version: 50, state: 50 })
    })
  )

  it.effect("reads only newer events after a conflict", () =>
    Effect.gen(function* () {
      const { calls, here, there } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, Counter.Started())
      for (let i = 0; i < 10; i++) yield* there.of(Counter).execute(one, increase)
      const before = { ...calls }
      assert.deepInclude(yield* counters.execute(one, increase), { version: 11, state: 11 })
      assert.deepStrictEqual(calls, { append: before.append + 2, readStream: before.readStream + 1 })
    })
  )

  it.effect("is shared by all repositories of an aggregate in a process", () =>
    Effect.gen(function* () {
      const { calls, here } = yield* twoProcesses()
      yield* here.of(Counter).execute(one, Counter.Started())
      const { readStream } = calls
      yield* here.of(Counter).execute(one, increase)
      assert.strictEqual(calls.readStream, readStream)
    })
  )

  it.effect("does not return a state to another aggregate of the same name", () =>
    Effect.gen(function* () {
      const { here } = yield* twoProcesses()
      const Doubled = Aggregate.make("Counter", {
        state: Schema.String,
        creation: { Started: {} },
        events: { Increased: { to: Schema.Int } },
        reduce: { Started: () => "none", Increased: (_text, { to }) => `${to}` }
      })
      yield* here.of(Counter).execute(one, Counter.Started())
      yield* here.of(Counter).execute(one, increase)
      assert.strictEqual((yield* here.of(Doubled).get(Doubled.Id.make("1"))).state, "1")
      assert.strictEqual((yield* here.of(Counter).get(one)).state, 1)
      assert.strictEqual((yield* here.of(Doubled).get(Doubled.Id.make("1"), { allowStale: true })).state, "1")
    })
  )

  it.effect.each([0, 1, 3])("keeps %i states, the most recently used", (cacheCapacity) =>
    Effect.gen(function* () {
      const { calls, here } = yield* twoProcesses({ cacheCapacity })
      const counters = here.of(Counter)
      const ids = Array.from({ length: 4 }, (_, i) => Counter.Id.make(`${i}`))
      for (const id of ids) yield* counters.execute(id, Counter.Started())
      const reads: Array<boolean> = []
      // the last is used first: a state that a command does not have to read was kept
      for (const id of ids.toReversed()) {
        const { readStream } = calls
        yield* counters.execute(id, increase)
        reads.push(calls.readStream > readStream)
      }
      assert.deepStrictEqual(
        reads,
        ids.map((_, i) => i >= cacheCapacity)
      )
    })
  )

  it.effect("keeps states that are used rather than others", () =>
    Effect.gen(function* () {
      const { calls, here } = yield* twoProcesses({ cacheCapacity: 2 })
      const counters = here.of(Counter)
      const [a, b, c] = [Counter.Id.make("a"), Counter.Id.make("b"), Counter.Id.make("c")]
      for (const id of [a, b]) yield* counters.execute(id, Counter.Started())
      yield* counters.get(a)
      yield* counters.execute(c, Counter.Started())
      const { readStream } = calls
      yield* counters.execute(a, increase)
      assert.strictEqual(calls.readStream, readStream)
      yield* counters.execute(b, increase)
      assert.isAbove(calls.readStream, readStream)
    })
  )
})

describe("a log that was restored from a backup", () => {
  it.effect.each(["a command", "a transaction"] as const)(
    "is noticed by %s, which then starts from the existing events",
    (kind) =>
      Effect.gen(function* () {
        const [before, after] = yield* Effect.all([makeLog, makeLog])
        for (const log of [before, after]) {
          yield* (yield* open(log)).repository
            .of(Counter)
            .execute(one, [Counter.Started(), Counter.Increased({ to: 5 })])
        }
        let current = before
        const recorder = () => Context.get(current, Recorder.Recorder)
        const multi = () => Context.get(current, MultiStreamAppend.MultiStreamAppend)
        const log = withRecorder(before, () => ({
          append: (append) => recorder().append(append),
          readStream: (read) => recorder().readStream(read)
        })).pipe(
          Context.add(MultiStreamAppend.MultiStreamAppend, {
            append: (appends, checks) => multi().append(appends, checks)
          })
        )
        const { repository } = yield* open(log, { conflictRetry: Schedule.recurs(2) })
        for (let i = 0; i < 3; i++) yield* repository.of(Counter).execute(one, increase)
        // as if restored from a backup
        current = after
        const { state, version } =
          kind === "a command"
            ? yield* repository.of(Counter).execute(one, increase)
            : (yield* repository
                .transaction({ counter: Repository.existing(Counter, one) }, ({ counter }) => ({
                  counter: Counter.Increased({ to: counter + 1 })
                }))
                .pipe(Effect.provideContext(log))).counter
        assert.deepStrictEqual([version, state], [2, 6])
      })
  )
})

describe("get", () => {
  it.effect("reads events that another process recorded since", () =>
    Effect.gen(function* () {
      const { here, there } = yield* twoProcesses()
      yield* TestClock.setTime(1000)
      yield* here.of(Counter).execute(one, Counter.Started())
      yield* TestClock.setTime(2000)
      yield* there.of(Counter).execute(one, increase)
      assert.deepInclude(yield* here.of(Counter).get(one), {
        version: 1,
        state: 1,
        createdAt: DateTime.makeUnsafe(1000),
        modifiedAt: DateTime.makeUnsafe(2000)
      })
    })
  )

  it.effect("that is slow does not overwrite a newer state in the cache", () =>
    Effect.gen(function* () {
      const base = yield* makeLog
      yield* (yield* open(base)).repository.of(Counter).execute(one, Counter.Started())
      const [reached, release] = yield* Effect.all([Deferred.make<void>(), Deferred.make<void>()])
      let reads = 0
      const slow = withRecorder(base, (recorder) => ({
        readStream: (read) =>
          Effect.gen(function* () {
            const page = yield* recorder.readStream(read)
            if (++reads > 1) return page
            // the page was read before what is recorded now, and is looked at after that
            yield* Deferred.succeed(reached, undefined)
            yield* Deferred.await(release)
            return page
          })
      }))
      const { calls, log } = counting(slow)
      const counters = (yield* open(log, { conflictRetry: Schedule.recurs(5) })).repository.of(Counter)
      const getting = yield* Effect.forkChild(counters.get(one))
      yield* Deferred.await(reached)
      yield* counters.execute(one, increase)
      yield* Deferred.succeed(release, undefined)
      assert.deepInclude(yield* Fiber.join(getting), { version: 0, state: 0 })
      const { append } = calls
      assert.deepInclude(yield* counters.execute(one, increase), { version: 2, state: 2 })
      assert.strictEqual(calls.append, append + 1)
    })
  )

  it.effect("returns the cached state, and reads nothing, if a stale state is allowed", () =>
    Effect.gen(function* () {
      const { calls, here, there } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* there.of(Counter).execute(one, Counter.Started())
      // nothing is cached yet, so it has to be read
      assert.deepInclude(yield* counters.get(one, { allowStale: true }), { version: 0 })
      yield* there.of(Counter).execute(one, increase)
      const { readStream } = calls
      assert.deepInclude(yield* counters.get(one, { allowStale: true }), { version: 0, state: 0 })
      assert.strictEqual(calls.readStream, readStream)
      assert.deepInclude(yield* counters.get(one), { version: 1, state: 1 })
      assert.deepInclude(yield* counters.get(one, { allowStale: true }), { version: 1, state: 1 })
    })
  )

  it.effect("of an old version does not overwrite a newer state in the cache", () =>
    Effect.gen(function* () {
      const { here } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, [Counter.Started(), Counter.Increased({ to: 1 }), Counter.Increased({ to: 2 })])
      yield* counters.get(one, { version: 0 })
      assert.deepInclude(yield* counters.get(one, { allowStale: true }), { version: 2, state: 2 })
    })
  )
})

describe("a decision on a stale cache", () => {
  const rex = Dog.Id.make("rex")
  const registered = Dog.Registered({ name: "Rex" })

  it.effect("that fails is taken again on the current state", () =>
    Effect.gen(function* () {
      const { here, there } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, Counter.Started())
      const seen: Array<number> = []
      const atLeastTwo = Counter.decide((count) => {
        seen.push(count)
        return count < 2 ? Effect.fail("too few" as const) : Counter.Increased({ to: count + 1 })
      })
      assert.strictEqual(yield* Effect.flip(counters.execute(one, atLeastTwo)), "too few")
      assert.deepStrictEqual(seen, [0])
      yield* there.of(Counter).execute(one, [Counter.Increased({ to: 1 }), Counter.Increased({ to: 2 })])
      assert.deepInclude(yield* counters.execute(one, atLeastTwo), { version: 3, state: 3 })
      assert.deepStrictEqual(seen, [0, 0, 2])
    })
  )

  it.effect("that records nothing is taken again on the current state", () =>
    Effect.gen(function* () {
      const { here, there } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, Counter.Started())
      yield* there.of(Counter).execute(one, Counter.Increased({ to: 5 }))
      const onlyAtFive = Counter.decide((count) => (count === 5 ? Counter.Increased({ to: 6 }) : []))
      assert.deepInclude(yield* counters.execute(one, onlyAtFive), { version: 2, state: 6 })
      // and an empty one returns the state as it is now
      yield* there.of(Counter).execute(one, Counter.Increased({ to: 7 }))
      const nothing = Counter.decide(() => [])
      assert.deepInclude(yield* counters.execute(one, nothing), { version: 3, state: 7, events: [] })
    })
  )

  it.effect("that returns an event which does not fit its schema is taken again too", () =>
    Effect.gen(function* () {
      const { here, there } = yield* twoProcesses()
      const Account = Aggregate.make("Account", {
        state: Schema.Int,
        creation: { Opened: {} },
        events: { Balanced: { balance: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)) } },
        reduce: { Opened: () => 0, Balanced: (_was, { balance }) => balance }
      })
      const id = Account.Id.make("1")
      const withdraw = Account.decide((balance) => Account.Balanced({ balance: balance - 3 }))
      yield* here.of(Account).execute(id, Account.Opened())
      assert.strictEqual((yield* Effect.flip(here.of(Account).execute(id, withdraw)))._tag, "EventNotEncodable")
      yield* there.of(Account).execute(id, Account.Balanced({ balance: 5 }))
      assert.deepInclude(yield* here.of(Account).execute(id, withdraw), { version: 2, state: 2 })
    })
  )

  it.effect("that the domain refuses on both states is refused because of the current one", () =>
    Effect.gen(function* () {
      const { here, there } = yield* twoProcesses()
      const dogs = here.of(Dog)
      yield* dogs.execute(rex, registered)
      yield* there.of(Dog).execute(rex, addTrick("sit"))
      const error = yield* Effect.flip(dogs.execute(rex, addTrick("sit")))
      assert.deepInclude(error, { _tag: "TrickAlreadyKnown", trick: "sit" })
      const exists = yield* Effect.flip(dogs.execute(rex, registered))
      assert.deepInclude(exists, { _tag: "AggregateAlreadyExists", version: 1 })
    })
  )

  it.effect("costs one read if nothing is newer, and is not taken again", () =>
    Effect.gen(function* () {
      const { calls, here } = yield* twoProcesses()
      const counters = here.of(Counter)
      yield* counters.execute(one, Counter.Started())
      let decisions = 0
      const refuse = Counter.decide(() => {
        decisions++
        return Effect.fail("no" as const)
      })
      const { readStream } = calls
      yield* Effect.flip(counters.execute(one, refuse))
      assert.strictEqual(calls.readStream, readStream + 1)
      assert.strictEqual(decisions, 1)
    })
  )

  it.effect("is never taken in a transaction, which reads first", () =>
    Effect.gen(function* () {
      const { here, log, there } = yield* twoProcesses()
      yield* here.of(Counter).execute(one, Counter.Started())
      yield* there.of(Counter).execute(one, increase)
      const seen: Array<number> = []
      const { counter } = yield* here
        .transaction({ counter: Repository.existing(Counter, one) }, ({ counter }) => {
          seen.push(counter)
          return { counter: Counter.Increased({ to: counter + 1 }) }
        })
        .pipe(Effect.provideContext(log))
      assert.deepInclude(counter, { version: 2, state: 2 })
      assert.deepStrictEqual(seen, [1])
    })
  )
})
