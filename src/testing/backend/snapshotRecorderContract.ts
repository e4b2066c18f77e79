/** The contract of {@link SnapshotRecorder}. */
import { assert, describe } from "@effect/vitest"
import { Array as Arr, Context, Effect } from "effect"
import { Recorder } from "../../Recorder.ts"
import type { StoredSnapshot } from "../../SnapshotRecorder.ts"
import { SnapshotRecorder } from "../../SnapshotRecorder.ts"
import type { Backend } from "./Backend.ts"
import { storedEvents } from "./events.ts"
import { startFollower } from "./internal/follower.ts"
import { interruptAfter } from "./internal/interrupting.ts"
import { payloadContents, places, readOrderlyLog, stream } from "./internal/reading.ts"
import { reopeningTestsOn, testsOn } from "./internal/register.ts"

type Services = Recorder | SnapshotRecorder

const rex = stream("Dog-rex")

const snapshotOf = (fields: Partial<StoredSnapshot> = {}): StoredSnapshot => ({
  stream: rex,
  version: 0,
  schemaVersion: 1,
  encoding: "json",
  payload: '{"tricks":[]}',
  createdAt: 1_700_000_000_000,
  modifiedAt: 1_700_000_000_001,
  ...fields
})

const contents = (snapshot: StoredSnapshot | undefined) =>
  snapshot === undefined ? undefined : { ...snapshot, payload: payloadContents(snapshot.payload) }

const assertSame = (actual: StoredSnapshot | undefined, expected: StoredSnapshot | undefined): void =>
  assert.deepStrictEqual(contents(actual), contents(expected))

