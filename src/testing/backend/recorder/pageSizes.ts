import { Buffer } from "node:buffer"
import { assert } from "@effect/vitest"
import { Array as Arr, Effect } from "effect"
import type { Bounds } from "../../../internal/backend/pageSize.ts"
import { isLastPage, sizeOf } from "../../../internal/backend/pageSize.ts"
import type { Direction, Filter } from "../../../Recorder.ts"
import { Recorder } from "../../../Recorder.ts"
import type { Notification, StoredEvent } from "../../../StoredEvent.ts"
import type { Backend } from "../Backend.ts"
import { storedEvent } from "../events.ts"
import { startFollower } from "../internal/follower.ts"
import { places, readLog, readStream, stream } from "../internal/reading.ts"
import { testsOn } from "../internal/register.ts"

const directions: ReadonlyArray<Direction> = ["forward", "backward"]

const text = (length: number, of = "x") => JSON.stringify({ text: of.repeat(length) })

/** Payloads of many sizes: text of one to three bytes for each unit, and bytes. */
const payloads: ReadonlyArray<string | Uint8Array> = [
  text(10),
  text(3000),
  new Uint8Array(5000).fill(7),
  text(10),
  text(1000, "é"),
  text(1000, "犬"),
  new Uint8Array(0),
  text(40_000),
  text(10),
  text(500, "\u{1f436}"),
  new Uint8Array(20_000).fill(255),
  text(2000)
]

const sizes = [1, 100, 3017, 6000, 41_000, 10_000_000]

/** Pages that end because of their size. */
export const pageSizeTests = (backend: Backend<Recorder>): void => {
  const test = testsOn(backend)
  const rex = stream("Dog-rex")

  const written = Effect.gen(function* () {
    const recorder = yield* Recorder
    for (const [i, payload] of payloads.entries()) {
      const encoding = typeof payload === "string" ? "json" : "bytes"
      const metadata = i % 3 === 0 ? JSON.stringify({ note: "n".repeat(200) }) : "{}"
      const event = storedEvent({ payload, encoding, metadata })
      yield* recorder.append({ stream: rex, expected: i === 0 ? "NoStream" : i - 1, events: [event] })
      yield* recorder.append({ stream: stream(`Cat-${i}`), expected: "NoStream", events: [anew(event), anew(event)] })
    }
    return recorder
  })

  test("a page ends with the event that fills it, and has at least one event", () =>
    Effect.gen(function* () {
      const recorder = yield* written
      for (const direction of directions) {
        const inStream = yield* recorder.readStream({ stream: rex, direction, limit: 1000 })
        assert.strictEqual(inStream.length, payloads.length)
        const filter: Filter = { categories: ["Cat"] }
        const inLog = yield* recorder.readAll({ direction, limit: 1000 })
        const ofCats = yield* recorder.readAll({ direction, filter, limit: 1000 })
        for (const maxBytes of sizes) {
          for (const limit of [1, 2, 7, 1000]) {
            const bounds = { limit, maxBytes }
            for (const from of [0, 5, 10]) {
              const [version, position] = [inStream[from]?.version, inLog[from]?.position]
              const ofStream = yield* recorder.readStream({ stream: rex, direction, after: version, ...bounds })
              assertPage(ofStream, inStream.slice(from + 1), bounds)
              assertPage(
                yield* recorder.readAll({ direction, after: position, ...bounds }),
                inLog.slice(from + 1),
                bounds
              )
            }
            assertPage(yield* recorder.readAll({ direction, filter, ...bounds }), ofCats, bounds)
          }
        }
      }
    }))

  test("pages of any size contain each event once, as it was recorded", () =>
    Effect.gen(function* () {
      const recorder = yield* written
      const [log, whole] = [yield* readLog(recorder), yield* readStream(recorder, rex)]
      assert.deepStrictEqual(
        whole.map(({ payload }) => payload),
        [...payloads]
      )
      for (const maxBytes of [1, 3017, 41_000, 10_000_000]) {
        for (const limit of [5, 1000]) {
          assert.deepStrictEqual(yield* readLog(recorder, { limit, maxBytes }), log)
          const backward = yield* readLog(recorder, { limit, maxBytes, direction: "backward" })
          assert.deepStrictEqual(backward, log.toReversed())
          assert.deepStrictEqual(yield* readStream(recorder, rex, limit, maxBytes), whole)
        }
      }
    }))

  test("a follower's batches end at their size, and none reports too early that it has caught up", () =>
    Effect.gen(function* () {
      const recorder = yield* written
      const log = yield* readLog(recorder)
      for (const maxBytes of sizes) {
        for (const filter of [undefined, { categories: ["Dog"] }]) {
          const follower = yield* startFollower(recorder, { maxBytes, filter })
          yield* follower.until(({ caughtUp }) => caughtUp)
          const expected = log.filter(({ stream }) => filter === undefined || stream === rex)
          assert.deepStrictEqual(places(follower.notifications), places(expected))
          for (const { notifications } of follower.batches) assertNotBeyond(notifications, maxBytes)
        }
      }
      const follower = yield* startFollower(recorder, { maxBytes: 100 })
      yield* follower.until(({ caughtUp }) => caughtUp)
      const events = Arr.makeBy(20, () => storedEvent({ payload: text(1000) }))
      const { position } = yield* recorder.append({ stream: rex, expected: payloads.length - 1, events })
      yield* follower.until((progress) => progress.position === position && progress.caughtUp)
      assert.deepStrictEqual(places(follower.notifications), places(yield* readLog(recorder)))
      for (const { notifications } of follower.batches) assertNotBeyond(notifications, 100)
    }))
}

let events = 0
const anew = (event: StoredEvent): StoredEvent => ({ ...event, id: storedEvent().id, recordedAt: events++ })

const bytesOf = (page: ReadonlyArray<Notification>): number =>
  page.reduce((sum, { payload, metadata }) => sum + Buffer.byteLength(payload) + Buffer.byteLength(metadata), 0)

/** Checks that no event of a page comes after the one with which it reaches its size, however text is counted. */
const assertNotBeyond = (page: ReadonlyArray<Notification>, maxBytes: number): void => {
  const before = page.slice(0, -1).reduce((sum, event) => sum + sizeOf(event), 0)
  assert.isTrue(before < maxBytes, `a page of ${page.length} events had ${before} of ${maxBytes} bytes before its last`)
}

const assertPage = (page: ReadonlyArray<Notification>, whole: ReadonlyArray<Notification>, bounds: Bounds): void => {
  assert.deepStrictEqual(places(page), places(whole.slice(0, page.length)))
  assertNotBeyond(page, bounds.maxBytes ?? 0)
  const isWhole = page.length === Math.min(whole.length, bounds.limit)
  assert.isTrue(
    isWhole || bytesOf(page) >= (bounds.maxBytes ?? 0),
    "a page with more events after it has reached its size"
  )
  assert.isTrue(page.length > 0 || whole.length === 0, "a page has at least one event")
  if (isLastPage(page, bounds)) assert.strictEqual(page.length, whole.length)
}
