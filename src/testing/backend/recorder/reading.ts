import { assert } from "@effect/vitest"
import { Array as Arr, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Position } from "../../../Position.ts"
import type { Direction, Filter } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import * as StreamName from "../../../StreamName.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent, storedEvents } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { ids, places, readLog, readOrderlyLog, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"

const directions: ReadonlyArray<Direction> = ["forward", "backward"]

/** Types that an inexact comparison (a prefix, a pattern, ignoring case) would confuse. */
const types: NonEmptyReadonlyArray<string> = [
  "Dog.Named",
  ...["Dog_Named", "Dog-Named", "Dog:Named", "DogXNamed", "dog.named", "DOG.NAMED"],
  ...["Dog.Name", "Dog.Named2", "Dog.Named.Again", "BigDog.Named", "Dog.", "Dog", "Named"]
]

/** Streams whose categories an inexact comparison would confuse. */
const streams = [
  ...["Dog-1", "Dog-2", "Dog-1-2", "Dog--1", "Dog-1-", "Dog--", "Dog-Cat-1", "Dog-é"],
  ...["Dogs-1", "Do-1", "Dog.-1", "Dog.x-1", "Dog,x-1", "Dog -1", " Dog-1", "Dog!-1", "Dog\t-1", "Dog/-1"],
  ...["dog-1", "DOG-1", "D_g-1", "D%g-1", "Do%-1", "D.g-1", "Dog.*-1", "[Dog]-1", "^Dog-1", "Dog|Cat-1", "Dog\\-1"],
  ...["Cat-1", "Cat-Dog-1", "Dög-1", "Do\u0308g-1", "Dögs-1", "\u{1f436}-1", "\u{1f436}\u{1f436}-1", "'-1", '"-1']
].map(stream)

