/** How appends are combined into calls: with a server that ends each call when the test says so. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Cause, Effect, Exit, Fiber, Scheduler } from "effect"
import { EventSourcingError, Position, StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import type { AppendOutcome } from "../../src/postgres/appends.ts"
import * as GroupAppend from "../../src/postgres/groupAppend.ts"
import type { Request } from "../../src/postgres/parameters.ts"
import { uncaught } from "../support/uncaughtError.ts"

const request = (of: string): Request => ({
  parts: [{ stream: StreamName.StreamName.make(`Dog-${of}`), expected: "NoStream", events: storedEvents(1) }]
})

interface Call {
  readonly size: number
  /** Ends it synchronously. */
  readonly end: (exit: Exit.Exit<unknown, RecorderError>) => void
  /** Ends it with every append recorded. */
  readonly answer: () => void
}

const openGroup = Effect.gen(function* () {
  const calls: Array<Call> = []
  const append = yield* GroupAppend.make((requests) =>
    Effect.callback<ReadonlyArray<AppendOutcome>, RecorderError>((resume) => {
      const answers = requests.map(() => Effect.succeed({ position: Position.Position.make(1n), isRepeated: false }))
      const end: Call["end"] = (exit) => resume(Exit.map(exit, () => answers))
      calls.push({ size: requests.length, end, answer: () => end(Exit.void) })
    })
  )
  /** Forks a caller that appends this many times, each time after the last one has ended. */
  const caller = (of: string, times: number) =>
    Effect.forEach(Arr.range(1, times), () => append(request(of)), { discard: true }).pipe(
      Effect.forkDetach({ startImmediately: true })
    )
  return { append, calls, caller }
})

type RecorderError = EventSourcingError.RecorderError

/** Turns of the event loop: fibers that are ready continue. */
const turns = Effect.forEach(Arr.range(1, 5), () => Effect.yieldNow, { discard: true })

describe("the next call", () => {
  it.effect("has begun when its caller has its result and appends again at once", () =>
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

  it.effect("has begun when all of its callers append again at once, and waits a turn for those that do not", () =>
    Effect.gen(function* () {
      const { calls, caller } = yield* openGroup
      for (let n = 0; n < 3; n++) yield* caller(`often-${n}`, 100)
      yield* caller("twice", 2)
      const sizes = () => calls.map(({ size }) => size)
      // the first two have calls of their own, and appends that arrive meanwhile share the next
      assert.deepStrictEqual(sizes(), [1, 1])
      calls[0]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3])
      calls[2]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3])
      // the fiber that appends twice has no more to append
      calls[3]?.answer()
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3])
      yield* turns
      assert.deepStrictEqual(sizes(), [1, 1, 3, 3, 2])
    })
  )

  it.effect("is not made for interrupted callers", () =>
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

describe("two concurrent calls", () => {
  it.effect("share new appends equally, however they began", () =>
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

describe("an append whose caller is interrupted after it was sent", () => {
  it.effect("ends when it has its result, wherever its fiber yields to others", () =>
    Effect.gen(function* () {
      const { append, calls } = yield* openGroup
      for (let ops = 3; ops < 40; ops++) {
        const sent = yield* append(request(`${ops}`)).pipe(
          Effect.provideService(Scheduler.MaxOpsBeforeYield, ops),
          Effect.forkDetach({ startImmediately: true })
        )
        yield* turns
        sent.interruptUnsafe()
        calls.at(-1)?.answer()
        yield* turns
        yield* turns
        assert.isDefined(sent.pollUnsafe(), `after ${ops} steps`)
      }
    })
  )
})

describe("a call that fails", () => {
  const refused = Exit.fail(new EventSourcingError.RecorderFailure({ operation: "append", reason: "refused" }))

  it.effect("is sent again in halves, and a caller of one does not wait for the other", () =>
    Effect.gen(function* () {
      const { append, calls, caller } = yield* openGroup
      yield* caller("a", 1)
      yield* caller("b", 1)
      yield* caller("good", 2)
      const bad = yield* Effect.forkDetach(append(request("bad")), { startImmediately: true })
      calls[0]?.answer()
      calls[1]?.answer()
      yield* turns
      const sizes = () => calls.map(({ size }) => size)
      assert.deepStrictEqual(sizes(), [1, 1, 2])
      calls[2]?.end(refused)
      assert.deepStrictEqual(sizes(), [1, 1, 2, 1])
      calls[3]?.answer()
      yield* turns
      // the other half, and the second append of the caller whose first one succeeded
      assert.deepStrictEqual(sizes(), [1, 1, 2, 1, 1, 1])
      for (const { end } of calls.slice(4)) end(refused)
      assert.include(String(yield* Effect.flip(Fiber.join(bad))), "refused")
    })
  )

  it.effect("because its client was closed is unavailable, and is not sent again", () =>
    Effect.gen(function* () {
      const { append, calls, caller } = yield* openGroup
      yield* caller("a", 1)
      yield* caller("b", 1)
      const both = yield* Effect.forEach(["c", "d"], (of) =>
        Effect.forkDetach(Effect.flip(append(request(of))), { startImmediately: true })
      )
      calls[0]?.answer()
      calls[1]?.answer()
      yield* turns
      calls[2]?.end(Exit.failCause(Cause.interrupt(1)))
      for (const fiber of both) {
        const error = yield* Fiber.join(fiber)
        assert.deepInclude(error, { _tag: "RecorderUnavailable" })
        assert.include(error.message, "closed")
      }
      assert.strictEqual(calls.length, 3)
    })
  )
})

describe("a caller whose observer throws", () => {
  it.effect("does not keep the others from their results", () =>
    Effect.gen(function* () {
      const { append, calls, caller } = yield* openGroup
      yield* caller("a", 1)
      yield* caller("b", 1)
      const thrown = new Error("an observer's own")
      Effect.runCallback(append(request("throws")), {
        onExit: () => {
          throw thrown
        }
      })
      const other = yield* Effect.forkDetach(append(request("other")), { startImmediately: true })
      const told = yield* Effect.forkChild(uncaught, { startImmediately: true })
      calls[0]?.answer()
      calls[1]?.answer()
      yield* turns
      for (const { answer } of calls.slice(2)) answer()
      yield* Fiber.join(other)
      assert.strictEqual(yield* Fiber.join(told), thrown)
      // and the log continues to work
      yield* caller("c", 1)
      yield* caller("d", 1)
      yield* turns
      assert.strictEqual(
        calls.reduce((sum, { size }) => sum + size, 0),
        6
      )
    })
  )
})
