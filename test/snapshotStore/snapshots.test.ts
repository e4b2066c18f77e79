import { assert, describe, it } from "@effect/vitest"
import { Context, DateTime, Effect, Layer, Schema } from "effect"
import type { SnapshotRecorder as Port } from "effect-eventsourcing"
import {
  Aggregate,
  Cipher,
  Compressor,
  EventSourcingError,
  Mapper,
  SnapshotRecorder,
  Transcoder
} from "effect-eventsourcing"
import { Dog } from "../support/dog.ts"
import type { Log } from "../support/memoryLog.ts"
import { capturingLogs, makeLog, open, withSnapshotRecorder } from "../support/memoryLog.ts"

const rex = Dog.Id.make("rex")
type Instance = Aggregate.Instance<"Dog", Aggregate.StateOf<typeof Dog>>
const at = (millis: number) => DateTime.makeUnsafe(millis)

const instance = (version: number, tricks: ReadonlyArray<string> = ["sit"]): Instance => ({
  id: rex,
  version,
  state: { name: "Rex", tricks },
  createdAt: at(1000),
  modifiedAt: at(2000 + version)
})

const storedIn = (log: Log) => Context.get(log, SnapshotRecorder.SnapshotRecorder).load(Dog.stream(rex))

describe("SnapshotStore", () => {
  it.effect("returns what was saved: state, version and times", () =>
    Effect.gen(function* () {
      const { snapshots } = yield* open(yield* makeLog)
      assert.strictEqual(yield* snapshots.load(Dog, rex), undefined)
      yield* snapshots.save(Dog, instance(7))
      assert.deepStrictEqual(yield* snapshots.load(Dog, rex), instance(7))
      assert.strictEqual(yield* snapshots.load(Dog, Dog.Id.make("max")), undefined)
    })
  )

  it.effect("keeps the newest, whichever was saved last", () =>
    Effect.gen(function* () {
      const { snapshots } = yield* open(yield* makeLog)
      yield* snapshots.save(Dog, instance(7))
      yield* snapshots.save(Dog, instance(5, ["old"]))
      assert.deepStrictEqual(yield* snapshots.load(Dog, rex), instance(7))
      yield* snapshots.save(Dog, instance(8, ["sit", "roll"]))
      assert.deepStrictEqual(yield* snapshots.load(Dog, rex), instance(8, ["sit", "roll"]))
    })
  )

  const State = Schema.Struct({
    count: Schema.BigInt,
    since: Schema.Option(Schema.DateTimeUtc),
    raw: Schema.Uint8Array,
    names: Schema.ReadonlyMap(Schema.String, Schema.Date)
  })
  const Box = Aggregate.make("Box", {
    state: State,
    creation: { Filled: { with: State } },
    events: { Emptied: {} },
    reduce: { Filled: (event) => event.with, Emptied: (box) => box }
  })

  it.effect.prop(
    "returns states of any codec",
    [State],
    Effect.fnUntraced(function* ([state]) {
      const { snapshots } = yield* open(yield* makeLog)
      const id = Box.Id.make("1")
      yield* snapshots.save(Box, { id, version: 0, state, createdAt: at(0), modifiedAt: at(0) })
      const found = (yield* snapshots.load(Box, id))?.state
      assert.isTrue(found !== undefined && Schema.toEquivalence(State)(found, state))
    })
  )

  it.effect("compresses a snapshot like an event", () =>
    Effect.gen(function* () {
      const mapper = Mapper.layer.pipe(Layer.provide([Transcoder.layerJson, Compressor.layerZstd, Cipher.layerNone]))
      const log = yield* makeLog
      const { snapshots } = yield* open(log, { mapper })
      const tricks = Array.from({ length: 500 }, (_, i) => `trick ${i}`)
      yield* snapshots.save(Dog, instance(500, tricks))
      assert.match((yield* storedIn(log))?.encoding ?? "", /^[0-9a-f]{16} json\+zstd$/)
      assert.deepStrictEqual((yield* snapshots.load(Dog, rex))?.state.tricks, tricks)
    })
  )

  it.effect("fails with EventNotEncodable on a state that does not fit its schema, and keeps the one before", () =>
    Effect.gen(function* () {
      const { snapshots } = yield* open(yield* makeLog)
      yield* snapshots.save(Dog, instance(1))
      // @ts-expect-error a name that is not a string
      const broken: Instance = { ...instance(2), state: { name: 7, tricks: [] } }
      const error = yield* Effect.flip(snapshots.save(Dog, broken))
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Dog-rex", version: 2, type: "Dog (snapshot)" })
      assert.deepStrictEqual(yield* snapshots.load(Dog, rex), instance(1))
    })
  )

  it.effect.each([
    ["text that is no JSON", { payload: "{" }],
    ["a state that does not fit", { payload: '{"name":7,"tricks":[]}' }],
    ["an unknown encoding", { encoding: "bson" }],
    ["damaged bytes", { encoding: "json+zstd", payload: Uint8Array.of(1, 2, 3) }],
    ["a key that is gone", { encoding: "json+aes-gcm:gone", payload: new Uint8Array(40) }],
    ["a newer schema", { schemaVersion: 2 }]
  ] as const)("skips a snapshot of %s, reports it, and replaces it by the next", ([, change]) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const { snapshots } = yield* open(log)
      yield* snapshots.save(Dog, instance(3))
      const good = yield* storedIn(log)
      yield* Context.get(log, SnapshotRecorder.SnapshotRecorder).save({ ...(good as Port.StoredSnapshot), ...change })

      const logs = capturingLogs()
      assert.strictEqual(yield* Effect.provide(snapshots.load(Dog, rex), logs.layer), undefined)
      assert.strictEqual(logs.lines.length, 1)
      assert.include(logs.lines[0], 'the snapshot of "Dog-rex" can\'t be read')
      yield* snapshots.save(Dog, instance(3))
      assert.deepStrictEqual(yield* snapshots.load(Dog, rex), instance(3))
      assert.deepStrictEqual(yield* storedIn(log), good)
    })
  )

  it.effect(
    "fails to save with the recorder's error unchanged; one that can't be loaded is reported and not used",
    () =>
      Effect.gen(function* () {
        const logs = capturingLogs()
        const error = new EventSourcingError.RecorderUnavailable({ operation: "snapshot", reason: "out of reach" })
        const log = withSnapshotRecorder(yield* makeLog, () => ({
          save: () => Effect.fail(error),
          load: () => Effect.fail(error)
        }))
        const { snapshots } = yield* open(log)
        assert.strictEqual(yield* Effect.flip(snapshots.save(Dog, instance(1))), error)
        assert.isUndefined(yield* Effect.provide(snapshots.load(Dog, rex), logs.layer))
        assert.strictEqual(logs.lines.length, 1)
      })
  )
})
