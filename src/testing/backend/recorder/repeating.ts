import { assert } from "@effect/vitest"
import { Array as Arr, Context, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import type { Append, ExpectedVersion } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { StoredEvent } from "../../../StoredEvent.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent, storedEvents } from "../events.ts"
import { assertPositions } from "../internal/positions.ts"
import { assertRecorded, assertWrongVersion, ids, readOrderlyLog, readStream, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"
import { whileUnavailable } from "../internal/unavailable.ts"

/** Appending the same events again: G7. */
export const repeatingTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  test("G7 the same append again returns the same result and records nothing twice", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const other = Context.get(yield* connect, Recorder)
      const appends: ReadonlyArray<Append> = [
        { stream: rex, expected: "NoStream", events: storedEvents(1) },
        { stream: rex, expected: 0, events: storedEvents(3) },
        { stream: rex, expected: 3, events: storedEvents(100) }
      ]
      for (const append of appends) {
        const answer = yield* recorder.append(append)
        assert.deepStrictEqual({ ...(yield* recorder.append(append)) }, { ...answer })
        assert.deepStrictEqual({ ...(yield* other.append(append)) }, { ...answer })
      }
      assertRecorded(
        yield* readOrderlyLog(recorder),
        rex,
        appends.flatMap(({ events }) => events)
      )
    }))

  test("G7 the positions that an append returns are those of its events, also for a repeated one", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const appends: ReadonlyArray<Append> = [
        { stream: rex, expected: "NoStream", events: storedEvents(1) },
        { stream: rex, expected: 0, events: storedEvents(60) },
        { stream: stream("Dog-fido"), expected: "NoStream", events: storedEvents(2) },
        { stream: rex, expected: 60, events: storedEvents(3) }
      ]
      for (const _ of ["first", "again"]) {
        for (const append of appends) {
          const { position, positions } = yield* recorder.append(append)
          const returned = { position, positions: positions === undefined ? undefined : [positions] }
          yield* assertPositions(backend, recorder, [append], returned)
        }
      }
      // the events of two appends with another one in between, sent again as one
      const [some, others] = [storedEvents(3), storedEvents(2)]
      yield* recorder.append({ stream: rex, expected: 63, events: some })
      yield* recorder.append({ stream: stream("Cat-tom"), expected: "NoStream", events: storedEvents(1) })
      yield* recorder.append({ stream: rex, expected: 66, events: others })
      const both: Append = { stream: rex, expected: 63, events: Arr.appendAll(some, others) }
      const again = yield* Effect.result(recorder.append(both))
      if (again._tag === "Success") {
        const { position, positions } = again.success
        const returned = { position, positions: positions === undefined ? undefined : [positions] }
        yield* assertPositions(backend, recorder, [both], returned)
      }
    }))

  test("G7 the same append again after later events returns the same result", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const first: Append = { stream: rex, expected: "NoStream", events: storedEvents(2) }
      const second: Append = { stream: rex, expected: 1, events: storedEvents(2) }
      const answers = [yield* recorder.append(first), yield* recorder.append(second)]
      yield* recorder.append({ stream: rex, expected: 3, events: storedEvents(50) })
      yield* recorder.append({ stream: stream("Dog-fido"), expected: "NoStream", events: storedEvents(50) })
      const again = [yield* recorder.append(first), yield* recorder.append(second)]
      assert.deepStrictEqual(
        again.map((answer) => ({ ...answer })),
        answers.map((answer) => ({ ...answer }))
      )
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 104)
    }))

  test("G7 the same append sent many times concurrently is recorded once", ({ connect }) =>
    Effect.gen(function* () {
      const recorders = [yield* Recorder, Context.get(yield* connect, Recorder)]
      for (let round = 0; round < 5; round++) {
        const expected = round === 0 ? "NoStream" : round * 3 - 1
        const append: Append = { stream: rex, expected, events: storedEvents(3) }
        // a server may answer one of them and be unavailable to the others; when sent again they are answered, too
        const answers = yield* Effect.forEach(
          Arr.range(0, 19),
          (n) => whileUnavailable(recorders[n % 2]!.append(append)),
          {
            concurrency: "unbounded"
          }
        )
        assert.strictEqual(new Set(answers.map(({ position }) => position)).size, 1)
        for (const { version } of answers) assert.strictEqual(version, round * 3 + 2)
      }
      assert.strictEqual((yield* readOrderlyLog(recorders[0]!)).length, 15)
    }))

  test("G7 events are the same if their ids are: the version that was recorded first stays", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const event = storedEvent({ payload: '{"attempt":1}' })
      const answer = yield* recorder.append({ stream: rex, expected: "NoStream", events: [event] })
      const retried = storedEvent({ id: event.id, payload: '{"attempt":2}', recordedAt: event.recordedAt + 1 })
      const again = yield* recorder.append({ stream: rex, expected: "NoStream", events: [retried] })
      assert.deepStrictEqual({ ...again }, { ...answer })
      assertRecorded(yield* readStream(recorder, rex), rex, [event])
    }))

  test("G7 an append of only the first of the recorded events returns the place of that event", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [a, b, c] = [storedEvent(), storedEvent(), storedEvent()]
      yield* recorder.append({ stream: rex, expected: "NoStream", events: [a, b, c] })
      const [first, second] = yield* recorder.readStream({ stream: rex, limit: 2 })
      const answer = (events: NonEmpty) => recorder.append({ stream: rex, expected: "NoStream", events })
      const [one, two] = [yield* answer([a]), yield* answer([a, b])]
      assert.deepStrictEqual([one.version, one.position], [0, first?.position])
      assert.deepStrictEqual([two.version, two.position], [1, second?.position])
      assertRecorded(yield* readOrderlyLog(recorder), rex, [a, b, c])
    }))

  test("G7 an append that repeats only some of its events is refused, and records nothing", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [a, b, c] = [storedEvent(), storedEvent(), storedEvent()]
      const [x, y] = [storedEvent(), storedEvent()]
      yield* recorder.append({ stream: rex, expected: "NoStream", events: [a, b] })
      const partly: ReadonlyArray<readonly [ExpectedVersion, NonEmpty]> = [
        ["NoStream", [a, x]],
        ["NoStream", [x, b]],
        ["NoStream", [b, a]],
        ["NoStream", [b]],
        ["NoStream", [a, b, c]],
        ["NoStream", [x, a, b]],
        [0, [b, x]],
        [0, [a, b]]
      ]
      for (const [expected, events] of partly) {
        const error = yield* Effect.flip(recorder.append({ stream: rex, expected, events }))
        assertWrongVersion(error, { stream: rex, expected, actual: 1 })
      }
      yield* recorder.append({ stream: rex, expected: 1, events: [c, y] })
      for (const [expected, events] of [
        ["NoStream", [a, b, x]],
        [0, [b, c, x]],
        [1, [c, y, x]]
      ] as const) {
        const error = yield* Effect.flip(recorder.append({ stream: rex, expected, events }))
        assertWrongVersion(error, { stream: rex, expected, actual: 3 })
      }
      assert.deepStrictEqual(ids(yield* readOrderlyLog(recorder)), ids([a, b, c, y]))
    }))

  test("G7 the same events at the same version of another stream are a different append", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(2) })
      const fido = stream("Dog-fido")
      yield* recorder.append({ stream: fido, expected: "NoStream", events: storedEvents(1) })
      const second: Append = { stream: rex, expected: 1, events: storedEvents(1) }
      yield* recorder.append(second)
      const error = yield* Effect.flip(recorder.append({ ...second, stream: fido }))
      assertWrongVersion(error, { stream: fido, expected: 1, actual: 0 })
    }))
}

type NonEmpty = NonEmptyReadonlyArray<StoredEvent>
