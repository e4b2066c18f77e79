import { assert } from "@effect/vitest"
import { Array as Arr, Context, Deferred, Effect, Stream } from "effect"
import { fromStorage } from "../../../Position.ts"
import type { Filter, FollowState } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent, storedEvents } from "../events.ts"
import { hasReached, startFollower } from "../internal/follower.ts"
import { ids, places, readLog, readOrderlyLog, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"

/** Following the total order. */
export const followingTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  test("a follower of an empty log is notified that it has caught up, and receives new events", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const follower = yield* startFollower(Context.get(yield* connect, Recorder))
      yield* follower.until(({ caughtUp }) => caughtUp)
      assert.deepStrictEqual([follower.position, follower.notifications], [undefined, []])
      const events = storedEvents(3)
      const { position } = yield* recorder.append({ stream: rex, expected: "NoStream", events })
      yield* follower.until((progress) => progress.position === position)
      assert.deepStrictEqual(ids(follower.notifications), ids(events))
      assert.isTrue(follower.caughtUp)
    }))

  test("G12 a follower reports whether it is catching up or live, and its position", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const first = yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(3) })
      const states: Array<FollowState> = []
      const onState = (state: FollowState) => Effect.sync(() => states.push(state))
      const follower = yield* startFollower(recorder, { onState })
      yield* follower.until(({ caughtUp }) => caughtUp)
      assert.deepStrictEqual(states.at(0), { _tag: "CatchingUp", position: undefined })
      assert.deepStrictEqual(states.at(-1), { _tag: "Live", position: first.position })
      const { position } = yield* recorder.append({ stream: rex, expected: 2, events: storedEvents(2) })
      yield* follower.until((progress) => progress.position === position)
      assert.deepStrictEqual(states.at(-1), { _tag: "Live", position })
    }))

  test("a follower begins at the start, or after the given position", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(4) })
      const log = yield* readOrderlyLog(recorder)
      const starts = [undefined, ...log.map(({ position }) => position)]
      const followers = yield* Effect.forEach(starts, (after) => startFollower(recorder, { after }))
      const head = log.at(-1)?.position
      for (const follower of followers) yield* follower.until(({ caughtUp, position }) => caughtUp && position === head)
      const { position } = yield* recorder.append({ stream: rex, expected: 3, events: storedEvents(2) })
      const whole = yield* readLog(recorder)
      for (const [i, follower] of followers.entries()) {
        yield* follower.until((progress) => progress.position === position)
        assert.deepStrictEqual(places(follower.notifications), places(whole.slice(i)))
      }
    }))

  test("G3 a follower from a position beyond the head is refused, with both positions", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const beyond = fromStorage(1n << 50n)
      const refused = Effect.flip(Stream.runDrain(recorder.follow({ after: beyond })))
      assert.deepInclude(yield* refused, { _tag: "PositionBeyondHead", from: beyond, head: undefined })
      const { position } = yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(2) })
      const error = yield* refused
      assert.deepInclude(error, { _tag: "PositionBeyondHead", from: beyond, head: position })
      assert.include(error.message, `${beyond}`)
      assert.include(error.message, `${position}`)
      const filtered = recorder.follow({ after: beyond, filter: { categories: ["Dog"] } })
      assert.deepInclude(yield* Effect.flip(Stream.runDrain(filtered)), { _tag: "PositionBeyondHead", from: beyond })
    }))

  test("a follower has caught up when it has reached the end, and not before", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const filters: ReadonlyArray<Filter | undefined> = [undefined, { types: ["Even"] }, { categories: ["Dog"] }]
      let count = 0
      // the first count is a multiple of many page sizes, so that the last page is full; the second is of other sizes
      for (const total of [5120, 6000]) {
        for (; count < total; count += 40) {
          const [name, type] = (count / 40) % 2 === 0 ? [`Dog-${count}`, "Even"] : [`Cat-${count}`, "Odd"]
          yield* recorder.append({ stream: stream(name), expected: "NoStream", events: storedEvents(40, { type }) })
        }
        const head = yield* recorder.head
        for (const filter of filters) {
          const follower = yield* startFollower(recorder, { filter })
          yield* follower.until(({ caughtUp }) => caughtUp)
          for (const { caughtUp, position } of follower.batches) {
            assert.isTrue(!caughtUp || hasReached({ position }, head), `caught up at ${position} of ${head}`)
          }
          assert.deepStrictEqual(places(follower.notifications), places(yield* readLog(recorder, { filter })))
          assert.isAbove(follower.batches.length, 1, "the log came in pieces")
        }
      }
    }))

  test("G3 followers receive each event once and in order, across the switch from old events to new ones", ({
    connect
  }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const other = Context.get(yield* connect, Recorder)
      const appendTo = (n: number, of: Recorder["Service"]) =>
        of.append({ stream: stream(`Dog-${n}`), expected: "NoStream", events: storedEvents(20) })
      yield* Effect.forEach(Arr.range(1, 50), (n) => appendTo(n, recorder), { concurrency: 8, discard: true })
      const middle = yield* recorder.head

      const writing = Effect.forEach(
        Arr.range(51, 200),
        (n) => Effect.andThen(Effect.yieldNow, appendTo(n, n % 2 === 0 ? recorder : other)),
        { concurrency: 4, discard: true }
      )
      // each starts at another moment of the writing, so that the switch to live events happens during it
      const following = Effect.forEach(Arr.range(0, 5), (n) =>
        Effect.gen(function* () {
          for (let i = 0; i < n * 20; i++) yield* Effect.yieldNow
          return yield* startFollower(n % 2 === 0 ? recorder : other, n < 3 ? {} : { after: middle })
        })
      )
      const [followers] = yield* Effect.all([following, writing], { concurrency: "unbounded" })
      const log = yield* readOrderlyLog(recorder)
      assert.strictEqual(log.length, 4000)
      for (const [n, follower] of followers.entries()) {
        yield* follower.until(({ position }) => position === log.at(-1)?.position)
        assert.deepStrictEqual(places(follower.notifications), places(n < 3 ? log : log.slice(1000)))
      }
    }))

  test("G3 a follower keeps up with 400 appends of one event, concurrent and one after another", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const follower = yield* startFollower(Context.get(yield* connect, Recorder))
      const appendTo = (n: number) =>
        recorder.append({ stream: stream(`Dog-${n}`), expected: "NoStream", events: storedEvents(1) })
      yield* Effect.forEach(Arr.range(1, 300), appendTo, { concurrency: "unbounded", discard: true })
      yield* follower.until(({ notifications }) => notifications.length >= 300)
      for (const n of Arr.range(301, 400)) {
        const { position } = yield* appendTo(n)
        if (n % 25 === 0) yield* follower.until((progress) => progress.position === position)
      }
      assert.deepStrictEqual(places(follower.notifications), places(yield* readOrderlyLog(recorder)))
    }))

  test("a follower with a filter receives the matching events, and is notified of its position after the others", ({
    connect
  }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const append = (name: string, type: string, count = 1) =>
        recorder.append({ stream: stream(name), expected: "NoStream", events: storedEvents(count, { type }) })
      yield* append("Dog-1", "Named")
      yield* append("Cat-1", "Named", 700)

      const dogs = yield* startFollower(recorder, { filter: { categories: ["Dog"] } })
      const renamed = yield* startFollower(Context.get(yield* connect, Recorder), { filter: { types: ["Renamed"] } })
      const quiet = yield* recorder.head
      for (const follower of [dogs, renamed]) {
        yield* follower.until((progress) => progress.caughtUp && hasReached(progress, quiet))
      }
      assert.deepStrictEqual([dogs.notifications.length, renamed.notifications.length], [1, 0])

      // live, and the log is quiet again afterwards: only the position shows that there was an event
      const { position } = yield* append("Cat-2", "Named")
      for (const follower of [dogs, renamed]) yield* follower.untilReached(position)
      assert.deepStrictEqual([dogs.notifications.length, renamed.notifications.length], [1, 0])

      yield* append("Dog-2", "Named")
      const last = yield* append("Dog-3", "Renamed")
      for (const follower of [dogs, renamed]) yield* follower.untilReached(last.position)
      assert.deepStrictEqual(
        dogs.notifications.map(({ stream }) => `${stream}`),
        ["Dog-1", "Dog-2", "Dog-3"]
      )
      assert.deepStrictEqual(
        renamed.notifications.map(({ stream }) => `${stream}`),
        ["Dog-3"]
      )
    }))

  test("G3 filtered followers of a log under load receive each of their events once", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const other = Context.get(yield* connect, Recorder)
      const types = ["Named", "Renamed", "Fed"]
      const followers = yield* Effect.forEach(types, (type) => startFollower(other, { filter: { types: [type] } }))
      const write = (n: number) =>
        recorder.append({
          stream: stream(`Dog-${n}`),
          expected: "NoStream",
          events: Arr.map(storedEvents(7), (event, i) => ({ ...event, type: types[(n + i) % 3]! }))
        })
      yield* Effect.forEach(Arr.range(1, 200), write, { concurrency: 8, discard: true })
      const log = yield* readOrderlyLog(recorder)
      for (const [i, follower] of followers.entries()) {
        yield* follower.untilReached(log.at(-1)?.position)
        assert.deepStrictEqual(places(follower.notifications), places(log.filter(({ type }) => type === types[i])))
      }
    }))

  test("a slow follower delays neither appends nor other followers, and misses nothing", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const released = yield* Deferred.make<void>()
      const slow = yield* startFollower(recorder, {}, { beforeEach: Deferred.await(released) })
      const quick = yield* startFollower(recorder)
      for (let i = 0; i < 100; i++) {
        yield* recorder.append({ stream: stream(`Dog-${i}`), expected: "NoStream", events: storedEvents(50) })
      }
      const head = yield* recorder.head
      yield* quick.until(({ position }) => position === head)
      assert.strictEqual(slow.batches.length, 0)
      yield* Deferred.succeed(released, undefined)
      yield* slow.until(({ position }) => position === head)
      assert.deepStrictEqual(places(slow.notifications), places(quick.notifications))
      assert.strictEqual(slow.notifications.length, 5000)
    }))

  test("many followers can follow one log at once", ({ connect }) =>
    Effect.gen(function* () {
      const recorders = [yield* Recorder, Context.get(yield* connect, Recorder)]
      const [recorder] = recorders
      yield* recorder!.append({ stream: rex, expected: "NoStream", events: storedEvents(50) })
      // more than any pool of connections holds
      const followers = yield* Effect.forEach(Arr.range(0, 99), (n) => startFollower(recorders[n % 2]!))
      for (const follower of followers) yield* follower.until(({ caughtUp }) => caughtUp)
      const { position } = yield* recorder!.append({ stream: rex, expected: 49, events: storedEvents(50) })
      const whole = ids(yield* readLog(recorder!))
      for (const follower of followers) {
        yield* follower.until((progress) => progress.position === position)
        assert.deepStrictEqual(ids(follower.notifications), whole)
      }
    }))

  test("a follower may append to the log that it follows", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: [storedEvent()] })
      const echoed = yield* recorder.follow({}).pipe(
        Stream.map((batch) => batch.notifications),
        Stream.flattenIterable,
        Stream.tap(({ version }) => recorder.append({ stream: rex, expected: version, events: [storedEvent()] })),
        Stream.take(100),
        Stream.runCollect
      )
      assert.deepStrictEqual(
        echoed.map(({ version }) => version),
        Arr.range(0, 99)
      )
    }))

  test("a follower that stops midway takes no more events, and the next one continues from there", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(10) })
      const log = yield* readOrderlyLog(recorder)
      const take = (count: number, after?: (typeof log)[number]) =>
        recorder.follow({ after: after?.position }).pipe(
          Stream.map((batch) => batch.notifications),
          Stream.flattenIterable,
          Stream.take(count),
          Stream.runCollect
        )
      const first = yield* take(4)
      assert.deepStrictEqual(places(first), places(log.slice(0, 4)))
      assert.deepStrictEqual(places(yield* take(6, first.at(-1))), places(log.slice(4)))
      assert.deepStrictEqual(yield* take(0), [])
    }))
}
