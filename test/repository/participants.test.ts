/** Participants of a transaction: decisions that are taken on them, and versions that they must have. */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Effect } from "effect"
import type { EventSourcingError as Errors } from "effect-eventsourcing"
import { Repository } from "effect-eventsourcing"
import { Counter, Dog } from "../support/dog.ts"
import { open } from "../support/memoryLog.ts"
import { ada, bob, cleo, coinsOf, headOf, Overdraft, Purse, purses } from "../support/purse.ts"

const take = (coins: number) =>
  Purse.decide((purse) =>
    purse < coins ? Effect.fail(new Overdraft({ short: coins - purse })) : Purse.Taken({ coins })
  )
const put = (coins: number) => Purse.decide(() => Purse.Put({ coins }))
const open5 = Purse.create(() => Purse.Opened({ coins: 5 }))

const participants = { from: Repository.existing(Purse, ada), to: Repository.existing(Purse, bob) }

describe("decisions on participants", () => {
  it.effect("are taken on their states, and their events are recorded in one append", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const done = yield* repository
        .transaction(participants, () => ({ from: take(3), to: put(3) }))
        .pipe(Effect.provideContext(log))
      assert.deepStrictEqual([done.from.state, done.to.state], [7, 3])
      const mixed = yield* repository
        .transaction(participants, ({ from }) => Effect.succeed({ from: take(from), to: Purse.Put({ coins: from }) }))
        .pipe(Effect.provideContext(log))
      assert.deepStrictEqual([mixed.from.state, mixed.to.state], [0, 10])
      assert.deepStrictEqual([mixed.from.positions, mixed.to.positions], [[5n], [6n]])
      const { from, to } = yield* repository
        .transaction(participants, () => ({ to: [Purse.Put({ coins: 1 }), Purse.Put({ coins: 2 })] }))
        .pipe(Effect.provideContext(log))
      assert.deepStrictEqual([from.positions, to.positions, to.position], [[], [7n, 8n], 8n])
    })
  )

  it.effect("pass their failures unchanged, and nothing is recorded", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const head = yield* headOf(log)
      const run = repository
        .transaction(participants, () => ({ from: take(30), to: put(30) }))
        .pipe(Effect.provideContext(log))
      expectTypeOf<Extract<Effect.Error<typeof run>, Overdraft>>().toEqualTypeOf<Overdraft>()
      assert.deepStrictEqual(yield* Effect.flip(run), new Overdraft({ short: 20 }))
      assert.strictEqual(yield* headOf(log), head)
    })
  )

  it.effect("have their own requirements for a participant that may exist", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const on = (id: typeof ada) =>
        repository
          .transaction({ purse: Repository.either(Purse, id) }, () => ({ purse: open5 }))
          .pipe(Effect.provideContext(log))
      assert.strictEqual((yield* on(cleo)).purse?.state, 5)
      const error = yield* Effect.flip(on(cleo))
      assert.strictEqual(error._tag, "AggregateAlreadyExists")
    })
  )

  it("are those of the participant's aggregate, and their failures are in the type", () => {
    const repository = null as unknown as Repository.Repository["Service"]
    const counter = Repository.existing(Counter, Counter.Id.make("one"))
    const dog = Repository.existing(Dog, Dog.Id.make("rex"))
    const run = () =>
      repository.transaction({ counter, dog }, () => ({ dog: Dog.decide(() => Effect.fail("tired" as const)) }))
    expectTypeOf<"tired">().toExtend<Effect.Error<ReturnType<typeof run>>>()
    // @ts-expect-error a decision on a dog
    void (() => repository.transaction({ counter, dog }, () => ({ counter: Dog.decide(() => Dog.Rested()) })))
  })
})

describe("the expected version of a participant", () => {
  it.effect("fails the transaction at any other version, at once", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      let decided = 0
      const at = (expectedVersion: number) =>
        repository
          .transaction({ ...participants, from: Repository.existing(Purse, ada, { expectedVersion }) }, () => {
            decided++
            return { from: Purse.Taken({ coins: 1 }), to: Purse.Put({ coins: 1 }) }
          })
          .pipe(Effect.provideContext(log))
      assert.strictEqual((yield* at(0)).from.version, 1)
      const error = yield* Effect.flip(at(0))
      assert.deepInclude(error, { _tag: "WrongExpectedVersion", stream: Purse.stream(ada), expected: 0, actual: 1 })
      assert.strictEqual(decided, 1)
    })
  )

  it.effect("is not decided on again if another writer was first, but is if another participant moved", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const other = (yield* open(log)).repository.of(Purse)
      let decided = 0
      const transaction = (moves: typeof ada) =>
        repository
          .transaction({ ...participants, from: Repository.existing(Purse, ada, { expectedVersion: 0 }) }, () => {
            const meanwhile = decided++ === 0 ? other.execute(moves, Purse.Put({ coins: 1 })) : Effect.void
            return Effect.as(meanwhile, { from: Purse.Taken({ coins: 1 }), to: Purse.Put({ coins: 1 }) })
          })
          .pipe(Effect.provideContext(log))
      yield* transaction(bob)
      assert.strictEqual(decided, 2)
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [9, 2])
    })
  )

  it.effect("is not decided on again if another writer moved the participant meanwhile", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const other = (yield* open(log)).repository.of(Purse)
      let decided = 0
      const error = yield* Effect.flip(
        repository
          .transaction({ from: Repository.existing(Purse, ada, { expectedVersion: 0 }) }, () => {
            decided++
            return Effect.as(other.execute(ada, Purse.Put({ coins: 1 })), { from: Purse.Taken({ coins: 1 }) })
          })
          .pipe(Effect.provideContext(log))
      )
      assert.deepInclude(error, { _tag: "WrongExpectedVersion", expected: 0, actual: 1 })
      assert.strictEqual(decided, 1)
    })
  )

  it.effect("that is not a version is a failure", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const expectedVersion = "0" as unknown as number
      const error: Errors.RecorderFailure | { readonly _tag: string } = yield* Effect.flip(
        repository
          .transaction({ from: Repository.existing(Purse, ada, { expectedVersion }) }, () => ({}))
          .pipe(Effect.provideContext(log))
      )
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(String(error), "the expected version must be 0, 1, 2")
    })
  )
})
