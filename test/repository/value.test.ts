/** Decisions that also return a value: what `execute` and transactions make of it, also after a conflict. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Decision } from "effect-eventsourcing"
import { Repository } from "effect-eventsourcing"
import { given, givenAll, stream } from "effect-eventsourcing/testing"
import { Counter, Dog } from "../support/dog.ts"
import { makeLog, open } from "../support/memoryLog.ts"
import { ada, bob, Overdraft, Purse, purses } from "../support/purse.ts"

/** Takes coins, and returns how many are left. */
const take = (coins: number) =>
  Purse.decide((purse) =>
    purse < coins
      ? Effect.fail(new Overdraft({ short: coins - purse }))
      : { events: Purse.Taken({ coins }), value: purse - coins }
  )
const put = (coins: number) => Purse.decide(() => Purse.Put({ coins }))

describe("the value of a decision", () => {
  it.effect("is what execute returns besides the aggregate", () =>
    Effect.gen(function* () {
      const { repository } = yield* purses()
      const done = yield* repository.of(Purse).execute(ada, take(3))
      expectTypeOf(done.value).toEqualTypeOf<number>()
      assert.deepStrictEqual([done.value, done.state, done.version, done.events.length], [7, 7, 1, 1])
    })
  )

  it.effect("of a decision that has none is no field of the result", () =>
    Effect.gen(function* () {
      const { repository } = yield* purses()
      const done = yield* repository.of(Purse).execute(ada, put(3))
      expectTypeOf(done).toEqualTypeOf<Repository.Executed<"Purse", number, (typeof Purse)["~types"]["event"]>>()
      assert.notProperty(done, "value")
    })
  )

  it.effect("can come without events, and from an Effect", () =>
    Effect.gen(function* () {
      const { repository } = yield* purses()
      const purse = repository.of(Purse)
      const asked = yield* purse.execute(
        ada,
        Purse.decide((coins) => ({ events: [], value: coins }))
      )
      assert.deepStrictEqual([asked.value, asked.events, asked.position], [10, [], undefined])
      const later = yield* purse.execute(
        ada,
        Purse.decide((coins) =>
          Effect.gen(function* () {
            yield* Effect.yieldNow
            return { events: [Purse.Put({ coins: 1 }), Purse.Put({ coins: 2 })], value: { before: coins } }
          })
        )
      )
      expectTypeOf(later.value).toEqualTypeOf<{ before: number }>()
      assert.deepStrictEqual([later.value, later.state], [{ before: 10 }, 13])
    })
  )

  it.effect("is that of the attempt that was recorded", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [mine, other] = [yield* open(log), yield* open(log)]
      const [dogs, others] = [mine.repository.of(Counter), other.repository.of(Counter)]
      const id = Counter.id("one")
      yield* dogs.execute(id, Counter.Started())
      let attempts = 0
      const done = yield* dogs.execute(
        id,
        Counter.decide((count) =>
          Effect.gen(function* () {
            // another process is faster, once
            if (attempts++ === 0) yield* Effect.orDie(others.execute(id, Counter.Increased({ to: 41 })))
            return { events: Counter.Increased({ to: count + 1 }), value: `from ${count}` }
          })
        )
      )
      assert.deepStrictEqual([attempts, done.value, done.state], [2, "from 41", 42])
    })
  )

  it.effect("of one that returns it in some cases only may be undefined", () =>
    Effect.gen(function* () {
      const { repository } = yield* purses()
      const sometimes = (coins: number) =>
        Purse.decide((purse) => (purse > 5 ? { events: Purse.Taken({ coins }), value: "rich" } : Purse.Put({ coins })))
      const first = yield* repository.of(Purse).execute(ada, sometimes(9))
      expectTypeOf(first.value).toEqualTypeOf<"rich" | undefined>()
      const second = yield* repository.of(Purse).execute(ada, sometimes(9))
      assert.deepStrictEqual([first.value, second.value], ["rich", undefined])
    })
  )

  it.effect("an event with fields called events and value is an event", () =>
    Effect.gen(function* () {
      const { Aggregate } = yield* Effect.promise(() => import("effect-eventsourcing"))
      const { Schema } = yield* Effect.promise(() => import("effect"))
      const Odd = Aggregate.make("Odd", {
        state: Schema.Int,
        creation: { Made: { events: Schema.Int, value: Schema.Int } },
        events: {},
        reduce: { Made: ({ value }) => value }
      })
      const { repository } = yield* open(yield* makeLog)
      const made = yield* repository.of(Odd).execute(
        Odd.id("1"),
        Odd.create(() => Odd.Made({ events: 1, value: 2 }))
      )
      expectTypeOf<"value">().not.toExtend<keyof typeof made>()
      assert.strictEqual(made.state, 2)
    })
  )

  it.effect("of a participant's part is in its result", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const participants = { from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) }
      const done = yield* repository
        .transaction(participants, ({ to }) => ({
          from: take(3),
          to: { events: Purse.Put({ coins: 3 }), value: [to] as const }
        }))
        .pipe(Effect.provideContext(log))
      expectTypeOf(done.from.value).toEqualTypeOf<number>()
      expectTypeOf(done.to.value).toEqualTypeOf<readonly [number]>()
      assert.deepStrictEqual([done.from.value, done.to.value, done.from.state, done.to.state], [7, [0], 7, 3])

      const plain = yield* repository
        .transaction(participants, () => Effect.succeed({ from: put(1), to: take(1) }))
        .pipe(Effect.provideContext(log))
      assert.notProperty(plain.from, "value")
      assert.strictEqual(plain.to.value, 2)
    })
  )

  it("is expected with thenValue", () => {
    given(Purse, Purse.Opened({ coins: 5 }))
      .when(take(2))
      .thenValue(3)
    given(Purse, Purse.Opened({ coins: 5 }))
      .when(put(2))
      .thenValue(undefined)
    assert.throws(
      () =>
        given(Purse, Purse.Opened({ coins: 5 }))
          .when(take(2))
          .thenValue(4),
      /the value differs from the expected one[\s\S]*- 4\n\+ 3/
    )
    assert.throws(
      () =>
        given(Purse, Purse.Opened({ coins: 5 }))
          .when(take(9))
          .thenValue(4),
      /the decision failed, but a value was expected/
    )
    const all = givenAll(stream(Purse, ada, Purse.Opened({ coins: 5 })))
    const program = Effect.gen(function* () {
      const purse = yield* Repository.of(Purse)
      return (yield* purse.execute(ada, take(2))).value
    })
    all.when(program).thenValue(3)
    assert.throws(() => all.when(program).thenValue(2), /the value differs/)
  })

  it("is typed for each way to execute it", () => {
    const run = <A>(
      dogs: Repository.AggregateRepository<typeof Dog>,
      decide: Decision.Decision<"Dog", "no"> & Decision.Returning<A>
    ) => Effect.map(dogs.execute(Dog.id("Fido"), decide), ({ value }): A => value)
    expectTypeOf(run).toBeFunction()
    const decision = Dog.decide((dog) => ({ events: Dog.Rested(), value: dog.tricks.length }))
    expectTypeOf(decision).toExtend<Decision.Decision<"Dog", unknown>>()
    expectTypeOf<Decision.ValueOf<typeof decision>>().toEqualTypeOf<number>()
    // @ts-expect-error the events are not those of the aggregate
    Dog.decide(() => ({ events: Counter.Started(), value: 1 }))
    // @ts-expect-error without events it could be a mistake, such as a wrong name
    Dog.decide(() => ({ event: Dog.Rested(), value: 1 }))
  })
})
