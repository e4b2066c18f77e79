/** The contract of {@link TrackedAppend}. */
import { assert, describe } from "@effect/vitest"
import { Array as Arr, Cause, Context, Effect, Exit } from "effect"
import { TrackingConflict } from "../../EventSourcingError.ts"
import type { Check } from "../../MultiStreamAppend.ts"
import * as Position from "../../Position.ts"
import type { Append, ExpectedVersion } from "../../Recorder.ts"
import { Recorder } from "../../Recorder.ts"
import { TrackedAppend } from "../../TrackedAppend.ts"
import type * as Tracking from "../../Tracking.ts"
import type { Backend } from "./Backend.ts"
import { storedEvents } from "./events.ts"
import { interruptAfter } from "./internal/interrupting.ts"
import { assertPositions } from "./internal/positions.ts"
import {
  assertRecorded,
  assertWrongVersion,
  ids,
  places,
  readOrderlyLog,
  readStream,
  stream
} from "./internal/reading.ts"
import { reopeningTestsOn, testsOn } from "./internal/register.ts"

type Services = Recorder | TrackedAppend

const [rex, fido, tom] = [stream("Dog-rex"), stream("Dog-fido"), stream("Cat-tom")]

const key: Tracking.Key = { projection: "emails", version: 1, upstream: "accounts", slice: 0 }

/** A position of the upstream, which is another log: any will do. */
const at = (n: number | bigint): Position.Position => Position.fromStorage(BigInt(n))

const move = (from: number | undefined, to: number, of: Tracking.Key = key): Tracking.Move => ({
  key: of,
  from: from === undefined ? undefined : at(from),
  to: at(to)
})

const appendOf = (name: typeof rex, expected: ExpectedVersion, count = 1): Append => ({
  stream: name,
  expected,
  events: storedEvents(count)
})

const assertConflict = (error: unknown, { key: of, from }: Tracking.Move, actual: Position.Position | undefined) => {
  assert.instanceOf(error, TrackingConflict)
  assert.deepStrictEqual(
    { projection: error.projection, upstream: error.upstream, expected: error.expected, actual: error.actual },
    { projection: of.projection, upstream: of.upstream, expected: from, actual }
  )
}

/** Registers the tests of appending together with a tracking move: G1, G2, G5, G7, G10. */
export const trackedAppendContract = (backend: Backend<Services>): void => {
  describe(`TrackedAppend contract on ${backend.name}`, () => {
    movingTests(backend)
    notingTests(backend)
    atomicityTests(backend)
    checkingTests(backend)
    repeatingTests(backend)
    concurrencyTests(backend)
  })
}

const movingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("a key without a move has no position", () =>
    Effect.gen(function* () {
      const { position } = yield* TrackedAppend
      assert.strictEqual(yield* position(key), undefined)
    }))

  test("events are appended to none, one or several streams, and the tracking moves", ({ connect }) =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const other = Context.get(yield* connect, TrackedAppend)
      const appends = [[appendOf(rex, "NoStream", 2)], [], [appendOf(fido, "NoStream", 1), appendOf(rex, 1, 2)]]
      const answers = [
        yield* append(appends[0]!, move(undefined, 3)),
        yield* append(appends[1]!, move(3, 8)),
        yield* append(appends[2]!, move(8, 9))
      ]
      assert.deepStrictEqual(
        answers.map(({ versions }) => [...versions]),
        [[1], [], [0, 3]]
      )
      const log = yield* readOrderlyLog(recorder)
      assert.deepStrictEqual(
        answers.map((answer) => answer.position),
        [log[1]?.position, undefined, log.at(-1)?.position]
      )
      yield* assertPositions(backend, recorder, appends[0]!, answers[0]!)
      yield* assertPositions(backend, recorder, appends[2]!, answers[2]!)
      assert.deepStrictEqual([yield* position(key), yield* other.position(key)], [at(9), at(9)])
      yield* assertPositions(backend, recorder, appends[2]!, yield* append(appends[2]!, move(8, 9)))
      assertRecorded(yield* readStream(recorder, rex), rex, [...appends[0]![0]!.events, ...appends[2]![1]!.events])
      assertRecorded(yield* readStream(recorder, fido), fido, appends[2]![0]!.events)
    }))

  test("a key with half a surrogate pair is refused, or not mistaken for another", () =>
    Effect.gen(function* () {
      const { append, position } = yield* TrackedAppend
      yield* append([], move(undefined, 1, { ...key, projection: "half \ufffd" }))
      const half = { ...key, projection: "half \ud83d" }
      const outcome = yield* Effect.result(append([], move(undefined, 2, half)))
      if (outcome._tag === "Failure") assert.strictEqual(outcome.failure._tag, "RecorderFailure")
      else assert.strictEqual(yield* position(half), at(2))
      assert.strictEqual(yield* position({ ...key, projection: "half \ufffd" }), at(1))
    }))

  test("keys that differ in anything are tracked separately", () =>
    Effect.gen(function* () {
      const { append, position } = yield* TrackedAppend
      const keys: ReadonlyArray<Tracking.Key> = [
        key,
        { ...key, projection: "Emails" },
        { ...key, projection: "emails " },
        { ...key, projection: "" },
        { ...key, projection: "é \u{1f436} '\"\\%_" },
        { ...key, projection: "e\u0301 \u{1f436} '\"\\%_" },
        { ...key, projection: "emails,1", version: 2 },
        { ...key, version: 2 },
        { ...key, upstream: "Accounts" },
        { ...key, upstream: "accounts-2" },
        { ...key, projection: "accounts", upstream: "emails" },
        { ...key, slice: 1 },
        { ...key, version: 0, slice: 1 },
        { ...key, slice: 127 }
      ]
      for (const [i, one] of keys.entries()) {
        assert.strictEqual(yield* position(one), undefined)
        yield* append([], move(undefined, i + 1, one))
      }
      for (const [i, one] of keys.entries()) {
        assert.strictEqual(yield* position(one), at(i + 1))
        yield* append([], move(i + 1, i + 1000, one))
      }
      for (const [i, one] of keys.entries()) assert.strictEqual(yield* position(one), at(i + 1000))
    }))

  test("G8 positions are stored exactly, whatever their size", () =>
    Effect.gen(function* () {
      const { append, position } = yield* TrackedAppend
      const positions = [0n, 1n, 2n ** 31n, 2n ** 32n + 1n, 2n ** 53n + 1n, 2n ** 63n - 1n].map(at)
      let from: Position.Position | undefined
      for (const to of positions) {
        yield* append([], { key, from, to })
        assert.strictEqual(yield* position(key), to)
        from = to
      }
    }))

  test("a move to the same or an earlier position is refused, and records nothing", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      yield* append([appendOf(rex, "NoStream")], move(undefined, 30))
      for (const [from, to] of [
        [30, 30],
        [30, 29],
        [30, 20],
        [30, 0],
        // also one that another append has made stale
        [40, 40],
        [40, 35]
      ] as const) {
        for (const appends of [[], [appendOf(fido, "NoStream")], [appendOf(fido, "NoStream"), appendOf(rex, 0)]]) {
          const error = yield* Effect.flip(append(appends, move(from, to)))
          assert.strictEqual(error._tag, "RecorderFailure")
          for (const said of [key.projection, key.upstream, `${from}`, `${to}`]) assert.include(error.message, said)
        }
      }
      // it is a conflict if the tracking is not where the move starts, also if it would move back
      for (const [from, to] of [
        [undefined, 20],
        [undefined, 30],
        [10, 20]
      ] as const) {
        assertConflict(yield* Effect.flip(append([appendOf(fido, "NoStream")], move(from, to))), move(from, to), at(30))
      }
      assert.strictEqual(yield* position(key), at(30))
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 1)
      yield* append([appendOf(fido, "NoStream")], move(30, 31))
      assert.strictEqual(yield* position(key), at(31))
    }))

  test("naming a stream twice is a defect, and does nothing", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const check: Check = { stream: rex, expected: "NoStream" }
      const twice = [
        append([appendOf(rex, "NoStream"), appendOf(rex, 0)], move(undefined, 1)),
        append([appendOf(rex, "NoStream")], move(undefined, 1), [check]),
        append([], move(undefined, 1), [check, check])
      ]
      for (const attempt of twice) {
        const exit = yield* Effect.exit(attempt)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), `${exit}`)
      }
      assert.deepStrictEqual([yield* readOrderlyLog(recorder), yield* position(key)], [[], undefined])
    }))
}

const notingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)
  const testReopening = reopeningTestsOn(backend)

  const noted = (note: Tracking.Note | undefined, from: number | undefined, to: number): Tracking.Move => ({
    ...move(from, to),
    note
  })
  const log = "01890a5d-ac96-774b-bcce-b302099a8057"

  test("the note of the last move is kept with the position, and with no other", ({ connect }) =>
    Effect.gen(function* () {
      const [{ append, progress, position }, other] = [yield* TrackedAppend, Context.get(yield* connect, TrackedAppend)]
      assert.strictEqual(yield* progress(key), undefined)
      const notes: ReadonlyArray<Tracking.Note | undefined> = [
        { logId: log, eventId: undefined },
        { logId: log, eventId: "01890a5d-ac96-774b-bcce-b302099a8058" },
        undefined,
        { logId: "", eventId: "'\"\\ \u0000 \ud83d \u{1f436}" },
        undefined
      ]
      for (const [i, note] of notes.entries()) {
        // with events and without
        const appends = i % 2 === 0 ? [] : [appendOf(stream(`Dog-${i}`), "NoStream")]
        yield* append(appends, noted(note, i === 0 ? undefined : i, i + 1))
        for (const read of [progress, other.progress]) {
          assert.deepStrictEqual(yield* read(key), { position: at(i + 1), note })
        }
        assert.strictEqual(yield* position(key), at(i + 1))
      }
      assert.strictEqual(yield* progress({ ...key, slice: 1 }), undefined)
    }))

  test("G1 a move that is refused leaves the note as it is, and so does one that is repeated", () =>
    Effect.gen(function* () {
      const { append, progress } = yield* TrackedAppend
      const first = { logId: log, eventId: "first" }
      const appends = [appendOf(rex, "NoStream", 2)]
      const answer = yield* append(appends, noted(first, undefined, 1))
      const second = { logId: "other", eventId: "second" }
      assertConflict(yield* Effect.flip(append([], noted(second, 5, 9))), noted(second, 5, 9), at(1))
      assertWrongVersion(yield* Effect.flip(append([appendOf(rex, 0)], noted(second, 1, 2))), {
        ...{ stream: rex, expected: 0, actual: 1 }
      })
      const again = yield* append(appends, noted(first, undefined, 1))
      assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
      assert.deepStrictEqual(yield* progress(key), { position: at(1), note: first })
      yield* append([], noted(second, 1, 2), [{ stream: rex, expected: 1 }])
      assert.deepStrictEqual(yield* progress(key), { position: at(2), note: second })
      yield* append(appends, noted(first, undefined, 1))
      assert.deepStrictEqual(yield* progress(key), { position: at(2), note: second })
    }))

  testReopening(
    "G5 the note is there when the log is opened again",
    Effect.gen(function* () {
      const { append } = yield* TrackedAppend
      yield* append([appendOf(rex, "NoStream")], noted({ logId: log, eventId: "rex" }, undefined, 1))
    }),
    () =>
      Effect.gen(function* () {
        const { progress } = yield* TrackedAppend
        assert.deepStrictEqual(yield* progress(key), { position: at(1), note: { logId: log, eventId: "rex" } })
      })
  )
}

const atomicityTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G1 a move from a position that the tracking is not at is refused, and records nothing", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const refused = (attempt: Tracking.Move, actual: Position.Position | undefined) =>
        Effect.gen(function* () {
          for (const appends of [
            [],
            [appendOf(rex, "NoStream")],
            [appendOf(rex, "NoStream"), appendOf(fido, "NoStream")]
          ]) {
            assertConflict(yield* Effect.flip(append(appends, attempt)), attempt, actual)
          }
          assert.strictEqual(yield* position(key), actual)
        })
      yield* refused(move(1, 2), undefined)
      yield* append([], move(undefined, 5))
      for (const from of [undefined, 1, 4, 6]) yield* refused(move(from, 10), at(5))
      assert.deepStrictEqual(yield* readOrderlyLog(recorder), [])
      yield* append([appendOf(rex, "NoStream")], move(5, 10))
      assert.strictEqual(yield* position(key), at(10))
    }))

  test("G1 events at a wrong version are refused, and the tracking stays where it is", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      yield* append([appendOf(rex, "NoStream", 2)], move(undefined, 1))
      const before = places(yield* readOrderlyLog(recorder))
      for (const expected of ["NoStream", 0, 2] as const) {
        const wrong = { stream: rex, expected, actual: 1 }
        const [bad, good] = [appendOf(rex, expected), appendOf(fido, "NoStream")]
        for (const appends of [[bad], [bad, good], [good, bad]]) {
          assertWrongVersion(yield* Effect.flip(append(appends, move(1, 2))), wrong)
        }
      }
      assert.strictEqual(yield* position(key), at(1))
      assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), before)
      yield* append([appendOf(rex, 1)], move(1, 2))
      assert.strictEqual(yield* position(key), at(2))
    }))

  test("G1 if the events and the move are both wrong, nothing is done", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const error = yield* Effect.flip(append([appendOf(rex, 3)], move(1, 2)))
      assert.include(["WrongExpectedVersion", "TrackingConflict"], error._tag)
      assert.deepStrictEqual([yield* readOrderlyLog(recorder), yield* position(key)], [[], undefined])
    }))

  test("G10 an interrupted append moves the tracking if and only if it records the events", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      for (let round = 0; round < 40; round++) {
        const from = yield* position(key)
        const done = from === undefined ? 0 : Number(from)
        const expected = done === 0 ? "NoStream" : done * 2 - 1
        const attempt = append([appendOf(rex, expected, 2)], move(done === 0 ? undefined : done, done + 1))
        yield* interruptAfter(attempt, round % 20)
        const moved = yield* position(key)
        const recorded = yield* readStream(recorder, rex)
        assert.strictEqual(recorded.length, moved === undefined ? 0 : Number(moved) * 2)
      }
      yield* readOrderlyLog(recorder)
    }))
}

const checkingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G2 streams that are only checked have to be at their versions, or nothing is recorded and nothing moves", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      yield* recorder.append(appendOf(rex, "NoStream", 3))
      const holding: ReadonlyArray<Check> = [
        { stream: rex, expected: 2 },
        { stream: tom, expected: "NoStream" }
      ]
      const { versions } = yield* append([appendOf(fido, "NoStream", 2)], move(undefined, 1), holding)
      assert.deepStrictEqual([...versions], [1])
      assert.deepInclude(yield* append([], move(1, 2), holding), { versions: [], position: undefined })
      assert.strictEqual(yield* position(key), at(2))

      const wrong: ReadonlyArray<Check & { readonly actual: ExpectedVersion }> = [
        { stream: rex, expected: 1, actual: 2 },
        { stream: rex, expected: 3, actual: 2 },
        { stream: rex, expected: "NoStream", actual: 2 },
        { stream: tom, expected: 0, actual: "NoStream" }
      ]
      for (const { actual, ...check } of wrong) {
        const checks = [...holding.filter(({ stream }) => stream !== check.stream), check]
        for (const appends of [[], [appendOf(fido, 1)], [appendOf(fido, 1), appendOf(stream("Dog-max"), "NoStream")]]) {
          assertWrongVersion(yield* Effect.flip(append(appends, move(2, 3), checks)), { ...check, actual })
        }
      }
      assert.strictEqual(yield* position(key), at(2))
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 5)
      yield* append([appendOf(fido, 1)], move(2, 3), holding)
      assert.strictEqual(yield* position(key), at(3))
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 6)
    }))

  test("G1 a move from a position that the tracking is not at is refused even if the checks hold", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      yield* append([], move(undefined, 5))
      const checks: ReadonlyArray<Check> = [{ stream: tom, expected: "NoStream" }]
      for (const appends of [[], [appendOf(rex, "NoStream")]]) {
        assertConflict(yield* Effect.flip(append(appends, move(1, 9), checks)), move(1, 9), at(5))
      }
      assert.strictEqual(yield* position(key), at(5))
      assert.deepStrictEqual(yield* readOrderlyLog(recorder), [])
    }))

  test("G7 the same events with the same move again return the same result, also when the checks no longer hold", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const appends = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream")]
      const checks: ReadonlyArray<Check> = [{ stream: tom, expected: "NoStream" }]
      const answer = yield* append(appends, move(undefined, 1), checks)
      const repeats = Effect.gen(function* () {
        const again = yield* append(appends, move(undefined, 1), checks)
        assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
      })
      yield* repeats
      yield* recorder.append(appendOf(tom, "NoStream", 2))
      yield* repeats
      yield* append([appendOf(rex, 1)], move(1, 4))
      yield* repeats
      assert.strictEqual(yield* position(key), at(4))
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 6)
    }))

  test("G2 of two runners that each check the stream that the other appends to, exactly one succeeds", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [one, two] = [yield* TrackedAppend, Context.get(yield* connect, TrackedAppend)]
      const keys = [0, 1].map((slice) => ({ ...key, slice }))
      for (let round = 1; round <= 20; round++) {
        const [left, right] = [stream(`Left-${round}`), stream(`Right-${round}`)]
        const from = yield* Effect.forEach(keys, one.position)
        const moveOf = (n: number): Tracking.Move => ({ key: keys[n]!, from: from[n], to: at(round) })
        const attempts = [
          one.append([appendOf(left, "NoStream")], moveOf(0), [{ stream: right, expected: "NoStream" }]),
          two.append([appendOf(right, "NoStream")], moveOf(1), [{ stream: left, expected: "NoStream" }])
        ]
        const [answers, errors] = yield* Effect.partition(attempts, (attempt) => attempt, { concurrency: "unbounded" })
        assert.strictEqual(answers.length, 1)
        for (const error of errors) assert.strictEqual(error._tag, "WrongExpectedVersion")
        const moved = yield* Effect.forEach(keys, one.position)
        assert.strictEqual(moved.filter((position) => position === at(round)).length, 1)
      }
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 20)
    }))
}

const repeatingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)
  const testReopening = reopeningTestsOn(backend)

  test("G7 the same events with the same move again return the same result, also after later ones", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const appends = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream")]
      const answer = yield* append(appends, move(undefined, 1))
      const repeats = (tracked: number) =>
        Effect.gen(function* () {
          const again = yield* append(appends, move(undefined, 1))
          assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
          assert.strictEqual(yield* position(key), at(tracked))
        })
      yield* repeats(1)
      yield* append([appendOf(rex, 1)], move(1, 2))
      yield* repeats(2)
      yield* recorder.append(appendOf(fido, 0, 5))
      yield* append([], move(2, 7))
      yield* repeats(7)
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 9)
    }))

  test("G7 events that were recorded without the move are not taken for it: the tracking moves, or the append fails", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const appendOfRex = appendOf(rex, "NoStream", 2)
      yield* recorder.append(appendOfRex)
      const exit = yield* Effect.exit(append([appendOfRex], move(undefined, 1)))
      assert.strictEqual(yield* position(key), Exit.isSuccess(exit) ? at(1) : undefined)
      assert.deepStrictEqual(ids(yield* readOrderlyLog(recorder)), ids(appendOfRex.events))
    }))

  test("G7 events of which only some are recorded are refused, and the tracking stays where it is", () =>
    Effect.gen(function* () {
      const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
      const [ofRex, ofFido] = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream")]
      yield* append([ofRex], move(undefined, 1))
      for (const attempt of [move(undefined, 1), move(1, 2)]) {
        const error = yield* Effect.flip(append([ofRex, ofFido], attempt))
        assertWrongVersion(error, { stream: rex, expected: "NoStream", actual: 1 })
      }
      assert.strictEqual(yield* position(key), at(1))
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 2)
    }))

  test("a move without events, sent again, is a conflict", () =>
    Effect.gen(function* () {
      const { append, position } = yield* TrackedAppend
      yield* append([], move(undefined, 1))
      assertConflict(yield* Effect.flip(append([], move(undefined, 1))), move(undefined, 1), at(1))
      assert.strictEqual(yield* position(key), at(1))
    }))

  testReopening(
    "G5 G7 events and tracking are there when the log is reopened, and the same append returns the same result",
    Effect.gen(function* () {
      const { append } = yield* TrackedAppend
      const appends = [appendOf(rex, "NoStream", 2)]
      const { versions, position } = yield* append(appends, move(undefined, 1))
      yield* append([], move(1, 2))
      return { appends, answer: [[...versions], position] }
    }),
    ({ appends, answer }) =>
      Effect.gen(function* () {
        const [recorder, { append, position }] = [yield* Recorder, yield* TrackedAppend]
        assert.strictEqual(yield* position(key), at(2))
        const again = yield* append(appends, move(undefined, 1))
        assert.deepStrictEqual([[...again.versions], again.position], answer)
        assert.strictEqual(yield* position(key), at(2))
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 2)
        assertConflict(yield* Effect.flip(append([], move(1, 3))), move(1, 3), at(2))
      })
  )
}

const concurrencyTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G2 of N runners at one tracking position exactly one moves it, and only its events are recorded", ({
    connect
  }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const connections = [yield* TrackedAppend, Context.get(yield* connect, TrackedAppend)]
      for (let round = 0; round < 10; round++) {
        const attempt = move(round === 0 ? undefined : round, round + 1)
        const [answers, errors] = yield* Effect.partition(
          Arr.range(0, 29),
          (n) => connections[n % 2]!.append([appendOf(stream(`Email-${round}-${n}`), "NoStream")], attempt),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(answers.length, 1)
        for (const error of errors) assertConflict(error, attempt, at(round + 1))
      }
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 10)
    }))

  test("G2 runners of one key, restarted after each conflict, do each step of the work once", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const connections = [yield* TrackedAppend, Context.get(yield* connect, TrackedAppend)]
      const steps = 60
      const runner = (n: number) =>
        Effect.gen(function* () {
          const { append, position } = connections[n % 2]!
          while (true) {
            const from = yield* position(key)
            const next = from === undefined ? 1 : Number(from) + 1
            if (next > steps) return
            const step = append([appendOf(stream(`Email-${n}-${next}`), "NoStream")], { key, from, to: at(next) })
            yield* Effect.catchTag(step, "TrackingConflict", () => Effect.yieldNow)
          }
        })
      yield* Effect.forEach(Arr.range(0, 7), runner, { concurrency: "unbounded", discard: true })
      const done = (yield* readOrderlyLog(recorder)).map((one) => Number(one.stream.split("-")[2]))
      assert.deepStrictEqual(done, Arr.range(1, steps))
    }))

  test("G2 runners of different slices do not delay each other", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const connections = [yield* TrackedAppend, Context.get(yield* connect, TrackedAppend)]
      yield* Effect.forEach(
        Arr.range(0, 7),
        (slice) =>
          Effect.gen(function* () {
            const { append } = connections[slice % 2]!
            for (let i = 0; i < 10; i++) {
              const expected = i === 0 ? "NoStream" : i - 1
              const step = move(i === 0 ? undefined : i, i + 1, { ...key, slice })
              yield* append([appendOf(stream(`Email-${slice}`), expected)], step)
            }
          }),
        { concurrency: "unbounded", discard: true }
      )
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 80)
    }))
}
