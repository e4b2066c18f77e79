/** Many fibers on one aggregate, in one process and in two. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Stream } from "effect"
import { Repository } from "effect-eventsourcing"
import { Counter, increase } from "../support/dog.ts"
import { counting, makeLog, open, yielding } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")
const FIBERS = 5000

/** Every command took effect once, and in order: 1, 2, 3… */
const expectCount = Effect.fnUntraced(function* (repository: Repository.Repository["Service"], count: number) {
  const counters = repository.of(Counter)
  assert.deepInclude(yield* counters.get(one), { version: count, state: count })
  const events = yield* Stream.runCollect(counters.history(one))
  assert.deepStrictEqual(
    events.map(({ event }) => (event._tag === "Increased" ? event.to : 0)),
    Array.from({ length: count + 1 }, (_, i) => i)
  )
})

describe("thousands of fibers on one aggregate", () => {
  it.effect.each([1000, 0])("all succeed, with work that grows with their number (cache of %i)", (cacheCapacity) =>
    Effect.gen(function* () {
      const { calls, log } = counting(yielding(yield* makeLog))
      const { repository } = yield* open(log, { cacheCapacity })
      const fibers = cacheCapacity === 0 ? 100 : FIBERS
      yield* repository.of(Counter).execute(one, Counter.Started())
      const before = { ...calls }
      yield* Effect.replicateEffect(repository.of(Counter).execute(one, increase), fibers, {
        concurrency: "unbounded",
        discard: true
      })
      // they take turns: none is refused, and with a cache none reads
      assert.strictEqual(calls.append - before.append, fibers)
      assert.strictEqual(calls.readStream - before.readStream, cacheCapacity === 0 ? fibers : 0)
      yield* expectCount(repository, fibers)
    })
  )

  it.effect("all get their own result", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yielding(yield* makeLog))
      const counters = repository.of(Counter)
      yield* counters.execute(one, Counter.Started())
      const answers = yield* Effect.replicateEffect(counters.execute(one, increase), 500, { concurrency: "unbounded" })
      const counts = answers.map(({ state }) => state).sort((a, b) => a - b)
      assert.deepStrictEqual(
        counts,
        Array.from({ length: 500 }, (_, i) => i + 1)
      )
    })
  )

  // with pauses on the real clock, and unlimited attempts: how often one process is overtaken depends on the machine
  it.live("all succeed over two repositories on one log, and few are refused", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yielding(yield* makeLog))
      const options = { conflictRetry: Schedule.spaced("1 millis") }
      const processes = yield* Effect.all([open(log, options), open(log, options)])
      yield* processes[0].repository.of(Counter).execute(one, Counter.Started())
      yield* Effect.forEach(
        processes,
        ({ repository }) =>
          Effect.replicateEffect(repository.of(Counter).execute(one, increase), FIBERS / 2, {
            concurrency: "unbounded",
            discard: true
          }),
        { concurrency: "unbounded", discard: true }
      )
      assert.isAtMost(calls.append, 2 * FIBERS)
      yield* expectCount(processes[0].repository, FIBERS)
    })
  )

  it.effect("do not delay those on other aggregates", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yielding(yield* makeLog))
      const counters = repository.of(Counter)
      const ids = Array.from({ length: 200 }, (_, i) => Counter.Id.make(`${i}`))
      yield* Effect.forEach(
        ids,
        (id) =>
          Effect.gen(function* () {
            yield* counters.execute(id, Counter.Started())
            yield* Effect.replicateEffect(counters.execute(id, increase), 5, { concurrency: "unbounded" })
          }),
        { concurrency: "unbounded" }
      )
      const states = yield* Effect.forEach(ids, (id) => Effect.map(counters.get(id), ({ state }) => state))
      assert.deepStrictEqual(new Set(states), new Set([5]))
    })
  )

  it.effect("are served in the order of arrival", () =>
    Effect.gen(function* () {
      const { repository } = yield* open(yielding(yield* makeLog))
      const counters = repository.of(Counter)
      yield* counters.execute(one, Counter.Started())
      const order: Array<number> = []
      const commands = Array.from({ length: 100 }, (_, i) =>
        counters.execute(
          one,
          Counter.decide((count) => {
            order.push(i)
            return Counter.Increased({ to: count + 1 })
          })
        )
      )
      yield* Effect.all(commands, { concurrency: "unbounded" })
      assert.deepStrictEqual(
        order,
        Array.from({ length: 100 }, (_, i) => i)
      )
    })
  )
})

describe("thousands of transactions over a few aggregates", () => {
  it.effect("all succeed, without a deadlock, whatever the order of their participants", () =>
    Effect.gen(function* () {
      const { calls, log } = counting(yielding(yield* makeLog))
      const { repository } = yield* open(log)
      const counters = repository.of(Counter)
      const ids = ["a", "b", "c"].map((name) => Counter.Id.make(name))
      yield* Effect.forEach(ids, (id) => counters.execute(id, Counter.Started()))
      const pairs = ids.flatMap((first) => ids.filter((second) => second !== first).map((second) => [first, second]))
      const work = Array.from({ length: 1200 }, (_, i) => {
        const [first, second] = pairs[i % pairs.length] as [(typeof ids)[number], (typeof ids)[number]]
        return i % 4 === 0
          ? Effect.asVoid(counters.execute(first, increase))
          : Effect.asVoid(
              repository.transaction(
                { first: Repository.existing(Counter, first), second: Repository.existing(Counter, second) },
                ({ first, second }) => ({
                  first: Counter.Increased({ to: first + 1 }),
                  second: Counter.Increased({ to: second + 1 })
                })
              )
            )
      })
      yield* Effect.all(work, { concurrency: "unbounded", discard: true }).pipe(Effect.provideContext(log))
      const states = yield* Effect.forEach(ids, (id) => Effect.map(counters.get(id), ({ state }) => state))
      assert.strictEqual(
        states.reduce((sum, state) => sum + state, 0),
        900 * 2 + 300
      )
      assert.strictEqual(calls.append, 3 + 300)
    })
  )
})
