import { assert, it } from "@effect/vitest"
import { Array as Arr, Context, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { ExpectedVersion } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { StoredEvent } from "../../../StoredEvent.ts"
import type { StreamName } from "../../../StreamName.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent, storedEvents } from "../events.ts"
import {
  assertRecorded,
  assertWrongVersion,
  ids,
  lastVersion,
  places,
  readLog,
  readOrderlyLog,
  readStream,
  stream
} from "../internal/reading.ts"
import { onNewLog, TIMEOUT, testsOn } from "../internal/register.ts"

/** Appending to one stream: G1, G2. */
export const appendingTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")
  const fido = stream("Dog-fido")

  test("a new log has no head and nothing to read", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      assert.strictEqual(yield* recorder.head, undefined)
      for (const direction of ["forward", "backward"] as const) {
        assert.deepStrictEqual(yield* recorder.readAll({ direction, limit: 10 }), [])
        assert.deepStrictEqual(yield* recorder.readStream({ stream: rex, direction, limit: 10 }), [])
      }
    }))

  test("the id of a log is the same on every connection", ({ connect }) =>
    Effect.gen(function* () {
      const { logId } = yield* Recorder
      assert.isNotEmpty(logId)
      assert.strictEqual(Context.get(yield* connect, Recorder).logId, logId)
    }))

  it.live(
    "the id of a log differs from that of any other log",
    () =>
      Effect.gen(function* () {
        const newId = onNewLog(backend, () => Recorder.useSync(({ logId }) => logId))
        assert.notStrictEqual(yield* newId, yield* newId)
      }),
    TIMEOUT
  )

  test("an append returns the version and the position of its last event", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const other = Context.get(yield* connect, Recorder)
      const [e0, e1, e2, e3] = [storedEvent(), storedEvent(), storedEvent(), storedEvent()]
      const first = yield* recorder.append({ stream: rex, expected: "NoStream", events: [e0] })
      const second = yield* other.append({ stream: rex, expected: 0, events: [e1, e2] })
      const third = yield* recorder.append({ stream: rex, expected: 2, events: [e3] })
      assert.deepStrictEqual([first.version, second.version, third.version], [0, 2, 3])
      const recorded = yield* recorder.readStream({ stream: rex, limit: 10 })
      assertRecorded(recorded, rex, [e0, e1, e2, e3])
      const positions = recorded.map(({ position }) => position)
      assert.deepStrictEqual(
        [first.position, second.position, third.position],
        [0, 2, 3].map((i) => positions[i])
      )
      assert.strictEqual(yield* recorder.head, third.position)
    }))

  test("streams do not affect each other", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [ofRex, ofFido] = [storedEvents(3), storedEvents(2)]
      yield* recorder.append({ stream: rex, expected: "NoStream", events: ofRex })
      yield* recorder.append({ stream: fido, expected: "NoStream", events: ofFido })
      assertRecorded(yield* readStream(recorder, rex), rex, ofRex)
      assertRecorded(yield* readStream(recorder, fido), fido, ofFido)
      yield* readOrderlyLog(recorder)
    }))

  test("G1 a refused append records nothing", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(3) })
      const before = yield* readOrderlyLog(recorder)
      for (const [name, expected] of [
        [rex, "NoStream"],
        [rex, 0],
        [rex, 3],
        [fido, 0]
      ] as const) {
        yield* Effect.flip(recorder.append({ stream: name, expected, events: storedEvents(100) }))
      }
      assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), places(before))
      assert.deepStrictEqual(yield* recorder.readStream({ stream: fido, limit: 10 }), [])
      yield* recorder.append({ stream: rex, expected: 2, events: storedEvents(100) })
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 103)
    }))

  test("events of an append that is inserted in pieces keep their order, and the position is that of the last", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const events = storedEvents(23)
      const { position, version } = yield* recorder.append({ stream: rex, expected: "NoStream", events })
      const read = yield* readOrderlyLog(recorder)
      assert.deepStrictEqual(
        read.map(({ id }) => id),
        events.map(({ id }) => id)
      )
      assert.strictEqual(version, 22)
      assert.strictEqual(read[22]?.position, position)
    }))

  test("G1 a concurrent reader sees all events of an append or none", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const other = Context.get(yield* connect, Recorder)
      const [size, count] = [20, 30]
      let done = false
      const write = Effect.gen(function* () {
        for (let i = 0; i < count; i++) {
          const expected = i === 0 ? "NoStream" : i * size - 1
          yield* recorder.append({ stream: rex, expected, events: storedEvents(size) })
          yield* Effect.yieldNow
        }
        done = true
      })
      const read = Effect.gen(function* () {
        while (!done) {
          const inStream = yield* other.readStream({ stream: rex, limit: 1000 })
          assert.strictEqual(inStream.length % size, 0, "events in the stream")
          const inLog = yield* other.readAll({ limit: 1000 })
          assert.strictEqual(inLog.length % size, 0, "events in the log")
          yield* Effect.yieldNow
        }
      })
      yield* Effect.all([write, read], { concurrency: "unbounded" })
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, size * count)
    }))

  test("G2 an append at another version than the stream's fails with the expected and the actual version", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const append = (name: StreamName, expected: ExpectedVersion, events = storedEvents(1)) =>
        recorder.append({ stream: name, expected, events })
      const refused = (name: StreamName, expected: ExpectedVersion) => Effect.flip(append(name, expected))

      for (const expected of [0, 1, 1000]) {
        assertWrongVersion(yield* refused(rex, expected), { stream: rex, expected, actual: "NoStream" })
      }
      yield* append(rex, "NoStream", storedEvents(3))
      for (const expected of ["NoStream", 0, 1, 3, 4, 1000] as const) {
        assertWrongVersion(yield* refused(rex, expected), { stream: rex, expected, actual: 2 })
      }
      assertWrongVersion(yield* refused(fido, 2), { stream: fido, expected: 2, actual: "NoStream" })
      assert.strictEqual((yield* append(rex, 2)).version, 3)
      assertWrongVersion(yield* refused(rex, 2), { stream: rex, expected: 2, actual: 3 })
    }))

  test("G2 of N writers at one version exactly one succeeds", ({ connect }) =>
    Effect.gen(function* () {
      const recorders = [yield* Recorder, Context.get(yield* connect, Recorder)]
      let expected: ExpectedVersion = "NoStream"
      const winners: Array<string> = []
      for (let round = 0; round < 10; round++) {
        const writers = Arr.makeBy(50, (n) => ({ recorder: recorders[n % 2]!, event: storedEvent() }))
        const [winning, errors] = yield* Effect.partition(
          writers,
          ({ recorder, event }) =>
            Effect.map(recorder.append({ stream: rex, expected, events: [event] }), ({ version }) => ({
              version,
              event
            })),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          winning.map(({ version }) => version),
          [round]
        )
        for (const error of errors) assertWrongVersion(error, { stream: rex, expected, actual: round })
        winners.push(...winning.map(({ event }) => event.id))
        expected = round
      }
      assert.deepStrictEqual(ids(yield* readOrderlyLog(recorders[0]!)), winners)
    }))

  test("G2 writers that retry at the reported version all succeed in the end", ({ connect }) =>
    Effect.gen(function* () {
      const recorders = [yield* Recorder, Context.get(yield* connect, Recorder)]
      const appendBehind = (
        recorder: Recorder["Service"],
        expected: ExpectedVersion,
        events: NonEmptyReadonlyArray<StoredEvent>
      ): Effect.Effect<number, unknown> =>
        recorder.append({ stream: rex, expected, events }).pipe(
          Effect.map(({ version }) => version),
          Effect.catchTag("WrongExpectedVersion", ({ actual }) => appendBehind(recorder, actual, events))
        )
      const writers = Arr.makeBy(20, (n) => recorders[n % 2]!)
      yield* Effect.forEach(
        writers,
        (recorder) =>
          Effect.gen(function* () {
            let version: ExpectedVersion = "NoStream"
            for (let i = 0; i < 5; i++) version = yield* appendBehind(recorder, version, storedEvents(2))
          }),
        { concurrency: "unbounded" }
      )
      const log = yield* readOrderlyLog(recorders[0]!)
      assert.strictEqual(log.length, 200)
      assert.strictEqual(yield* lastVersion(recorders[1]!, rex), 199)
    }))

  test("an append of 5000 events is read back in full", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const events = storedEvents(5000)
      yield* recorder.append({ stream: rex, expected: "NoStream", events })
      assert.deepStrictEqual(ids(yield* readStream(recorder, rex)), ids(events))
      assert.deepStrictEqual(ids(yield* readLog(recorder, { limit: 10_000 })), ids(events))
    }))
}
