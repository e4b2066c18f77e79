/**
 * Trackings as streams of the server: who can read them, what the server keeps of them, and what can be done to them.
 */
import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schedule, Stream } from "effect"
import type { Tracking } from "effect-eventsourcing"
import {
  EventStore,
  MultiStreamAppend,
  Position,
  Recorder,
  Repository,
  StreamName,
  TrackedAppend
} from "effect-eventsourcing"
import { KurrentClient, KurrentLayer } from "effect-eventsourcing/kurrent"
import { storedEvent } from "effect-eventsourcing/testing/backend"
import { Counter, increase } from "../../support/dog.ts"
import { eventually } from "../../support/eventually.ts"
import { idsOf, newAppend, ownFake, watch } from "../support/logs.ts"
import { isFake, isSince, newPrefix, uri } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)
const onServer = it.live.skipIf(!isSince("26.1.0"))

const key: Tracking.Key = { projection: "Emails", version: 1, upstream: "accounts", slice: 0 }

const at = (n: number): Position.Position => Position.fromStorage(BigInt(n))

const move = (from: number | undefined, to: number, of: Tracking.Key = key): Tracking.Move => ({
  key: of,
  from: from === undefined ? undefined : at(from),
  to: at(to)
})

/** A log with tracked appends, and a client of its server. */
const open = ({ prefix = newPrefix(), connectionString = uri } = {}) =>
  Effect.gen(function* () {
    const options = { connectionString, prefix }
    const built = yield* Layer.build(Layer.fresh(KurrentLayer.multiStream(options)))
    const client = Context.get(yield* Layer.build(Layer.fresh(KurrentClient.layer(options))), KurrentClient)
    /** The name of the stream of the only tracking. */
    const named = Effect.gen(function* () {
      const trackings = `${prefix}effect_eventsourcing_tracking:`
      const found = yield* Stream.runCollect(client.readAll({ filter: { on: "stream", prefixes: [trackings] } }))
      const names = new Set(found.map(({ stream }) => stream))
      assert.strictEqual(names.size, 1)
      return found[0]?.stream ?? ""
    })
    const tracked = Context.get(built, TrackedAppend.TrackedAppend)
    return { built, client, named, prefix, recorder: Context.get(built, Recorder.Recorder), tracked }
  })

