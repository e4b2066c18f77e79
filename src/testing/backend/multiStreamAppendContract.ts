/** The contract of {@link MultiStreamAppend}. */
import { assert, describe } from "@effect/vitest"
import { Array as Arr, Cause, Context, Effect, Exit } from "effect"
import type { Check } from "../../MultiStreamAppend.ts"
import { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type { Append, ExpectedVersion } from "../../Recorder.ts"
import { Recorder } from "../../Recorder.ts"
import type { Backend } from "./Backend.ts"
import { storedEvent, storedEvents } from "./events.ts"
import { interruptAfter } from "./internal/interrupting.ts"
import { assertPositions } from "./internal/positions.ts"
import { programTests } from "./internal/programTests.ts"
import {
  assertRecorded,
  assertWrongVersion,
  ids,
  lastVersion,
  places,
  readOrderlyLog,
  readStream,
  stream
} from "./internal/reading.ts"
import { reopeningTestsOn, testsOn } from "./internal/register.ts"

type Services = Recorder | MultiStreamAppend

const [rex, fido, tom] = [stream("Dog-rex"), stream("Dog-fido"), stream("Cat-tom")]

const appendOf = (name: typeof rex, expected: ExpectedVersion, count = 1): Append => ({
  stream: name,
  expected,
  events: storedEvents(count)
})

/** Registers the tests of appending to several streams: G1, G2, G3, G5, G7, G10. */
export const multiStreamAppendContract = (backend: Backend<Services>): void => {
  describe(`MultiStreamAppend contract on ${backend.name}`, () => {
    appendingTests(backend)
    concurrencyTests(backend)
    repeatingTests(backend)
    programTests(backend, {
      maxParts: 4,
      send: (services) => {
        const { append } = Context.get(services, MultiStreamAppend)
        return ({ appends, checks }) =>
          Arr.isReadonlyArrayNonEmpty(appends)
            ? append(appends, checks)
            : Effect.die(new Error("a batch without an append"))
      }
    })
  })
}

const appendingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G1 events are appended to several streams, each at its own version", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const first = [appendOf(rex, "NoStream", 2), appendOf(tom, "NoStream", 1)] as const
      const second = [appendOf(tom, 0, 3), appendOf(fido, "NoStream", 1), appendOf(rex, 1, 2)] as const
      const answers = [yield* append(first), yield* append(second)]
      assert.deepStrictEqual(
        answers.map(({ versions }) => [...versions]),
        [
          [1, 0],
          [3, 0, 3]
        ]
      )
      const log = yield* readOrderlyLog(recorder)
      assert.deepStrictEqual(
        answers.map(({ position }) => position),
        [log[2]?.position, log.at(-1)?.position]
      )
      assert.deepStrictEqual(ids(log).toSorted(), [...first, ...second].flatMap(({ events }) => ids(events)).toSorted())
      const ofRex = [...first[0].events, ...second[2].events]
      const ofTom = [...first[1].events, ...second[0].events]
      assertRecorded(yield* readStream(recorder, rex), rex, ofRex)
      assertRecorded(yield* readStream(recorder, tom), tom, ofTom)
      assertRecorded(yield* readStream(recorder, fido), fido, second[1].events)
    }))

  test("G1 events are appended to a hundred streams at once, and a hundred others are checked", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const appends = Arr.makeBy(100, (n) => appendOf(stream(`Dog-${n}`), "NoStream", 3))
      const checks = Arr.makeBy(100, (n): Check => ({ stream: stream(`Cat-${n}`), expected: "NoStream" }))
      const last = stream("Cat-99")
      const wrong = Arr.append(checks.slice(0, -1), { stream: last, expected: 0 })
      const error = yield* Effect.flip(append(appends, wrong))
      assertWrongVersion(error, { stream: last, expected: 0, actual: "NoStream" })
      const { versions } = yield* append(appends, checks)
      assert.deepStrictEqual([...versions], Arr.replicate(2, 100))
      const log = yield* readOrderlyLog(recorder)
      assert.deepStrictEqual(ids(log).toSorted(), appends.flatMap(({ events }) => ids(events)).toSorted())
    }))

  test("an append to one stream is what Recorder.append does", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const first = appendOf(rex, "NoStream", 2)
      const { versions, position, positions } = yield* append([first])
      const { version, ...same } = yield* recorder.append(first)
      assert.deepStrictEqual([version, same.position, same.positions], [versions[0], position, positions?.[0]])
      const second = appendOf(rex, 1, 2)
      const answer = yield* recorder.append(second)
      const again = yield* append([second])
      assert.deepStrictEqual([[...again.versions], again.position], [[answer.version], answer.position])
      assertWrongVersion(yield* Effect.flip(append([appendOf(rex, 1)])), { stream: rex, expected: 1, actual: 3 })
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 4)
    }))

  test("G1 one wrong expectation means that nothing is recorded in any stream", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      yield* recorder.append(appendOf(rex, "NoStream", 3))
      const before = places(yield* readOrderlyLog(recorder))
      const names = Arr.makeBy(5, (n) => stream(`New-${n}`))
      const good = Arr.map(names, (name) => appendOf(name, "NoStream", 20))
      for (const expected of ["NoStream", 0, 1, 3] as const) {
        const bad = appendOf(rex, expected, 20)
        for (let at = 0; at <= good.length; at++) {
          const [before, behind] = Arr.splitAt(good, at)
          const attempt = append(Arr.appendAll(before, Arr.prepend(behind, bad)))
          assertWrongVersion(yield* Effect.flip(attempt), { stream: rex, expected, actual: 2 })
        }
        const checked = append(good, [{ stream: rex, expected }])
        assertWrongVersion(yield* Effect.flip(checked), { stream: rex, expected, actual: 2 })
      }
      const missing = append([appendOf(rex, 2), appendOf(fido, 0)])
      assertWrongVersion(yield* Effect.flip(missing), { stream: fido, expected: 0, actual: "NoStream" })
      assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), before)
      for (const name of names) assert.strictEqual(yield* lastVersion(recorder, name), "NoStream")
    }))

  test("G2 streams that are only checked must be at their expected versions, and do not change", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      yield* recorder.append(appendOf(rex, "NoStream", 3))
      const holding: ReadonlyArray<Check> = [
        { stream: rex, expected: 2 },
        { stream: tom, expected: "NoStream" }
      ]
      yield* append([appendOf(fido, "NoStream", 2)], holding)
      assert.deepStrictEqual([yield* lastVersion(recorder, rex), yield* lastVersion(recorder, tom)], [2, "NoStream"])

      const wrong: ReadonlyArray<Check & { readonly actual: ExpectedVersion }> = [
        { stream: rex, expected: 1, actual: 2 },
        { stream: rex, expected: 3, actual: 2 },
        { stream: rex, expected: "NoStream", actual: 2 },
        { stream: tom, expected: 0, actual: "NoStream" }
      ]
      for (const { actual, ...check } of wrong) {
        const others = holding.filter(({ stream }) => stream !== check.stream)
        const error = yield* Effect.flip(append([appendOf(fido, 1)], [...others, check]))
        assertWrongVersion(error, { ...check, actual })
      }
      yield* append([appendOf(fido, 1)], [])
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 6)
    }))

  test("naming a stream twice is a defect, and records nothing", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const check: Check = { stream: rex, expected: "NoStream" }
      const twice = [
        append([appendOf(rex, "NoStream"), appendOf(fido, "NoStream"), appendOf(rex, 0)]),
        append([appendOf(rex, "NoStream"), appendOf(rex, "NoStream")]),
        append([appendOf(rex, "NoStream"), appendOf(fido, "NoStream")], [check]),
        append([appendOf(fido, "NoStream")], [check, check])
      ]
      for (const attempt of twice) {
        const exit = yield* Effect.exit(attempt)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), `${exit}`)
      }
      assert.deepStrictEqual(yield* readOrderlyLog(recorder), [])
      yield* append([appendOf(rex, "NoStream"), appendOf(fido, "NoStream")])
    }))
}

const concurrencyTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G2 of two writers that each check the stream that the other appends to, exactly one succeeds", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const [one, two] = [yield* MultiStreamAppend, Context.get(yield* connect, MultiStreamAppend)]
      for (let round = 0; round < 30; round++) {
        const [left, right] = [stream(`Left-${round}`), stream(`Right-${round}`)]
        const attempts = [
          one.append([appendOf(left, "NoStream")], [{ stream: right, expected: "NoStream" }]),
          two.append([appendOf(right, "NoStream")], [{ stream: left, expected: "NoStream" }])
        ]
        const [answers, errors] = yield* Effect.partition(attempts, (attempt) => attempt, { concurrency: "unbounded" })
        assert.strictEqual(answers.length, 1)
        for (const error of errors) assert.strictEqual(error._tag, "WrongExpectedVersion")
      }
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 30)
    }))

  test("G2 writers to overlapping sets of streams all succeed in the end, each with all of its events", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const connections = [yield* MultiStreamAppend, Context.get(yield* connect, MultiStreamAppend)]
      const names = Arr.makeBy(4, (n) => stream(`Account-${n}`))
      const transfer = (n: number, from: typeof rex, to: typeof rex): Effect.Effect<unknown, unknown> =>
        Effect.gen(function* () {
          const appends = [
            appendOf(from, yield* lastVersion(recorder, from)),
            appendOf(to, yield* lastVersion(recorder, to))
          ] as const
          yield* connections[n % 2]!.append(appends)
        }).pipe(Effect.catchTag("WrongExpectedVersion", () => transfer(n, from, to)))
      yield* Effect.forEach(Arr.range(0, 99), (n) => transfer(n, names[n % 4]!, names[(n + 1 + (n % 3)) % 4]!), {
        concurrency: 20,
        discard: true
      })
      const log = yield* readOrderlyLog(recorder)
      assert.strictEqual(log.length, 200)
      for (let i = 0; i < log.length; i += 2) assert.notStrictEqual(log[i]?.stream, log[i + 1]?.stream)
    }))

  test("G3 the positions of two concurrent appends to several streams do not overlap", ({ connect }) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const connections = [yield* MultiStreamAppend, Context.get(yield* connect, MultiStreamAppend)]
      const appends = ["Left", "Right"].map((side) =>
        Arr.makeBy(4, (n) => appendOf(stream(`${side}-${n}`), "NoStream", 250))
      )
      yield* Effect.forEach(appends, (batch, i) => connections[i]!.append(batch), { concurrency: "unbounded" })
      const sides = (yield* readOrderlyLog(recorder)).map((one) => one.stream.split("-")[0])
      assert.strictEqual(sides.length, 2000)
      assert.strictEqual(sides.filter((side, i) => side !== sides[i + 1]).length, 2)
    }))

  test("G10 an interrupted append is recorded in all streams or in none", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      for (let round = 0; round < 40; round++) {
        const expected = yield* lastVersion(recorder, rex)
        const appends = [appendOf(rex, expected, 2), appendOf(fido, expected, 2)] as const
        yield* interruptAfter(append(appends), round % 20)
        assert.strictEqual(yield* lastVersion(recorder, rex), yield* lastVersion(recorder, fido))
        assert.deepStrictEqual([...(yield* append(appends)).versions], [round * 2 + 1, round * 2 + 1])
      }
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 160)
    }))
}