/** Reading pages of a stream and of the total order. */
export const readingTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  test("a stream is read with after, upTo and limit, in both directions", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: stream("Dog-re"), expected: "NoStream", events: storedEvents(3) })
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(4) })
      yield* recorder.append({ stream: stream("Dog-rexx"), expected: "NoStream", events: storedEvents(3) })
      const bounds = [undefined, -1, 0, 1, 3, 4, 100]
      for (const direction of directions) {
        for (const after of bounds) {
          for (const upTo of bounds) {
            for (const limit of [0, 1, 4, 1000]) {
              const page = yield* recorder.readStream({ stream: rex, direction, after, upTo, limit })
              const expected = within([0, 1, 2, 3], direction, after, upTo).slice(0, limit)
              const read = `${direction} after ${after} up to ${upTo}, at most ${limit}`
              assert.deepStrictEqual(
                page.map(({ version }) => version),
                expected,
                read
              )
            }
          }
        }
      }
    }))

  test("the total order is read with after, upTo and limit, in both directions", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(2) })
      yield* recorder.append({ stream: stream("Cat-tom"), expected: "NoStream", events: storedEvents(1) })
      yield* recorder.append({ stream: rex, expected: 1, events: storedEvents(2) })
      const positions = (yield* readOrderlyLog(recorder)).map(({ position }) => position)
      assert.strictEqual(positions.length, 5)
      const bounds: ReadonlyArray<Position | undefined> = [undefined, ...positions]
      for (const direction of directions) {
        for (const after of bounds) {
          for (const upTo of bounds) {
            for (const limit of [0, 1, 5, 1000]) {
              const page = yield* recorder.readAll({ direction, after, upTo, limit })
              const expected = within(positions, direction, after, upTo).slice(0, limit)
              const read = `${direction} after ${after} up to ${upTo}, at most ${limit}`
              assert.deepStrictEqual(
                page.map(({ position }) => position),
                expected,
                read
              )
            }
          }
        }
      }
    }))

  test("G4 pages of any size, in both directions, contain each event once", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      for (let i = 0; i < 4; i++) {
        for (const name of ["Dog-rex", "Dog-fido", "Cat-tom"].map(stream)) {
          const events = storedEvents(3, { type: i % 2 === 0 ? "Dog.Even" : "Dog.Odd" })
          yield* recorder.append({ stream: name, expected: i === 0 ? "NoStream" : i * 3 - 1, events })
        }
      }
      const log = yield* readOrderlyLog(recorder)
      const filters: ReadonlyArray<[Filter | undefined, typeof log]> = [
        [undefined, log],
        [{}, log],
        [{ types: ["Dog.Odd"] }, log.filter(({ type }) => type === "Dog.Odd")],
        [{ categories: ["Dog"] }, log.filter(({ stream }) => stream.startsWith("Dog-"))]
      ]
      for (const [filter, matching] of filters) {
        for (const limit of [1, 7, 35, 36, 37]) {
          assert.deepStrictEqual(places(yield* readLog(recorder, { filter, limit })), places(matching))
          const backward = yield* readLog(recorder, { filter, limit, direction: "backward" })
          assert.deepStrictEqual(places(backward), places(matching.toReversed()))
        }
      }
      for (const limit of [1, 2, 7, 11, 12, 13]) {
        const whole = log.filter(({ stream }) => stream === rex)
        const backward: Array<(typeof whole)[number]> = []
        while (true) {
          const after = backward[backward.length - 1]?.version
          const page = yield* recorder.readStream({ stream: rex, direction: "backward", after, limit })
          backward.push(...page)
          if (page.length < limit) break
        }
        assert.deepStrictEqual(places(backward), places(whole.toReversed()))
      }
    }))

  test("a filter on types selects exactly these", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const events = Arr.map(types, (type) => storedEvent({ type }))
      yield* recorder.append({
        stream: rex,
        expected: "NoStream",
        events
      })
      const read = (filter: Filter) => Effect.map(readLog(recorder, { filter, limit: 3 }), ids)
      for (const { type, id } of events) assert.deepStrictEqual(yield* read({ types: [type] }), [id], type)
      const some = ["Named", "Dog.Named", "Dog.Unknown", "dog.named"]
      assert.deepStrictEqual(yield* read({ types: some }), ids(events.filter(({ type }) => some.includes(type))))
      assert.deepStrictEqual(yield* read({ types }), ids(events))
      for (const none of [[], ["Dog.%"], ["Dog.*"], [""], ["Dog.Unknown"]]) {
        assert.deepStrictEqual(yield* read({ types: none }), [], JSON.stringify(none))
      }
      const many = Arr.makeBy(300, (n) => `Cat.Event${n}`)
      assert.deepStrictEqual(yield* read({ types: [...many, "Named"] }), ids(events.slice(-1)))
    }))

  test("a filter on categories selects exactly these, by reading and by following", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      for (const name of streams) {
        yield* recorder.append({ stream: name, expected: "NoStream", events: [storedEvent()] })
      }
      const byCategory = Map.groupBy(streams, StreamName.category)
      const read = (filter: Filter) =>
        Effect.map(readLog(recorder, { filter, limit: 3 }), (log) => log.map(({ stream }) => stream))
      for (const [category, names] of byCategory) {
        assert.deepStrictEqual(yield* read({ categories: [category] }), names, category)
        const follower = yield* startFollower(recorder, { filter: { categories: [category] } })
        yield* follower.until(({ caughtUp }) => caughtUp)
        assert.deepStrictEqual(
          follower.notifications.map(({ stream }) => stream),
          names,
          category
        )
      }
      const some = ["Cat", "Dog", "Unknown", "\u{1f436}"]
      const ofSome = streams.filter((name) => some.includes(StreamName.category(name)))
      assert.deepStrictEqual(yield* read({ categories: some }), ofSome)
      assert.deepStrictEqual(yield* read({ categories: [...byCategory.keys()] }), streams)
      for (const none of [[], ["D%"], ["D*"], ["Unknown"], ["Dog-1"], ["Dog-"]]) {
        assert.deepStrictEqual(yield* read({ categories: none }), [], JSON.stringify(none))
      }
      const many = Arr.makeBy(300, (n) => `Category${n}`)
      assert.deepStrictEqual(yield* read({ categories: [...many, "Dogs"] }), byCategory.get("Dogs"))
    }))

  test("a filter on types and categories selects events that match both", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [named, renamed] = ["Named", "Renamed"]
      for (const name of ["Dog-1", "Cat-1", "Dog-2", "Cow-1"].map(stream)) {
        const events = [storedEvent({ type: named }), storedEvent({ type: renamed })] as const
        yield* recorder.append({ stream: name, expected: "NoStream", events })
      }
      const read = (filter: Filter, direction: Direction = "forward") =>
        Effect.map(recorder.readAll({ filter, direction, limit: 10 }), (page) =>
          page.map(({ stream, version }) => `${stream}@${version}`)
        )
      const categories = ["Dog", "Cow"]
      assert.deepStrictEqual(yield* read({ categories, types: [named] }), ["Dog-1@0", "Dog-2@0", "Cow-1@0"])
      assert.deepStrictEqual(yield* read({ categories, types: [renamed] }, "backward"), [
        "Cow-1@1",
        "Dog-2@1",
        "Dog-1@1"
      ])
      assert.deepStrictEqual(yield* read({ categories, types: [] }), [])
      assert.deepStrictEqual(yield* read({ categories: [], types: [named] }), [])
      const [first, second] = yield* recorder.readAll({ filter: { categories, types: [named] }, limit: 2 })
      const rest = yield* recorder.readAll({ filter: { types: [named] }, after: first?.position, limit: 1 })
      assert.deepStrictEqual(
        rest.map(({ stream }) => stream),
        [stream("Cat-1")]
      )
      const upTo = yield* recorder.readAll({ filter: { types: [renamed] }, upTo: second?.position, limit: 10 })
      assert.deepStrictEqual(
        upTo.map(({ stream }) => stream),
        [stream("Dog-1"), stream("Cat-1")]
      )
    }))
}

const within = <A extends number | bigint>(
  ascending: ReadonlyArray<A>,
  direction: Direction,
  after: A | undefined,
  upTo: A | undefined
): ReadonlyArray<A> =>
  direction === "forward"
    ? ascending.filter((n) => (after === undefined || n > after) && (upTo === undefined || n <= upTo))
    : ascending.filter((n) => (after === undefined || n < after) && (upTo === undefined || n >= upTo)).toReversed()
