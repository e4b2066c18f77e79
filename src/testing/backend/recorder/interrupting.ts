import { assert } from "@effect/vitest"
import { Array as Arr, Cause, Context, Effect, Exit, Fiber, Scope } from "effect"
import type { Append } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { Backend } from "../Backend.ts"
import { storedEvents } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { interruptAfter } from "../internal/interrupting.ts"
import { ids, lastVersion, places, readLog, readOrderlyLog, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"

/** Interruption and closing: G10. */
export const interruptingTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  test("G10 an interrupted append is recorded completely or not at all, and the next one works", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      for (let round = 0; round < 40; round++) {
        const expected = yield* lastVersion(recorder, rex)
        const append: Append = { stream: rex, expected, events: storedEvents(3) }
        const exit = yield* interruptAfter(recorder.append(append), round % 20)
        // whatever its outcome was, sending it again settles it
        const answer = yield* recorder.append(append)
        assert.strictEqual(answer.version, round * 3 + 2)
        if (Exit.isSuccess(exit)) assert.deepStrictEqual({ ...exit.value }, { ...answer })
      }
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 120)
    }))

  test("G10 each of many appends that are interrupted under load is recorded completely or not at all", ({ connect }) =>
    Effect.gen(function* () {
      const recorders = [yield* Recorder, Context.get(yield* connect, Recorder)]
      const follower = yield* startFollower(recorders[1]!)
      const sent: Array<{ readonly append: Append; readonly answered: boolean }> = []
      const writer = (n: number) =>
        Effect.gen(function* () {
          const recorder = recorders[n % 2]!
          for (let round = 0; round < 20; round++) {
            const name = stream(`Dog-${(n + round) % 5}`)
            const append: Append = {
              stream: name,
              expected: yield* lastVersion(recorder, name),
              events: storedEvents(4)
            }
            // some moments later, or when another append that began with it has returned
            const neighbour = recorder.append({
              stream: stream(`Neighbour-${n}-${round}`),
              expected: "NoStream",
              events: storedEvents(1)
            })
            const exit = yield* interruptAfter(
              recorder.append(append),
              round % 4 === 3 ? neighbour : (n * 7 + round * 3) % 23
            )
            sent.push({ append, answered: Exit.isSuccess(exit) })
          }
        })
      yield* Effect.forEach(Arr.range(0, 11), writer, { concurrency: "unbounded", discard: true })
      const last = yield* recorders[0]!.append({ stream: rex, expected: "NoStream", events: storedEvents(1) })

      const log = yield* readOrderlyLog(recorders[0]!)
      const inLog = ids(log)
      for (const { append, answered } of sent) {
        const [first, ...others] = append.events
        const at = inLog.indexOf(first.id)
        if (at === -1) {
          assert.isFalse(answered, "an append that succeeded is in the log")
          for (const { id } of others) assert.notInclude(inLog, id)
        } else {
          assert.deepStrictEqual(inLog.slice(at, at + append.events.length), ids(append.events))
        }
      }
      yield* follower.until(({ position }) => position === last.position)
      assert.deepStrictEqual(places(follower.notifications), places(log))
    }))

  test("G10 interrupting some of many concurrent appends does not affect the others", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      for (let round = 0; round < 20; round++) {
        const fibers = yield* Effect.forEach(Arr.range(0, 19), (n) =>
          Effect.forkChild(
            recorder.append({ stream: stream(`Dog-${round}-${n}`), expected: "NoStream", events: storedEvents(2) }),
            { startImmediately: true }
          )
        )
        for (let turn = 0; turn < round % 4; turn++) yield* Effect.yieldNow
        const isUnlucky = (n: number) => (n + round) % 3 === 0
        yield* Fiber.interruptAll(fibers.filter((_, n) => isUnlucky(n)))
        const others = fibers.filter((_, n) => !isUnlucky(n))
        for (const { version } of yield* Fiber.joinAll(others)) assert.strictEqual(version, 1)
      }
      for (const [name, events] of Map.groupBy(yield* readOrderlyLog(recorder), (one) => one.stream)) {
        assert.strictEqual(events.length, 2, name)
      }
    }))

  test("G10 interrupted reads and followers leak nothing", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(100) })
      const uses = [
        recorder.readAll({ limit: 100 }),
        recorder.readStream({ stream: rex, limit: 100 }),
        recorder.head,
        Effect.scoped(Effect.flatMap(startFollower(recorder), ({ until }) => until(() => false)))
      ]
      // more of each, at each moment, than a pool of connections holds
      for (const moment of Arr.range(0, 4)) {
        const many = uses.flatMap((use) => Arr.replicate(interruptAfter(use, moment), 50))
        yield* Effect.all(many, { concurrency: "unbounded", discard: true })
      }
      const { position } = yield* recorder.append({ stream: rex, expected: 99, events: storedEvents(1) })
      const follower = yield* startFollower(recorder)
      yield* follower.until((progress) => progress.position === position)
      assert.deepStrictEqual(places(follower.notifications), places(yield* readLog(recorder)))
    }))

  test("G10 interrupting a follower ends it, both while it catches up and while it waits", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(2000) })
      const catchingUp = yield* startFollower(recorder)
      yield* Fiber.interrupt(catchingUp.fiber)
      const waiting = yield* startFollower(recorder)
      yield* waiting.until(({ caughtUp }) => caughtUp)
      yield* Fiber.interrupt(waiting.fiber)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(waiting.fiber)))
      const seen = waiting.notifications.length
      const { position } = yield* recorder.append({ stream: rex, expected: 1999, events: storedEvents(1) })
      const next = yield* startFollower(recorder, { after: waiting.position })
      yield* next.until((progress) => progress.position === position)
      assert.strictEqual(waiting.notifications.length, seen)
      assert.strictEqual(next.notifications.length, 1)
    }))

  test("G10 closing the scope of a follower ends it", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const scope = yield* Scope.make()
      const follower = yield* Scope.provide(startFollower(recorder), scope)
      yield* follower.until(({ caughtUp }) => caughtUp)
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(follower.fiber)))
      const next = yield* startFollower(recorder)
      const { position } = yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(1) })
      yield* next.until((progress) => progress.position === position)
      assert.strictEqual(follower.notifications.length, 0)
    }))

  test("G10 closing a connection in use ends its running operations, and does not affect other connections", ({
    connect
  }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const staying = yield* startFollower(recorder)
      const appends = Arr.makeBy(
        40,
        (n): Append => ({ stream: stream(`Dog-${n}`), expected: "NoStream", events: storedEvents(5) })
      )
      const outside = yield* Effect.scope
      const fibers = yield* Effect.scoped(
        Effect.gen(function* () {
          const leaving = Context.get(yield* connect, Recorder)
          const follower = yield* startFollower(leaving)
          yield* follower.until(({ caughtUp }) => caughtUp)
          yield* leaving.append({ stream: rex, expected: "NoStream", events: storedEvents(1) })
          const inside = yield* Effect.scope
          // calls from inside are interrupted before the connection closes, calls from outside find it closing
          return yield* Effect.forEach(appends, (append, n) =>
            Effect.forkIn(leaving.append(append), n % 2 === 0 ? inside : outside, { startImmediately: true })
          )
        })
      )
      const exits = yield* Effect.forEach(fibers, Fiber.await)
      // appends that returned are recorded; sending all of them again settles the others
      for (const [i, append] of appends.entries()) {
        const answer = yield* recorder.append(append)
        const exit = exits[i]!
        if (Exit.isSuccess(exit)) assert.deepStrictEqual({ ...exit.value }, { ...answer })
        else assert.isFalse(Cause.hasDies(exit.cause), "closing is not a defect")
      }
      const log = yield* readOrderlyLog(recorder)
      assert.strictEqual(log.length, 201)
      yield* staying.until(({ notifications }) => notifications.length >= log.length)
      assert.deepStrictEqual(places(staying.notifications), places(log))
    }))
}
