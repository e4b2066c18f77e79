import { assert } from "@effect/vitest"
import { Array as Arr, Effect } from "effect"
import type { Append } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent, storedEvents } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { assertRecorded, places, readOrderlyLog, readStream, stream } from "../internal/reading.ts"
import { reopeningTestsOn } from "../internal/register.ts"

/** The events that exist after all connections were closed: G5, and G7 across the closing. */
export const reopeningTests = (backend: Backend<Recorder>): void => {
  const test = reopeningTestsOn(backend)
  const rex = stream("Dog-rex")
  const events = [
    storedEvent({ payload: '{"text":"é \\u0000"}', metadata: '{"user":"ada"}', schemaVersion: 3 }),
    storedEvent({ payload: Uint8Array.from({ length: 256 }, (_, n) => n), encoding: "raw", type: "Dog.Renamed" })
  ] as const
  const first: Append = { stream: rex, expected: "NoStream", events }

  test(
    "G5 appended events are there when the log is reopened",
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append(first)
      yield* Effect.forEach(
        Arr.range(1, 20),
        (n) => recorder.append({ stream: stream(`Dog-${n}`), expected: "NoStream", events: storedEvents(10) }),
        { concurrency: "unbounded" }
      )
      return { log: yield* readOrderlyLog(recorder), logId: recorder.logId }
    }),
    ({ log, logId }) =>
      Effect.gen(function* () {
        const recorder = yield* Recorder
        assert.strictEqual(recorder.logId, logId)
        assert.strictEqual(log.length, 202)
        assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), places(log))
        assertRecorded(yield* readStream(recorder, rex), rex, events)
        const follower = yield* startFollower(recorder, { after: log[200]?.position })
        yield* follower.until(({ position }) => position === log[201]?.position)
        assert.strictEqual(follower.notifications.length, 1)
      })
  )

  test(
    "G5 a reopened log continues where it was",
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append(first)
      yield* Effect.flip(recorder.append({ ...first, events: storedEvents(10) }))
      return yield* recorder.head
    }),
    (head) =>
      Effect.gen(function* () {
        const recorder = yield* Recorder
        assert.strictEqual(yield* recorder.head, head)
        yield* Effect.flip(recorder.append({ ...first, events: storedEvents(1) }))
        const { version, position } = yield* recorder.append({ stream: rex, expected: 1, events: storedEvents(1) })
        assert.strictEqual(version, 2)
        assert.isTrue(head !== undefined && position > head, `${position} after ${head}`)
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 3)
      })
  )

  test(
    "G7 the same append again after the log was reopened returns the same result",
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const answer = yield* recorder.append(first)
      yield* recorder.append({ stream: rex, expected: 1, events: storedEvents(3) })
      return answer
    }),
    (answer) =>
      Effect.gen(function* () {
        const recorder = yield* Recorder
        assert.deepStrictEqual({ ...(yield* recorder.append(first)) }, { ...answer })
        assert.strictEqual((yield* readOrderlyLog(recorder)).length, 5)
      })
  )
}
