import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { EventSourcingError } from "effect-eventsourcing"
import { sizeOf, upToSize } from "../../src/internal/backend/pageSize.ts"
import { Counter } from "../support/dog.ts"
import type { Log } from "../support/memoryLog.ts"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")
const LENGTH = 10

const started = Effect.gen(function* () {
  const log = yield* makeLog
  const { store } = yield* open(log)
  const events = Array.from({ length: LENGTH }, (_, i) => (i === 0 ? Counter.Started() : Counter.Increased({ to: i })))
  yield* store.append(Counter, one, { expected: "NoStream", events })
  return log
})

/** A log that has these page settings, and records where pages begin. */
const paged = (log: Log, paging: Recorder.Paging, more: Partial<Recorder.Recorder["Service"]> = {}) => {
  const asked: Array<number | undefined> = []
  const recorded = withRecorder(log, (recorder) => ({
    paging,
    readStream: (read) =>
      Effect.suspend(() => {
        asked.push(read.after)
        return recorder.readStream(read)
      }),
    ...more
  }))
  return { log: recorded, asked }
}

describe("pages", () => {
  it.effect.each([1, 3, 5, 10, 11])("of %i events contain each event once, prefetched or not", (size) =>
    Effect.gen(function* () {
      const log = yield* started
      for (const ahead of [false, true]) {
        const { repository, store } = yield* open(paged(log, { size, ahead }).log)
        for (const direction of ["forward", "backward"] as const) {
          const versions = yield* Stream.runCollect(
            Stream.map(store.read(Counter, one, { direction }), ({ version }) => version)
          )
          const all = Array.from({ length: LENGTH }, (_, i) => i)
          assert.deepStrictEqual([...versions], direction === "forward" ? all : all.toReversed())
        }
        assert.strictEqual(yield* Stream.runCount(store.readAll([Counter])), LENGTH)
        assert.strictEqual((yield* repository.of(Counter).get(one)).version, LENGTH - 1)
        assert.strictEqual((yield* repository.of(Counter).get(one, { version: 5 })).version, 5)
      }
    })
  )

  it.effect.each([1, 30, 60, 100, 10_000])(
    "of %i bytes contain each event once, also if the last one has that size",
    (pageBytes) =>
      Effect.gen(function* () {
        const log = yield* started
        const sizes: Array<number> = []
        const counted = withRecorder(log, (recorder) => ({
          paging: { size: 4, ahead: true },
          readStream: (read) =>
            Effect.tap(recorder.readStream(read), (page) =>
              Effect.sync(() => {
                assert.strictEqual(read.maxBytes, pageBytes)
                sizes.push(page.slice(0, -1).reduce((sum, event) => sum + sizeOf(event), 0))
              })
            )
        }))
        const { repository, store } = yield* open(counted, { pageBytes })
        const all = Array.from({ length: LENGTH }, (_, i) => i)
        for (const direction of ["forward", "backward"] as const) {
          const expected = direction === "forward" ? all : all.toReversed()
          const ofStream = Stream.map(store.read(Counter, one, { direction }), ({ version }) => version)
          assert.deepStrictEqual([...(yield* Stream.runCollect(ofStream))], expected)
          const ofLog = Stream.map(store.readAll([Counter], { direction }), ({ version }) => version)
          assert.deepStrictEqual([...(yield* Stream.runCollect(ofLog))], expected)
        }
        assert.strictEqual((yield* repository.of(Counter).get(one)).version, LENGTH - 1)
        assert.strictEqual((yield* repository.of(Counter).get(one, { version: 5 })).version, 5)
        assert.isTrue(sizes.every((size) => size < pageBytes))
      })
  )

  it.effect("that end at their size do not end the stream: a missing event after one is noticed", () =>
    Effect.gen(function* () {
      const log = yield* started
      // pages that are cut for their size as if the lost events had never existed
      const lossy = withRecorder(log, (recorder) => ({
        readStream: ({ maxBytes, ...read }) =>
          Effect.map(recorder.readStream(read), (page) =>
            upToSize(
              page.filter(({ version }) => version !== 0 && version !== 7),
              maxBytes
            )
          )
      }))
      const { store } = yield* open(lossy, { pageBytes: 30 })
      const backward = yield* Effect.flip(
        Stream.runDrain(store.read(Counter, one, { direction: "backward", after: 7 }))
      )
      assert.match(backward.message, /event 0 is missing/)
      const forward = yield* Effect.flip(Stream.runDrain(store.read(Counter, one, { after: 4 })))
      assert.match(forward.message, /event 7 is missing/)
    })
  )

  it.effect("are 8 MiB unless an option says otherwise, which is a number of bytes", () =>
    Effect.gen(function* () {
      const log = yield* started
      const asked = new Set<number | undefined>()
      const { store } = yield* open(
        withRecorder(log, (recorder) => ({
          readStream: (read) =>
            Effect.suspend(() => {
              asked.add(read.maxBytes)
              return recorder.readStream(read)
            })
        }))
      )
      yield* Stream.runDrain(store.read(Counter, one))
      assert.deepStrictEqual([...asked], [8 * 1024 * 1024])
      for (const options of [{ pageBytes: 0 }, { pageBytes: Number.NaN }, { tailBytes: -1 }]) {
        const exit = yield* Effect.exit(open(log, options))
        assert.match(String(exit), new RegExp(`the option ${Object.keys(options)[0]} must be a number of bytes`))
      }
    })
  )

  it.effect("the next one is requested before the last one is delivered, if the recorder asks for it", () =>
    Effect.gen(function* () {
      const log = yield* started
      for (const [ahead, expected] of [
        [false, [undefined]],
        [true, [undefined, 2]]
      ] as const) {
        const { log: recorded, asked } = paged(log, { size: 3, ahead })
        const { store } = yield* open(recorded)
        yield* Stream.runDrain(Stream.take(store.read(Counter, one), 1))
        assert.deepStrictEqual(asked, [...expected])
      }
    })
  )

  it.effect("within a transaction of the caller's they are read one after the other", () =>
    Effect.gen(function* () {
      const { log, asked } = paged(yield* started, { size: 3, ahead: true }, { inTransaction: () => true })
      const { store } = yield* open(log)
      yield* Stream.runDrain(Stream.take(store.read(Counter, one), 1))
      assert.deepStrictEqual(asked, [undefined])
      assert.strictEqual(yield* Stream.runCount(store.read(Counter, one)), LENGTH)
    })
  )

  it.effect("a failure of a prefetched page is reported when that page is due, and not before", () =>
    Effect.gen(function* () {
      const log = yield* started
      const failure = new EventSourcingError.RecorderFailure({ operation: "read a stream", reason: "it is gone" })
      const failing = withRecorder(log, (recorder) => ({
        paging: { size: 3, ahead: true },
        readStream: (read) => (read.after === undefined ? recorder.readStream(read) : Effect.fail(failure))
      }))
      const { repository, store } = yield* open(failing)
      assert.strictEqual(yield* Stream.runCount(Stream.take(store.read(Counter, one), 3)), 3)
      assert.strictEqual(yield* Effect.flip(Stream.runDrain(store.read(Counter, one))), failure)
      assert.strictEqual(yield* Effect.flip(repository.of(Counter).get(one)), failure)
    })
  )
})
