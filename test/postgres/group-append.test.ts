/** How appends are put together into calls: with a server that answers each call when it is told to. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Effect, Fiber } from "effect"
import { Position, StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing"
import type { Answer } from "../../src/postgres/appends.ts"
import * as GroupAppend from "../../src/postgres/groupAppend.ts"
import type { Request } from "../../src/postgres/parameters.ts"

const request = (of: string): Request => ({
  parts: [{ stream: StreamName.StreamName.make(`Dog-${of}`), expected: "NoStream", events: storedEvents(1) }]
})

interface Call {
  readonly size: number
  /** Answers it, there and then. */
  readonly answer: () => void
}

const openGroup = Effect.gen(function* () {
  const calls: Array<Call> = []
  const append = yield* GroupAppend.make((requests) =>
    Effect.callback<ReadonlyArray<Answer>>((resume) => {
      const answers = requests.map(() => Effect.succeed({ position: Position.Position.make(1n), isRepeated: false }))
      calls.push({ size: requests.length, answer: () => resume(Effect.succeed(answers)) })
    })
  )
  /** Forks a caller that appends so often, each time when it is answered. */
  const caller = (of: string, times: number) =>
    Effect.forEach(Arr.range(1, times), () => append(request(of)), { discard: true }).pipe(
      Effect.forkDetach({ startImmediately: true })
    )
  return { append, calls, caller }
})

/** Turns of the event loop: whoever is ready goes on. */
const turns = Effect.forEach(Arr.range(1, 5), () => Effect.yieldNow, { discard: true })

describe("the next call", () => {
  it.effect("has begun when its caller was answered and came straight back", () =>
    Effect.gen(function* () {
      const { calls, caller } = yield* openGroup
      yield* caller("a", 100)
      for (let n = 1; n < 100; n++) {
        assert.strictEqual(calls.length, n)
        calls[n - 1]?.answer()
      }
      assert.isTrue(calls.every(({ size }) => size === 1))
    })
  )

  it.effect("has begun when all of its callers came straight back, and waits a turn for those who did not", () =>
    Effect.gen(function* () {
      const { calls, caller } = yield* openGroup
      for (let n = 0; n < 3; n++) yield* caller(`often-${n}`, 100)
      yield* caller("twice", 2)
      const sizes = () => calls.map(({ size }) => size)
      // the first two have calls of their own, and whoever comes meanwhile goes along in the next
      assert.deepStrictEqual(sizes(), [1, 1])
      calls[0]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3])
      calls[2]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3])
      // the one that appends twice does not come again
      calls[3]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3])
      yield* turns
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3, 2])
    })
  )

  it.effect("is not made for those who have gone", () =>
    Effect.gen(function* () {
      const { append, calls, caller } = yield* openGroup
      yield* caller("a", 1)
      yield* caller("b", 1)
      const waiting = yield* Effect.forkDetach(append(request("c")), { startImmediately: true })
      yield* Fiber.interrupt(waiting)
      for (const { answer } of [...calls]) answer()
      yield* turns
      assert.strictEqual(calls.length, 2)
      yield* caller("d", 1)
      assert.strictEqual(calls.length, 3)
    })
  )
})

describe("two calls under way", () => {
  it.effect("share what comes in halves, however they began", () =>
    Effect.gen(function* () {
      const { calls, caller } = yield* openGroup
      for (let n = 0; n < 64; n++) yield* caller(`${n}`, 30)
      for (let answered = 0; answered < calls.length && answered < 40; answered++) {
        yield* turns
        calls[answered]?.answer()
      }
      assert.deepStrictEqual(
        calls.slice(6, 40).map(({ size }) => size),
        Arr.makeBy(34, () => 32)
      )
    })
  )
})
