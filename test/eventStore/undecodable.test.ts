/** G8: events before one that can't be decoded are delivered first, wherever events are read in pages. */
import { assert, describe, it } from "@effect/vitest"
import { Array as Arr, Deferred, Effect, Fiber, Layer, Redacted, Stream } from "effect"
import type { EventSourcingError, StoredEvent } from "effect-eventsourcing"
import {
  Cipher,
  Compressor,
  EventSourcing,
  EventStore,
  Mapper,
  Recorder,
  Subscription,
  Transcoder
} from "effect-eventsourcing"
import { fromStorage } from "../../src/Position.ts"
import { Counter } from "../support/dog.ts"
import { makeLog } from "../support/memoryLog.ts"

const one = Counter.Id.make("1")
const stream = Counter.stream(one)
const GOOD = 301
const MORE = 5

const encrypted = Mapper.layer.pipe(
  Layer.provide([
    Transcoder.layerJson,
    Compressor.layerNone,
    Cipher.layerKeys([{ id: "k1", key: Redacted.make(new Uint8Array(32)) }])
  ])
)

interface Kind {
  readonly spoil: (event: StoredEvent.StoredEvent) => StoredEvent.StoredEvent
  readonly tag: EventSourcingError.ReadError["_tag"]
  readonly mapper?: Layer.Layer<Mapper.Mapper, unknown>
}

/** The ways in which an event comes to be undecodable. */
const kinds: Readonly<Record<string, Kind>> = {
  "of a type that nobody knows": { spoil: (event) => ({ ...event, type: "Renamed" }), tag: "UnknownEventType" },
  "of a newer schema version": { spoil: (event) => ({ ...event, schemaVersion: 9 }), tag: "EventNotDecodable" },
  "of an unknown encoding": { spoil: (event) => ({ ...event, encoding: "xml" }), tag: "EventNotDecodable" },
  "with a damaged payload": { spoil: (event) => ({ ...event, payload: "{" }), tag: "EventNotDecodable" },
  "with another payload": { spoil: (event) => ({ ...event, payload: '{"to":"x"}' }), tag: "EventNotDecodable" },
  "with damaged metadata": { spoil: (event) => ({ ...event, metadata: "{" }), tag: "EventNotDecodable" },
  "with a damaged ciphertext": {
    spoil: (event) => ({ ...event, payload: new Uint8Array(50) }),
    tag: "EventNotDecryptable",
    mapper: encrypted
  },
  "without its key": {
    spoil: (event) => ({ ...event, encoding: event.encoding.replace("k1", "k2") }),
    tag: "EventNotDecryptable",
    mapper: encrypted
  }
}

/** Good events, one that can't be decoded, and some more good ones, in one append. */
const append = Effect.fnUntraced(function* ({ spoil }: Kind) {
  const store = yield* EventStore.EventStore
  const more = Arr.makeBy(GOOD + MORE, (i) => Counter.Increased({ to: i }))
  const { stored } = yield* store.prepare(Counter, one, "NoStream", [Counter.Started(), ...more])
  const events = Arr.map(stored, (event, i) => (i === GOOD ? spoil(event) : event))
  yield* Recorder.Recorder.use((recorder) => recorder.append({ stream, expected: "NoStream", events }))
})

/** How many events of a stream are delivered before it fails, and the error. */
const countBefore = <A, E, R>(events: Stream.Stream<A, E, R>) =>
  Effect.gen(function* () {
    let count = 0
    const error = yield* Effect.flip(Stream.runForEach(events, () => Effect.sync(() => count++)))
    return [count, error] as const
  })

describe.each(Object.entries(kinds))("G8 an event %s", (_, kind) => {
  const test = (
    name: string,
    body: () => Effect.Effect<void, unknown, EventSourcing.EventSourcing | Recorder.Recorder>
  ) =>
    it.effect(name, () => {
      const { mapper = Mapper.layerJson } = kind
      const log = Layer.effectContext(makeLog)
      return Effect.provide(body(), Layer.provideMerge(EventSourcing.layer({ mapper }), log))
    })

  const assertBefore = Effect.fnUntraced(function* <A, E extends { readonly _tag: string }, R>(
    events: Stream.Stream<A, E, R>,
    before = GOOD
  ) {
    const [count, error] = yield* countBefore(events)
    const expected: object = { _tag: kind.tag, stream, version: GOOD, position: fromStorage(BigInt(GOOD + 1)) }
    assert.deepInclude<object>(error, expected)
    assert.strictEqual(count, before)
  })

  test("fails a read after the events before it", () =>
    Effect.gen(function* () {
      const store = yield* EventStore.EventStore
      yield* append(kind)
      yield* assertBefore(store.read(Counter, one))
      yield* assertBefore(store.readAll([Counter]))
      yield* assertBefore(store.read(Counter, one, { direction: "backward" }), MORE)
      yield* assertBefore(store.readAll([Counter], { direction: "backward" }), MORE)
      yield* assertBefore(store.read(Counter, one, { after: GOOD - 1 }), 0)
      assert.strictEqual(yield* Stream.runCount(store.read(Counter, one, { upTo: GOOD - 1 })), GOOD)
      assert.strictEqual(yield* Stream.runCount(store.read(Counter, one, { after: GOOD })), MORE)
    }))

  test("fails a subscription after the events before it", () =>
    Effect.gen(function* () {
      yield* append(kind)
      yield* assertBefore(Subscription.all([Counter]))
      yield* assertBefore(Subscription.stream(Counter, one))
      // the log is not queried for a type that the aggregate does not have
      if (kind.tag !== "UnknownEventType") {
        yield* assertBefore(Subscription.types(Counter, ["Started", "Increased"]))
      }
    }))

  test("fails a live subscription after the events before it", () =>
    Effect.gen(function* () {
      const live = yield* Deferred.make<void>()
      const onState = ({ _tag }: Recorder.FollowState) =>
        _tag === "Live" ? Effect.asVoid(Deferred.succeed(live, undefined)) : Effect.void
      const fiber = yield* Effect.forkChild(assertBefore(Subscription.all([Counter], { onState })))
      yield* Deferred.await(live)
      yield* append(kind)
      yield* Fiber.join(fiber)
    }))

  test("ends batches, the last of which reports its position", () =>
    Effect.gen(function* () {
      yield* append(kind)
      const batches: Array<Subscription.Batch<unknown>> = []
      const take = Stream.runForEach((batch: Subscription.Batch<unknown>) => Effect.sync(() => batches.push(batch)))
      yield* Effect.flip(take(Subscription.batches([Counter])))
      assert.strictEqual(batches.flatMap(({ events }) => events).length, GOOD)
      const last = batches.at(-1)
      assert.deepInclude(last, { position: fromStorage(BigInt(GOOD)), caughtUp: false })
      const error = yield* Effect.flip(take(Subscription.batches([Counter], { from: last?.position })))
      assert.deepInclude(error, { _tag: kind.tag, version: GOOD })
      assert.strictEqual(batches.at(-1), last)
    }))
})
