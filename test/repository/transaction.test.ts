import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventSourcingError, MultiStreamAppend, Repository } from "effect-eventsourcing"
import { Dog } from "../support/dog.ts"
import { open } from "../support/memoryLog.ts"
import { ada, bob, cleo, coinsOf, headOf, Overdraft, Purse, purses, transfer } from "../support/purse.ts"

describe("a transaction", () => {
  it.effect("decides over several states, and returns each as it is afterwards", () =>
    Effect.gen(function* () {
      yield* TestClock.setTime(5000)
      const { log, repository } = yield* purses()
      const done = yield* Effect.provideContext(transfer(repository, ada, bob, 3), log)
      assert.deepInclude(done.from, { id: ada, version: 1, state: 7 })
      assert.deepInclude(done.to, { id: bob, version: 1, state: 3 })
      assert.deepStrictEqual(
        done.from.events.map(({ event }) => event),
        [{ coins: 3, _tag: "Taken" }]
      )
      assert.strictEqual(done.from.modifiedAt.epochMilliseconds, 5000)
      assert.strictEqual(done.from.position, yield* headOf(log))
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [7, 3])
    })
  )

  it.effect("spans aggregates of different types, with several events each", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const rex = Dog.Id.make("rex")
      const done = yield* repository
        .transaction(
          { payer: Repository.existing(Purse, ada), dog: Repository.missing(Dog, rex) },
          ({ dog, payer }) => ({
            payer: [Purse.Taken({ coins: payer }), Purse.Put({ coins: 1 })],
            dog: [Dog.Registered({ name: `${dog}` }), Dog.TrickAdded({ trick: "sit" })]
          })
        )
        .pipe(Effect.provideContext(log))
      assert.deepInclude(done.payer, { version: 2, state: 1 })
      assert.deepInclude(done.dog, { version: 1, state: { name: "undefined", tricks: ["sit"] } })
    })
  )

  it.effect("passes a failure of the domain unchanged, and records nothing", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const head = yield* headOf(log)
      const error = yield* Effect.flip(Effect.provideContext(transfer(repository, bob, ada, 3), log))
      assert.deepStrictEqual(error, new Overdraft({ short: 3 }))
      assert.strictEqual(yield* headOf(log), head)
    })
  )

  it.effect("accepts an Effect, which may wait", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const waiting = yield* Effect.forkChild(
        repository
          .transaction({ purse: Repository.existing(Purse, ada) }, () =>
            Effect.as(Effect.sleep("1 hour"), { purse: Purse.Put({ coins: 1 }) })
          )
          .pipe(Effect.provideContext(log))
      )
      yield* TestClock.adjust("1 hour")
      assert.deepInclude((yield* Fiber.join(waiting)).purse, { state: 11 })
    })
  )

  it.effect("requires that its participants exist, do not exist, or either", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const run = <A, E>(effect: Effect.Effect<A, E, MultiStreamAppend.MultiStreamAppend>) =>
        Effect.provideContext(effect, log)
      let decisions = 0
      const decide = () => {
        decisions++
        return {}
      }
      const missing = yield* Effect.flip(
        run(repository.transaction({ cleo: Repository.existing(Purse, cleo) }, decide))
      )
      assert.deepInclude(missing, { _tag: "AggregateNotFound", aggregate: "Purse", id: "cleo" })
      const there = yield* Effect.flip(run(repository.transaction({ ada: Repository.missing(Purse, ada) }, decide)))
      assert.deepInclude(there, { _tag: "AggregateAlreadyExists", aggregate: "Purse", id: "ada", version: 0 })
      assert.strictEqual(decisions, 0)

      const both = { ada: Repository.either(Purse, ada), cleo: Repository.either(Purse, cleo) }
      const none = yield* run(repository.transaction(both, decide))
      assert.deepInclude(none.ada, { version: 0, state: 10, events: [], position: undefined })
      assert.strictEqual(none.cleo, undefined)
      const created = yield* run(
        repository.transaction(both, ({ ada, cleo }) => ({ cleo: Purse.Opened({ coins: (ada ?? 0) + (cleo ?? 5) }) }))
      )
      assert.deepInclude(created.cleo, { version: 0, state: 15 })
      assert.deepInclude(created.ada, { version: 0, events: [] })
    })
  )

  it.effect("refuses the same aggregate twice, before it decides", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const error = yield* Effect.flip(Effect.provideContext(transfer(repository, ada, ada, 1), log))
      assert.deepInclude(error, { _tag: "DuplicateParticipant", aggregate: "Purse", id: "ada" })
    })
  )

  it.effect("is a defect if its decision throws, a reducer throws, or a name is not a participant's", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const head = yield* headOf(log)
      const participants = { ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) }
      const withStranger: {} = { ada: Purse.Put({ coins: 1 }), eve: Purse.Put({ coins: 1 }) }
      const exits = yield* Effect.all([
        Effect.exit(
          repository.transaction(participants, () => {
            throw new Error("no idea")
          })
        ),
        Effect.exit(repository.transaction(participants, () => ({ ada: Purse.Torn({ coins: 1 }) }))),
        Effect.exit(repository.transaction(participants, () => withStranger))
      ]).pipe(Effect.provideContext(log))
      for (const exit of exits) assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      const misplaced = yield* repository
        .transaction(participants, () => ({
          bob: Purse.Put({ coins: 1 }),
          // @ts-expect-error an existing aggregate can't be created
          ada: Purse.Opened({ coins: 1 })
        }))
        .pipe(Effect.flip, Effect.provideContext(log))
      assert.deepInclude(misplaced, { _tag: "EventNotEncodable", stream: "Purse-ada", version: 1 })
      assert.strictEqual(yield* headOf(log), head)
      // and it releases its participants
      yield* Effect.provideContext(transfer(repository, ada, bob, 1), log)
    })
  )

  it.effect("is a defect if its decision is a promise, or returns nothing by name", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const participants = { ada: Repository.existing(Purse, ada) }
      const put = Purse.Put({ coins: 1 })
      const decisions: ReadonlyArray<readonly [() => unknown, string]> = [
        [() => Promise.resolve({ ada: put }), "the decision of a transaction returned a promise"],
        [() => new Map([["ada", put]]), "must return an object that has the events of each participant under its name"],
        [() => [put], "must return an object that has the events of each participant under its name"],
        [() => null, "must return an object that has the events of each participant under its name"]
      ]
      for (const [decide, message] of decisions) {
        const untyped: () => {} = decide as never
        const exit = yield* Effect.exit(Effect.provideContext(repository.transaction(participants, untyped), log))
        assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "it succeeded", message)
      }
    })
  )

  it.effect.each(["alice", "constructor", "toString", "__proto__", "hasOwnProperty", "then"])(
    "can have a participant named %s, with an event or without one",
    (name) =>
      Effect.gen(function* () {
        const { log, repository } = yield* purses()
        const participants = Object.fromEntries([
          [name, Repository.existing(Purse, ada)],
          ["bob", Repository.existing(Purse, bob)]
        ])
        const only = (who: string) => (states: Readonly<Record<string, number>>) =>
          Object.fromEntries([[who, Purse.Put({ coins: states[name] ?? 0 })]])
        const others = yield* Effect.provideContext(repository.transaction(participants, only("bob")), log)
        assert.isTrue(Object.hasOwn(others, name))
        assert.deepInclude(others[name], { state: 10, version: 0, events: [] })
        assert.deepInclude(others.bob, { state: 10, version: 1 })
        const own = yield* Effect.provideContext(repository.transaction(participants, only(name)), log)
        assert.deepInclude(own[name], { state: 20, version: 1 })
      })
  )

  it.effect("G1 records nothing if one of its events does not fit its schema", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const head = yield* headOf(log)
      const error = yield* repository
        .transaction({ ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) }, () => ({
          ada: Purse.Taken({ coins: 1 }),
          bob: Purse.Put({ coins: -1 })
        }))
        .pipe(Effect.provideContext(log), Effect.flip)
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Purse-bob", version: 1, type: "Purse.Put" })
      assert.strictEqual(yield* headOf(log), head)
      assert.strictEqual(yield* coinsOf(repository, ada), 10)
    })
  )

  it.effect("without participants only takes its decision", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      assert.deepStrictEqual(
        yield* Effect.provideContext(
          repository.transaction({}, () => ({})),
          log
        ),
        {}
      )
    })
  )
})