describe("the stream of a tracking", () => {
  onServer("is not seen by pages, filters, the head, followers or the event store", () =>
    Effect.gen(function* () {
      const { built, recorder, tracked } = yield* open()
      const all = yield* watch({ recorder })
      const filtered = yield* watch({ recorder }, { filter: { types: ["tracking", "Counter.Started"] } })
      const ofCategory = yield* watch({ recorder }, { filter: { categories: ["Dog"] } })
      yield* tracked.append([newAppend("Dog-a")], move(undefined, 1))
      yield* tracked.append([], move(1, 2))
      // an event type of the same name belongs to the log
      const typed = { ...storedEvent(), type: "tracking" }
      const appended = [{ stream: StreamName.StreamName.make("Dog-b"), expected: "NoStream", events: [typed] }] as const
      const { position } = yield* tracked.append(appended, move(2, 3))
      yield* tracked.append([], move(3, 4))

      const log = yield* recorder.readAll({ limit: 100 })
      assert.deepStrictEqual(
        log.map(({ stream }) => `${stream}`),
        ["Dog-a", "Dog-b"]
      )
      assert.strictEqual(log[1]?.position, position)
      const backward = yield* recorder.readAll({ direction: "backward", limit: 100 })
      assert.deepStrictEqual(backward.toReversed(), log)
      assert.strictEqual(yield* recorder.head, position)
      const ofType = yield* recorder.readAll({ filter: { types: ["tracking"] }, limit: 100 })
      assert.deepStrictEqual(ofType, log.slice(1))
      for (const seen of [all, filtered, ofCategory]) yield* seen.untilReached(position)
      assert.deepStrictEqual(
        [...all.ids],
        log.map(({ id }) => id)
      )
      assert.deepStrictEqual([...filtered.ids], [typed.id])
      assert.deepStrictEqual(
        [...ofCategory.ids],
        log.map(({ id }) => id)
      )
      assert.strictEqual(yield* Context.get(built, EventStore.EventStore).head, position)
    })
  )

  onServer("is a different one for each log of a server", () =>
    Effect.gen(function* () {
      const [one, two] = [yield* open(), yield* open()]
      yield* one.tracked.append([], move(undefined, 7))
      assert.strictEqual(yield* two.tracked.position(key), undefined)
      yield* two.tracked.append([], move(undefined, 1))
      assert.strictEqual(yield* one.tracked.position(key), at(7))
    })
  )

  onServer("keeps only its newest event, from the first move on", () =>
    Effect.gen(function* () {
      const { client, named, tracked } = yield* open()
      for (let n = 1; n <= 5; n++) yield* tracked.append([], move(n === 1 ? undefined : n - 1, n))
      const name = yield* named
      assert.strictEqual((yield* client.getStreamMetadata(name)).metadata.maxCount, 1)
      assert.lengthOf(yield* Stream.runCollect(client.readStream(name)), 1)
    })
  )

  onServer("is trimmed by the next process if the first one ended before that, and keeps its other metadata", () =>
    Effect.gen(function* () {
      const { client, prefix, named, tracked } = yield* open()
      for (let n = 1; n <= 3; n++) yield* tracked.append([], move(n === 1 ? undefined : n - 1, n))
      const name = yield* named
      // as if the process had ended before it set the metadata
      yield* client.setStreamMetadata(name, { custom: { owner: "billing" } }, { expected: "Any" })
      assert.lengthOf(yield* Stream.runCollect(client.readStream(name)), 3)
      const other = yield* open({ prefix })
      assert.strictEqual(yield* other.tracked.position(key), at(3))
      yield* other.tracked.append([], move(3, 4))
      const { metadata } = yield* client.getStreamMetadata(name)
      assert.deepStrictEqual([metadata.maxCount, metadata.custom], [1, { owner: "billing" }])
      assert.lengthOf(yield* Stream.runCollect(client.readStream(name)), 1)
    })
  )

  onServer("begins again after somebody has deleted it", () =>
    Effect.gen(function* () {
      const { client, prefix, recorder, named, tracked } = yield* open()
      yield* tracked.append([newAppend("Dog-a")], move(undefined, 5))
      const name = yield* named
      yield* client.deleteStream(name)
      const other = yield* open({ prefix })
      for (const { append, position } of [tracked, other.tracked]) {
        assert.strictEqual(yield* position(key), undefined)
        const error = yield* Effect.flip(append([newAppend("Dog-b")], move(5, 6)))
        assert.deepInclude(error, { _tag: "TrackingConflict", actual: undefined })
      }
      yield* tracked.append([newAppend("Dog-b")], move(undefined, 3))
      yield* tracked.append([newAppend("Dog-c")], move(3, 4))
      assert.strictEqual(yield* other.tracked.position(key), at(4))
      assert.lengthOf(yield* recorder.readAll({ limit: 100 }), 3)
      const rest = yield* Stream.runCollect(client.readStream(name))
      assert.lengthOf(rest, 1)
    })
  )

  onServer("is named by the failure if somebody has truncated it or written to it, and nothing is recorded", () =>
    Effect.gen(function* () {
      const cuts = [
        (client: KurrentClient["Service"], name: string) =>
          client.setStreamMetadata(name, { maxCount: 1, truncateBefore: 100n }, { expected: "Any" }),
        (client: KurrentClient["Service"], name: string) =>
          client.append(name, [{ type: "Odd", data: { other: 1 } }], { expected: "Any" }),
        (client: KurrentClient["Service"], name: string) => client.tombstoneStream(name, { expected: "Any" })
      ]
      for (const cut of cuts) {
        const { client, prefix, recorder, named, tracked } = yield* open()
        yield* tracked.append([newAppend("Dog-a")], move(undefined, 5))
        const name = yield* named
        yield* cut(client, name)
        const other = yield* open({ prefix })
        const error = yield* Effect.flip(other.tracked.append([newAppend("Dog-b")], move(undefined, 6)))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.include(error.message, name)
        assert.lengthOf(yield* recorder.readAll({ limit: 100 }), 1)
      }
    })
  )
})

