import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, References } from "effect"
import * as KeyedLock from "../../../src/internal/concurrency/keyedLock.ts"

describe("KeyedLock", () => {
  it.effect("admits one at a time, in the order of arrival", () =>
    Effect.gen(function* () {
      const { withLock } = KeyedLock.make()
      const order: Array<number> = []
      let inside = 0
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, i) => i),
        (i) =>
          withLock("a")(
            Effect.gen(function* () {
              assert.strictEqual(++inside, 1)
              yield* Effect.yieldNow
              order.push(i)
              inside--
            })
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        order,
        Array.from({ length: 200 }, (_, i) => i)
      )
    })
  )

  it.effect("admits those with other keys", () =>
    Effect.gen(function* () {
      const { withLock } = KeyedLock.make()
      const holding = yield* Effect.forkChild(withLock("a")(Effect.never), { startImmediately: true })
      assert.strictEqual(yield* withLock("b")(Effect.succeed(1)), 1)
      yield* Fiber.interrupt(holding)
      assert.strictEqual(yield* withLock("a")(Effect.succeed(2)), 2)
    })
  )

  it.effect.each([
    ["fails", Effect.fail("no")],
    ["dies", Effect.die(new Error("a bug"))],
    ["is interrupted", Effect.interrupt]
  ] as const)("is free again when its holder %s", ([, effect]) =>
    Effect.gen(function* () {
      const { withLock } = KeyedLock.make()
      const waiting = yield* Effect.forkChild(withLock("a")(Effect.andThen(Effect.yieldNow, Effect.succeed(1))))
      const exit = yield* Effect.exit(withLock("a")(effect))
      assert.isTrue(Exit.isFailure(exit))
      assert.strictEqual(yield* Fiber.join(waiting), 1)
      assert.strictEqual(yield* withLock("a")(Effect.succeed(2)), 2)
    })
  )

  it.effect("forgets one that stops waiting", () =>
    Effect.gen(function* () {
      const { withLock } = KeyedLock.make()
      const leave = yield* Deferred.make<void>()
      const entered: Array<string> = []
      const enter = (name: string) =>
        Effect.forkChild(withLock("a")(Effect.sync(() => entered.push(name))), { startImmediately: true })
      const first = yield* Effect.forkChild(withLock("a")(Deferred.await(leave)), { startImmediately: true })
      yield* enter("b")
      const impatient = yield* enter("c")
      yield* enter("d")
      yield* Fiber.interrupt(impatient)
      yield* Deferred.succeed(leave, undefined)
      yield* Fiber.join(first)
      yield* withLock("a")(Effect.void)
      assert.deepStrictEqual(entered, ["b", "d"])
    })
  )

  /** Whether an effect ends while others run; if not, it waits forever. */
  const ends = (effect: Effect.Effect<unknown>) =>
    Effect.race(Effect.as(effect, true), Effect.as(Effect.replicateEffect(Effect.yieldNow, 200), false))

  // a fiber yields when its budget of steps is used up, which may be between any two steps of the lock
  it.effect("wakes a fiber that yielded just before it began to wait, at any step", () =>
    Effect.gen(function* () {
      const budget = 16
      for (let steps = 0; steps < 2 * budget; steps++) {
        const { withLock } = KeyedLock.make()
        const holder = yield* Effect.forkChild(withLock("a")(Effect.yieldNow), { startImmediately: true })
        const late = Effect.andThen(
          Effect.replicateEffect(
            Effect.sync(() => 0),
            steps
          ),
          withLock("a")(Effect.void)
        )
        const waiter = yield* Effect.forkChild(Effect.provideService(late, References.MaxOpsBeforeYield, budget), {
          startImmediately: true
        })
        assert.isTrue(yield* ends(Fiber.awaitAll([holder, waiter])), `after ${steps} steps`)
      }
    })
  )

  it.effect("G10 is never stuck without a holder and forgets no waiter, wherever two of four are interrupted", () =>
    Effect.gen(function* () {
      const times = (count: number) => Array.from({ length: count }, (_, i) => i)
      // with a budget of fewer than three steps no fiber would ever make progress
      for (const budget of [3, 4, 5, 7]) {
        for (const [first, second, who] of times(12).flatMap((a) =>
          [0, 2, 5, 8, 10].flatMap((b) => times(3).map((c) => [a, b, c] as const))
        )) {
          const { withLock } = KeyedLock.make()
          let inside = 0
          let most = 0
          const work = Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++inside)
            }),
            () => Effect.yieldNow,
            () => Effect.sync(() => inside--)
          )
          const fibers = yield* Effect.forEach(times(4), () =>
            Effect.forkChild(Effect.provideService(withLock("a")(work), References.MaxOpsBeforeYield, budget))
          )
          yield* Effect.replicateEffect(Effect.yieldNow, first)
          fibers[who]?.interruptUnsafe()
          yield* Effect.replicateEffect(Effect.yieldNow, second)
          fibers[(who + 1) % 3]?.interruptUnsafe()
          const moment = JSON.stringify({ budget, first, second, who })
          assert.isTrue(yield* ends(Fiber.awaitAll(fibers)), `a waiter was forgotten: ${moment}`)
          assert.isTrue(yield* ends(withLock("a")(Effect.void)), `it is still held: ${moment}`)
          assert.isAtMost(most, 1)
        }
      }
    })
  )
})