describe("G10 an interrupted transaction", () => {
  it.effect("records nothing, and unlocks its participants", () =>
    Effect.gen(function* () {
      const { log, repository } = yield* purses()
      const started = yield* Deferred.make<void>()
      const participants = { ada: Repository.existing(Purse, ada), bob: Repository.existing(Purse, bob) }
      const endless = repository.transaction(participants, () =>
        Effect.andThen(Deferred.succeed(started, undefined), Effect.never)
      )
      const running = yield* Effect.forkChild(Effect.provideContext(endless, log))
      yield* Deferred.await(started)
      const waiting = yield* Effect.forkChild(Effect.provideContext(transfer(repository, bob, ada, 1), log), {
        startImmediately: true
      })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(running)
      const done = yield* Effect.provideContext(transfer(repository, ada, bob, 1), log)
      assert.deepInclude(done.from, { version: 1, state: 9 })
    })
  )

  it.effect("sends the same events again if its answer was lost, and decides once", () =>
    Effect.gen(function* () {
      const { log: base, repository: before } = yield* purses()
      const multi = Context.get(base, MultiStreamAppend.MultiStreamAppend)
      let losses = 2
      const log = Context.add(base, MultiStreamAppend.MultiStreamAppend, {
        append: (appends, checks) =>
          Effect.tap(multi.append(appends, checks), () =>
            losses-- > 0
              ? Effect.fail(new EventSourcingError.RecorderUnavailable({ operation: "append", reason: "lost" }))
              : Effect.void
          )
      })
      const { repository } = yield* open(log)
      const running = yield* Effect.forkChild(Effect.provideContext(transfer(repository, ada, bob, 4), log))
      yield* TestClock.adjust("1 minute")
      assert.deepInclude((yield* Fiber.join(running)).to, { version: 1, state: 4 })
      assert.deepStrictEqual([yield* coinsOf(before, ada), yield* coinsOf(before, bob)], [6, 4])
    })
  )
})