const repeatingTests = (backend: Backend<Services>): void => {
  const test = testsOn(backend)

  test("G7 the positions that an append returns are those of its events, also for a repeated one", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const requests = [
        [appendOf(rex, "NoStream", 2), appendOf(tom, "NoStream", 1)],
        [appendOf(tom, 0, 3), appendOf(fido, "NoStream", 1), appendOf(rex, 1, 2)],
        [appendOf(tom, 3, 1)]
      ] as const
      for (const _ of ["first", "again"]) {
        for (const appends of requests) {
          yield* assertPositions(backend, recorder, appends, yield* append(appends))
        }
      }
    }))
  const testReopening = reopeningTestsOn(backend)

  test("G7 the same append again returns the same result, also after later events and when the checks no longer hold", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const appends = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream", 3)] as const
      const checks: ReadonlyArray<Check> = [{ stream: tom, expected: "NoStream" }]
      const answer = yield* append(appends, checks)
      const repeats = Effect.gen(function* () {
        const again = yield* append(appends, checks)
        assert.deepStrictEqual([[...again.versions], again.position], [[...answer.versions], answer.position])
      })
      yield* repeats
      yield* recorder.append(appendOf(fido, 2, 5))
      yield* repeats
      yield* recorder.append(appendOf(tom, "NoStream", 5))
      yield* append([appendOf(rex, 1), appendOf(fido, 7)])
      yield* repeats
      assert.strictEqual((yield* readOrderlyLog(recorder)).length, 17)
    }))

  test("G7 an append whose events only some of the streams have is refused, and records nothing", () =>
    Effect.gen(function* () {
      const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
      const [ofRex, ofFido] = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream", 2)]
      yield* append([ofRex, ofFido])
      const before = places(yield* readOrderlyLog(recorder))
      const wrong = { stream: rex, expected: "NoStream", actual: 1 } as const
      const withOthers = [
        appendOf(tom, "NoStream"),
        { ...ofFido, events: [ofFido.events[0], storedEvent()] as const },
        { ...ofFido, events: [...ofFido.events, storedEvent()] as const }
      ]
      for (const other of withOthers) {
        const error = yield* Effect.flip(append([ofRex, other]))
        // it is not specified which of the two streams at other versions is reported
        assertWrongVersion(error, { ...wrong, stream: "stream" in error && error.stream === fido ? fido : rex })
      }
      assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), before)
    }))

  testReopening(
    "G5 G7 the same append again after the log was reopened returns the same result",
    Effect.gen(function* () {
      const { append } = yield* MultiStreamAppend
      const appends = [appendOf(rex, "NoStream", 2), appendOf(fido, "NoStream", 3)] as const
      const { versions, position } = yield* append(appends)
      yield* append([appendOf(rex, 1), appendOf(tom, "NoStream")])
      return { appends, answer: [[...versions], position] }
    }),
    ({ appends, answer }) =>
      Effect.gen(function* () {
        const [recorder, { append }] = [yield* Recorder, yield* MultiStreamAppend]
        const { versions, position } = yield* append(appends)
        assert.deepStrictEqual([[...versions], position], answer)
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 7)
      })
  )
}
