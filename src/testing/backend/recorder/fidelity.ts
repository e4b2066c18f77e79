import { assert } from "@effect/vitest"
import { Array as Arr, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { Recorder } from "../../../Recorder.ts"
import type { StoredEvent } from "../../../StoredEvent.ts"
import * as StreamName from "../../../StreamName.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { assertRecorded, contents, readStream, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"

const allBytes = Uint8Array.from({ length: 256 }, (_, n) => n)

const payloads: Readonly<Record<string, string | Uint8Array>> = {
  "empty text": "",
  "no bytes": new Uint8Array(),
  "every byte": allBytes,
  "bytes that are also text": new TextEncoder().encode('{"a":1}'),
  "bytes that are not UTF-8": Uint8Array.of(0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80),
  "a view on a part of a buffer": allBytes.subarray(100, 200),
  "text that is not JSON": "roll over",
  "escaped NUL and lone surrogate": '{"nul":"\\u0000","half":"\\ud800","key\\u0000":1}',
  "spaces, order of keys, a key twice, forms of numbers":
    '{ "b" : 1.0,\t"a":1e2,\r\n "a":-0, "z":12345678901234567890 }',
  "all of Unicode": `{"text":"é e\u0301 \u{1f436} \u{10ffff} \ufeff \u2028 \u200b ' \`` + '%_$1 ?1 \\\\ \\" --"}',
  // including its overhead, no more than an older server of KurrentDB accepts
  "1 MiB of text": `{"text":"${"é".repeat(2 ** 19 - 512)}"}`,
  "1 MiB of bytes": Uint8Array.from({ length: 2 ** 20 }, (_, n) => (n * 31) ^ (n >> 8))
}

const metadata: NonEmptyReadonlyArray<string> = [
  "{}",
  '{"$correlationId":"request-7","$traceParent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}',
  '{ "b":"1",  "a" : "2" }',
  `{"user":"Zoë \u{1f436} 'quoted' \\"twice\\" \\u0000 %_","":""}`,
  JSON.stringify(Object.fromEntries(Arr.makeBy(500, (n) => [`key ${n}`, "x".repeat(100)])))
]

const fields: NonEmptyReadonlyArray<Partial<StoredEvent>> = [
  { schemaVersion: 1, recordedAt: 0 },
  { schemaVersion: 2 ** 31 - 1, recordedAt: 8.64e15 },
  { recordedAt: 1 },
  { encoding: "json+zstd" },
  { encoding: "json+zlib+aes-gcm:2026-01.key_1", payload: allBytes },
  { type: "A" },
  { type: "Dog.Trick_Added:v2-beta" },
  { type: "T".repeat(256) }
]

/** Each of these is a different stream, however similar they look, sort, or are interpreted. */
const names = [
  ...["Dog-1", "dog-1", "DOG-1", "Dog-01", "Dog-1.0", "Dog-1e0", "Dog-1-", "Dog-1-2", "Dog--1"],
  ...["Dog-1 ", "Dog-1  ", " Dog-1", "Dog -1", "Dog- 1", "Dog-1\t", "Dog-1\n", "Dog-1\r\n"],
  ...["Dog-1\u00a0", "Dog-1\u0001", "Dog-a b", "Dog-a+b", "Dog-a%20b", "Dog-a/b", "Dog-a%2Fb", "Dog-../1"],
  ...["Dog-'", "Dog-''", 'Dog-"', 'Dog-""', "Dog-`", "Dog-\\", "Dog-\\\\", "Dog-\\'"],
  ...["Dog-A", "Dog-a", "Dog-\\u0041", "Dog-null", "Dog-[1]", "Dog-{1}", "Dog-^$", "Dog-.", "Dog-.*"],
  ...["Dog-%", "Dog-_", "Dog-*", "Dog-?1", "Dog-:1", "Dog-@1", "Dog-$1", "Dog-;--", "Dog-/*", "Dog-#"],
  ...["Dog-\u00e9", "Dog-e\u0301", "Dog-\u00c9", "Dog-E\u0301", "Dog-\u1e69", "Dog-s\u0323\u0307"],
  ...["Dog-s\u0307\u0323", "Dog-\u00df", "Dog-ss", "Dog-\u1e9e", "Dog-i", "Dog-\u0130", "Dog-\u0131"],
  ...["Dog-\ufb01", "Dog-fi", "Dog-\u212a", "\ufeffDog-1", "Dog-\ufeff1", "Dog-1\ufeff", "Dog-\u200b1"],
  ...["Dog-\u202e1", "Dog-\u00ad1", "Dog-\ufe0f1", "Dog-\ufffd", "Dog-\uffff", "Dog-\u{10000}"],
  ...["Dog-\u{1f436}", "Dog-\u{1d4d3}", "Dog-\u{10ffff}"],
  `Dog-${"x".repeat(StreamName.MAX_BYTES - 4)}`,
  `Dog-${"x".repeat(StreamName.MAX_BYTES - 5)}`,
  `Dog-${"\u{1f436}".repeat((StreamName.MAX_BYTES - 4) / 4)}`
].map(stream)

/** Events are read back as they were appended: G8. */
export const fidelityTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  const comesBack = (events: NonEmptyReadonlyArray<StoredEvent>) =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      yield* recorder.append({ stream: rex, expected: "NoStream", events })
      assertRecorded(yield* recorder.readStream({ stream: rex, limit: 100 }), rex, events)
      assertRecorded(yield* recorder.readAll({ limit: 100 }), rex, events)
      const backward = yield* recorder.readAll({ direction: "backward", limit: 100 })
      assertRecorded(backward.toReversed(), rex, events)
      const follower = yield* startFollower(recorder)
      yield* follower.until(({ notifications }) => notifications.length === events.length)
      assertRecorded(follower.notifications, rex, events)
    })

  for (const [name, payload] of Object.entries(payloads)) {
    test(`G8 a payload comes back byte for byte: ${name}`, () =>
      comesBack([storedEvent({ payload, encoding: typeof payload === "string" && isJson(payload) ? "json" : "raw" })]))
  }

  test("G8 payloads of text and of bytes in one stream come back as text and as bytes", () =>
    comesBack([
      storedEvent({ payload: "{}" }),
      storedEvent({ payload: new TextEncoder().encode("{}"), encoding: "raw" }),
      storedEvent({ payload: "[]" }),
      storedEvent({ payload: new Uint8Array(), encoding: "raw" })
    ]))

  test("G8 metadata comes back character by character", () =>
    comesBack(Arr.map(metadata, (text) => storedEvent({ metadata: text }))))

  test("G8 type, schema version, encoding and time come back", () => comesBack(Arr.map(fields, storedEvent)))

  test("a time that is not a whole number of milliseconds fails its own append only", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      const times = [0.5, 1764417600000.25, -0.5, Number.NaN, Infinity, -Infinity, 2 ** 53]
      const appends = times.flatMap((recordedAt, i) => [
        {
          stream: stream(`Dog-bad ${i}`),
          expected: "NoStream" as const,
          events: [storedEvent(), storedEvent({ recordedAt })] as const
        },
        { stream: stream(`Dog-good ${i}`), expected: "NoStream" as const, events: [storedEvent()] as const }
      ])
      const answers = yield* Effect.forEach(appends, (append) => Effect.result(recorder.append(append)), {
        concurrency: "unbounded"
      })
      for (const [i, answer] of answers.entries()) {
        if (i % 2 === 1) assert.strictEqual(answer._tag, "Success")
        else assert.strictEqual(answer._tag === "Failure" && answer.failure._tag, "RecorderFailure", `${times[i / 2]}`)
      }
      const log = yield* recorder.readAll({ limit: 100 })
      assert.strictEqual(log.length, times.length)
    }))

  test("G8 a recorded payload does not change when the appended buffer changes", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      // a Buffer is a Uint8Array, but its slice is not a copy
      for (const payload of [Uint8Array.of(1, 2, 3), Buffer.of(1, 2, 3)]) {
        const event = storedEvent({ payload, encoding: "raw" })
        const appended = contents(event)
        const name = stream(`Dog-${payload.constructor.name}`)
        yield* recorder.append({ stream: name, expected: "NoStream", events: [event] })
        payload.fill(0)
        const [recorded] = yield* recorder.readStream({ stream: name, limit: 1 })
        assert.deepStrictEqual(recorded && contents(recorded), appended)
      }
    }))

  test("G8 similar stream names are different streams", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder
      assert.strictEqual(new Set(names).size, names.length)
      const created = names.map((name) => ({ name, event: storedEvent({ payload: JSON.stringify(name) }) }))
      yield* Effect.forEach(
        created,
        ({ name, event }) => recorder.append({ stream: name, expected: "NoStream", events: [event] }),
        { concurrency: 8, discard: true }
      )
      for (const { name, event } of created) {
        const second = storedEvent()
        yield* recorder.append({ stream: name, expected: 0, events: [second] })
        assertRecorded(yield* readStream(recorder, name), name, [event, second])
      }
      const log = yield* recorder.readAll({ limit: 1000 })
      const inLog = Map.groupBy(log, (notification) => notification.stream)
      assert.deepStrictEqual([...inLog.keys()].sort(), names.toSorted())
      for (const { name, event } of created) assert.strictEqual(inLog.get(name)?.[0]?.id, event.id)
    }))
}

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