/** Registers the tests of keeping snapshots: one per stream, the newest. */
export const snapshotRecorderContract = (backend: Backend<Services>): void => {
  const test = testsOn(backend)
  const testReopening = reopeningTestsOn(backend)

  describe(`SnapshotRecorder contract on ${backend.name}`, () => {
    test("a stream without a snapshot has none, whether or not it has events", () =>
      Effect.gen(function* () {
        const [recorder, { load }] = [yield* Recorder, yield* SnapshotRecorder]
        assert.strictEqual(yield* load(rex), undefined)
        yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(2) })
        assert.strictEqual(yield* load(rex), undefined)
      }))

    test("a snapshot replaces an older one", ({ connect }) =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        const other = Context.get(yield* connect, SnapshotRecorder)
        for (const version of [0, 1, 5, 1000]) {
          const snapshot = snapshotOf({ version, payload: `{"version":${version}}`, schemaVersion: version + 1 })
          yield* save(snapshot)
          assertSame(yield* load(rex), snapshot)
          assertSame(yield* other.load(rex), snapshot)
        }
      }))

    test("a snapshot replaces one of the same version", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        yield* save(snapshotOf({ version: 5, payload: "unreadable", encoding: "raw", schemaVersion: 1 }))
        const replacement = snapshotOf({
          version: 5,
          schemaVersion: 2,
          payload: Uint8Array.of(1, 2, 3),
          encoding: "json+zlib",
          createdAt: 1,
          modifiedAt: 2
        })
        yield* save(replacement)
        assertSame(yield* load(rex), replacement)
      }))

    test("a snapshot older than the stored one is ignored", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        const newest = snapshotOf({ version: 5, payload: "5" })
        yield* save(newest)
        for (const version of [4, 0]) yield* save(snapshotOf({ version, payload: "old", schemaVersion: 9 }))
        assertSame(yield* load(rex), newest)
      }))

    test("of snapshots that are saved concurrently, the newest is kept", ({ connect }) =>
      Effect.gen(function* () {
        const recorders = [yield* SnapshotRecorder, Context.get(yield* connect, SnapshotRecorder)]
        for (let round = 0; round < 5; round++) {
          const name = stream(`Dog-${round}`)
          const versions = Arr.makeBy(40, (n) => (n * 17 + round * 5) % 40)
          yield* Effect.forEach(
            versions,
            (version, i) => recorders[i % 2]!.save(snapshotOf({ stream: name, version, payload: `${version}` })),
            { concurrency: "unbounded", discard: true }
          )
          for (const { load } of recorders) {
            assertSame(yield* load(name), snapshotOf({ stream: name, version: 39, payload: "39" }))
          }
        }
      }))

    test("G8 a saved snapshot comes back byte for byte", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        const allBytes = Uint8Array.from({ length: 256 }, (_, n) => n)
        const snapshots: ReadonlyArray<Partial<StoredSnapshot>> = [
          { payload: "" },
          { payload: new Uint8Array() },
          { payload: '{ "b" : 1.0, "a":"é e\u0301 \u{1f436} \\u0000 \\ud800" }' },
          { payload: allBytes, encoding: "json+zlib+aes-gcm:2026-01.key_1" },
          { payload: allBytes.subarray(7, 9), encoding: "json+zstd" },
          { payload: "é".repeat(2 ** 19) },
          { payload: Uint8Array.from({ length: 2 ** 20 }, (_, n) => (n * 31) ^ (n >> 8)) },
          { schemaVersion: 2 ** 31 - 1, createdAt: 0, modifiedAt: 8.64e15 }
        ]
        for (const fields of snapshots) {
          const snapshot = snapshotOf(fields)
          yield* save(snapshot)
          assertSame(yield* load(rex), snapshot)
        }
      }))

    test("G8 a saved payload does not change when the buffer that was passed changes", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        // a Buffer is a Uint8Array, but its slice is not a copy
        for (const payload of [Uint8Array.of(1, 2, 3), Buffer.of(1, 2, 3)]) {
          yield* save(snapshotOf({ payload }))
          payload.fill(0)
          assertSame(yield* load(rex), snapshotOf({ payload: Uint8Array.of(1, 2, 3) }))
        }
      }))

    test("G8 each stream has its own snapshot, however similar the names are", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        const names = [
          ...["Dog-1", "dog-1", "Dog-1 ", "Dog-1-", "Dog-\u00e9", "Dog-e\u0301"],
          ...["Dog-%", "Dog-_", "Dog-'", "\ufeffDog-1"]
        ]
        const snapshots = names.map((name, version) => snapshotOf({ stream: stream(name), version }))
        yield* Effect.forEach(snapshots, save, { concurrency: "unbounded", discard: true })
        for (const snapshot of snapshots) assertSame(yield* load(snapshot.stream), snapshot)
      }))

    test("snapshots are outside the streams and the total order", () =>
      Effect.gen(function* () {
        const [recorder, { save, load }] = [yield* Recorder, yield* SnapshotRecorder]
        yield* recorder.append({ stream: rex, expected: "NoStream", events: storedEvents(3) })
        const before = places(yield* readOrderlyLog(recorder))
        const follower = yield* startFollower(recorder)
        yield* save(snapshotOf({ version: 2 }))
        yield* save(snapshotOf({ stream: stream("Dog-without-events"), version: 7 }))
        assert.deepStrictEqual(places(yield* readOrderlyLog(recorder)), before)
        const { position } = yield* recorder.append({ stream: rex, expected: 2, events: storedEvents(1) })
        yield* follower.until((progress) => progress.position === position)
        assert.strictEqual(follower.notifications.length, 4)
        assertSame(yield* load(rex), snapshotOf({ version: 2 }))
      }))

    test("G10 an interrupted save keeps the old snapshot or the new one", () =>
      Effect.gen(function* () {
        const { save, load } = yield* SnapshotRecorder
        yield* save(snapshotOf({ version: 0, payload: "0" }))
        for (let version = 1; version <= 40; version++) {
          yield* interruptAfter(save(snapshotOf({ version, payload: `${version}` })), version % 20)
          const kept = yield* load(rex)
          assert.strictEqual(kept?.payload, `${kept?.version}`)
          assert.include([version - 1, version], kept?.version)
          yield* save(snapshotOf({ version, payload: `${version}` }))
        }
        assertSame(yield* load(rex), snapshotOf({ version: 40, payload: "40" }))
      }))

    const kept = snapshotOf({ version: 7, payload: Uint8Array.of(0, 255), encoding: "raw", schemaVersion: 3 })
    testReopening(
      "G5 a snapshot is there when the log is reopened",
      Effect.gen(function* () {
        yield* (yield* SnapshotRecorder).save(kept)
      }),
      () =>
        Effect.gen(function* () {
          const { save, load } = yield* SnapshotRecorder
          assertSame(yield* load(rex), kept)
          yield* save(snapshotOf({ version: 6 }))
          assertSame(yield* load(rex), kept)
        })
    )
  })
}
