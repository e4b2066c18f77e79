/** Commands within decisions: they never wait silently. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Repository } from "effect-eventsourcing"
import { Dog } from "../support/dog.ts"
import { capturingLogs, makeLog, open } from "../support/memoryLog.ts"

const [rex, max] = [Dog.Id.make("rex"), Dog.Id.make("max")]

const kennel = Effect.gen(function* () {
  const log = yield* makeLog
  const { repository } = yield* open(log)
  const dogs = repository.of(Dog)
  for (const id of [rex, max]) yield* dogs.execute(id, Dog.Registered({ name: id }))
  const train = (id: typeof rex, trick: string) => dogs.execute(id, Dog.TrickAdded({ trick }))
  return { dogs, log, repository, train }
})

const isOwnDecision = (exit: Exit.Exit<unknown, unknown>) => {
  if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
  assert.include(Cause.pretty(exit.cause), 'a decision on "Dog-rex" executes a command on "Dog-rex"')
  assert.isTrue(Cause.hasDies(exit.cause))
}

describe("a command within a decision", () => {
  it.effect("on the decision's own aggregate is a defect at once", () =>
    Effect.gen(function* () {
      const { dogs, log, repository, train } = yield* kennel
      const self = Dog.decide(() => Effect.as(train(rex, "sit"), Dog.Rested()))
      isOwnDecision(yield* Effect.exit(dogs.execute(rex, self)))
      const inFiber = Dog.decide(() =>
        Effect.flatMap(Effect.forkChild(train(rex, "sit")), (fiber) => Effect.as(Fiber.join(fiber), Dog.Rested()))
      )
      isOwnDecision(yield* Effect.exit(dogs.execute(rex, inFiber)))
      // within another aggregate's decision
      const other = Dog.decide(() => Effect.as(dogs.execute(rex, self), Dog.Rested()))
      isOwnDecision(yield* Effect.exit(dogs.execute(max, other)))
      const both = { rex: Repository.existing(Dog, rex), max: Repository.existing(Dog, max) }
      isOwnDecision(
        yield* Effect.exit(
          Effect.provideContext(
            repository.transaction(both, () => Effect.as(train(rex, "sit"), {})),
            log
          )
        )
      )
      isOwnDecision(
        yield* Effect.exit(
          Effect.provideContext(
            dogs.execute(
              rex,
              Dog.decide(() =>
                repository
                  .transaction(both, () => ({}))
                  .pipe(Effect.orDie, Effect.provideContext(log), Effect.as(Dog.Rested()))
              )
            ),
            log
          )
        )
      )
      // nothing was recorded, and no command waits
      assert.deepInclude(yield* train(rex, "roll"), { version: 1 })
    })
  )

  it.effect("on another aggregate is executed, also by two decisions on each other's aggregates", () =>
    Effect.gen(function* () {
      const { dogs, train } = yield* kennel
      const meeting = yield* Deferred.make<void>()
      let arrived = 0
      const meet = Effect.suspend(() =>
        ++arrived >= 2 ? Deferred.succeed(meeting, undefined) : Deferred.await(meeting)
      )
      const visit = (from: typeof rex, to: typeof rex) =>
        dogs.execute(
          from,
          Dog.decide((dog) =>
            dog.tricks.includes(`from ${to}`)
              ? Dog.TrickAdded({ trick: "waved" })
              : Effect.as(Effect.andThen(meet, train(to, `from ${from}`)), Dog.TrickAdded({ trick: "visited" }))
          )
        )
      yield* Effect.all([visit(rex, max), visit(max, rex)], { concurrency: "unbounded" })
      for (const id of [rex, max]) assert.include((yield* dogs.get(id)).state.tricks.join(), "from")
    })
  )

  it.effect("that outlives its decision is like any other command", () =>
    Effect.gen(function* () {
      const { dogs, train } = yield* kennel
      const over = yield* Deferred.make<void>()
      const scope = yield* Effect.scope
      const later = Effect.andThen(Deferred.await(over), train(rex, "later"))
      let started: Fiber.Fiber<unknown, unknown> | undefined
      yield* dogs.execute(
        rex,
        Dog.decide(() =>
          Effect.gen(function* () {
            started = yield* Effect.forkIn(later, scope)
            return Dog.Rested()
          })
        )
      )
      yield* Deferred.succeed(over, undefined)
      if (started !== undefined) yield* Fiber.join(started)
      assert.deepInclude((yield* dogs.get(rex)).state, { tricks: ["later"] })
    })
  )

  it.effect("of another instance of repositories on the same log waits for its turn there", () =>
    Effect.gen(function* () {
      const { dogs, log } = yield* kennel
      const there = (yield* open(log)).repository.of(Dog)
      let rounds = 0
      yield* dogs.execute(
        rex,
        Dog.decide((dog) =>
          ++rounds > 1
            ? Dog.TrickAdded({ trick: `after ${dog.tricks.join()}` })
            : Effect.as(there.execute(rex, Dog.TrickAdded({ trick: "there" })), Dog.Rested())
        )
      )
      assert.deepInclude((yield* dogs.get(rex)).state, { tricks: ["there", "after there"] })
    })
  )

  it.effect("that waits for long, while a decision may wait for it, is logged", () =>
    Effect.gen(function* () {
      const { dogs, train } = yield* kennel
      const logs = capturingLogs()
      const go = yield* Deferred.make<void>()
      // like through a promise: nothing shows that one waits for the other
      const outer = yield* Effect.forkChild(
        dogs.execute(
          rex,
          Dog.decide(() => Effect.as(Deferred.await(go), Dog.Rested()))
        )
      )
      yield* Effect.yieldNow
      const inner = yield* Effect.forkChild(Effect.provide(train(rex, "sit"), logs.layer))
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(logs.lines, [])
      yield* TestClock.adjust("1 second")
      assert.include(logs.lines.join(), 'Warn: a command on "Dog-rex" has waited 10 seconds for those before it')
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(outer)
      assert.deepInclude(yield* Fiber.join(inner), { version: 2 })
    })
  )

  it.effect("can read the decision's own aggregate", () =>
    Effect.gen(function* () {
      const { dogs } = yield* kennel
      const named = Dog.decide(() => Effect.map(dogs.get(rex), ({ state }) => Dog.TrickAdded({ trick: state.name })))
      assert.deepInclude((yield* dogs.execute(rex, named)).state, { tricks: ["rex"] })
    })
  )
})