describe("a tracked append", () => {
  onServer("does not begin a stream that was deleted, and the tracking stays where it is", () =>
    Effect.gen(function* () {
      const { client, prefix, recorder, tracked } = yield* open()
      yield* recorder.append(newAppend("Dog-a", 3))
      yield* client.deleteStream(`${prefix}Dog-a`)
      const error = yield* Effect.flip(tracked.append([newAppend("Dog-b"), newAppend("Dog-a")], move(undefined, 1)))
      assert.match(error.message, /deleted or truncated/)
      assert.strictEqual(yield* tracked.position(key), undefined)
    })
  )

  onServer("names the stream that has a tombstone, and so does an append to several streams", () =>
    Effect.gen(function* () {
      const { built, client, prefix, recorder, tracked } = yield* open()
      yield* recorder.append(newAppend("Dog-a", 3))
      yield* client.tombstoneStream(`${prefix}Dog-a`, { expected: "Any" })
      const appends = [newAppend("Dog-b"), newAppend("Dog-a")] as const
      const multiStream = Context.get(built, MultiStreamAppend.MultiStreamAppend)
      for (const append of [tracked.append(appends, move(undefined, 1)), multiStream.append(appends)]) {
        const error = yield* Effect.flip(append)
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.include(error.message, 'the stream "Dog-a" has a tombstone')
      }
      assert.strictEqual(yield* tracked.position(key), undefined)
    })
  )

  onServer("continues from where another process has left the tracking, and from where it has moved it itself", () =>
    Effect.gen(function* () {
      const one = yield* open()
      const two = yield* open({ prefix: one.prefix })
      for (let n = 0; n < 6; n++) {
        const { tracked } = n % 3 === 2 ? two : one
        yield* tracked.append([newAppend(`Dog-${n}`)], move(n === 0 ? undefined : n, n + 1))
      }
      assert.lengthOf(yield* idsOf(one), 6)
    })
  )

  onFake(
    "G7 is unavailable if its answer is lost; sent again, it returns its result, and its events are there once",
    () =>
      Effect.gen(function* () {
        const fake = yield* ownFake()
        const { recorder, tracked } = yield* open({ connectionString: fake.uri })
        for (let n = 0; n < 4; n++) {
          const appends = [newAppend(`Dog-${n}`, 2), newAppend(`Cat-${n}`)]
          const append = tracked.append(appends, move(n === 0 ? undefined : n, n + 1))
          if (n % 2 === 0) fake.faults.dropAfterWrite()
          else fake.faults.dropBeforeWrite()
          assert.strictEqual((yield* Effect.flip(append))._tag, "RecorderUnavailable")
          const { position, versions } = yield* Effect.retry(append, {
            while: ({ _tag }) => _tag === "RecorderUnavailable",
            schedule: Schedule.spaced("20 millis")
          })
          assert.deepStrictEqual([...versions], [1, 0])
          assert.strictEqual(position, yield* recorder.head)
        }
        assert.strictEqual(yield* tracked.position(key), at(4))
        assert.lengthOf(yield* idsOf({ recorder }), 12)
      })
  )

  onFake("that lost a race reports where the tracking is, although that can be read only later", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const one = yield* open({ connectionString: fake.uri })
      const two = yield* open({ connectionString: fake.uri, prefix: one.prefix })
      yield* one.tracked.append([], move(undefined, 1))
      assert.strictEqual(yield* two.tracked.position(key), at(1))
      fake.faults.showLater(100)
      const outcomes = yield* Effect.forEach(
        [one, two],
        ({ tracked }, n) => Effect.result(tracked.append([newAppend(`Dog-${n}`)], move(1, 2))),
        { concurrency: 2 }
      )
      const errors = outcomes.flatMap((outcome) => (outcome._tag === "Failure" ? [outcome.failure] : []))
      assert.lengthOf(errors, 1)
      assert.deepInclude(errors[0], { _tag: "TrackingConflict", expected: at(1), actual: at(2) })
      fake.faults.clear()
      yield* eventually(
        "the event can be read",
        Effect.map(idsOf(one), (ids) => ids.length === 1)
      )
    })
  )

  onFake("works on 25.1; with checks it is refused before 26.1, and records nothing", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake({ version: "25.1.0" })
      const { recorder, tracked } = yield* open({ connectionString: fake.uri })
      yield* tracked.append([newAppend("Dog-a")], move(undefined, 1))
      const check = { stream: StreamName.StreamName.make("Dog-a"), expected: 0 }
      const error = yield* Effect.flip(tracked.append([newAppend("Dog-b")], move(1, 2), [check]))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, /check streams.*26\.1/)
      assert.strictEqual(yield* tracked.position(key), at(1))
      yield* tracked.append([newAppend("Dog-b")], move(1, 2))
      assert.lengthOf(yield* idsOf({ recorder }), 2)
    })
  )

  onFake("does not exist before 25.1: building the layer fails", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake({ version: "24.10.6" })
      const exit = yield* Effect.exit(open({ connectionString: fake.uri }))
      assert.isTrue(Exit.isFailure(exit))
      assert.match(`${exit}`, /25\.1/)
    })
  )

  onServer("works beside commands on the same log", () =>
    Effect.gen(function* () {
      const { built, recorder, tracked } = yield* open()
      const program = Effect.gen(function* () {
        const counters = (yield* Repository.Repository).of(Counter)
        const id = Counter.Id.make("1")
        yield* counters.execute(id, Counter.Started())
        yield* tracked.append([newAppend("Dog-a")], move(undefined, 1))
        return yield* counters.execute(id, increase)
      })
      assert.deepInclude(yield* Effect.provideContext(program, built), { state: 1, version: 1 })
      assert.lengthOf(yield* idsOf({ recorder }), 3)
    })
  )
})

describe("the type of the layer", () => {
  it("has tracked appends only where appends to several streams are", () => {
    type Services<L> = L extends Layer.Layer<infer S, infer _E, infer _R> ? S : never
    expectTypeOf<Services<ReturnType<typeof KurrentLayer.multiStream>>>()
      .extract<TrackedAppend.TrackedAppend>()
      .toEqualTypeOf<TrackedAppend.TrackedAppend>()
    const program = TrackedAppend.TrackedAppend.use(({ position }) => position(key))
    const run = (options: { readonly connectionString: string }) => [
      Effect.runPromise(Effect.provide(program, KurrentLayer.multiStream(options))),
      // @ts-expect-error it is not provided
      Effect.runPromise(Effect.provide(program, KurrentLayer(options)))
    ]
    expectTypeOf(run).toBeFunction()
  })
})
