/** The metadata of streams by the client. */
import { assert, describe } from "@effect/vitest"
import { Duration, Effect, Stream } from "effect"
import type { StreamMetadata } from "effect-eventsourcing/kurrent"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { toJson } from "../../../src/kurrent/client/metadata.ts"
import { happenedMany, newStream, onServer } from "../support/client.ts"

describe("metadata of a stream", () => {
  onServer(
    "are read as they were set, with custom keys and the largest revision",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      assert.deepStrictEqual(yield* client.getStreamMetadata(stream), { metadata: {}, revision: "NoStream" })
      const metadata: StreamMetadata = {
        maxCount: 7,
        maxAge: Duration.days(2),
        truncateBefore: 2n ** 63n - 1n,
        cacheControl: Duration.seconds(90),
        acl: { read: ["$all"], write: ["ouro", "$admins"], writeMetadata: [] },
        custom: { owner: "me", nested: { list: [1, 2] } }
      }
      const { revision } = yield* client.setStreamMetadata(stream, metadata, { expected: "NoStream" })
      assert.strictEqual(revision, 0n)
      assert.deepStrictEqual(yield* client.getStreamMetadata(stream), { metadata, revision: 0n })
      // after JavaScript has rounded the number, the difference would not show
      assert.strictEqual(JSON.stringify(toJson({ truncateBefore: 2n ** 63n - 1n })), '{"$tb":9223372036854775807}')
      const [event] = yield* Stream.runCollect(client.readStream(`$$${stream}`))
      assert.deepInclude(event, { type: "$metadata", isJson: true })
      assert.deepInclude(event?.data, {
        ...{ $maxCount: 7, $maxAge: 172_800, $cacheControl: 90, owner: "me" },
        $acl: { $r: ["$all"], $w: ["ouro", "$admins"], $mw: [] }
      })
    })
  )

  onServer(
    "G2 are set at their expected revision, and at no other",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(4), { expected: "NoStream" })
      yield* client.setStreamMetadata(stream, { maxCount: 3 }, { expected: "NoStream" })
      for (const expected of ["NoStream", 3n] as const) {
        const error = yield* Effect.flip(client.setStreamMetadata(stream, { maxCount: 1 }, { expected }))
        assert.deepInclude(error, { _tag: "WrongExpectedRevision", expected, actual: 0n })
      }
      assert.deepStrictEqual(yield* client.getStreamMetadata(stream), { metadata: { maxCount: 3 }, revision: 0n })
      assert.lengthOf(yield* Stream.runCollect(client.readStream(stream)), 3)
    })
  )

  onServer(
    "are updated together with concurrent changes of others",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const count = ({ custom, ...rest }: StreamMetadata): StreamMetadata => ({
        ...rest,
        custom: { ...custom, count: Number(custom?.count ?? 0) + 1 }
      })
      yield* client.setStreamMetadata(stream, { maxCount: 5 }, { expected: "NoStream" })
      yield* Effect.forEach([1, 2, 3, 4], () => client.updateStreamMetadata(stream, count), { concurrency: 4 })
      const { metadata, revision } = yield* client.getStreamMetadata(stream)
      assert.deepStrictEqual(metadata, { maxCount: 5, custom: { count: 4 } })
      assert.strictEqual(revision, 4n)
    })
  )

  onServer(
    "of a deleted stream can be set, after which it exists, without its events",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
      yield* client.deleteStream(stream)
      yield* client.updateStreamMetadata(stream, (metadata) => ({ ...metadata, custom: { note: "gone" } }))
      const { metadata } = yield* client.getStreamMetadata(stream)
      assert.deepStrictEqual(metadata, { truncateBefore: 2n, custom: { note: "gone" } })
      assert.deepStrictEqual(yield* Stream.runCollect(client.readStream(stream)), [])
    })
  )

  onServer(
    "that are invalid are refused",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const wrong: ReadonlyArray<StreamMetadata> = [
        ...[{ maxCount: 0 }, { maxCount: 1.5 }, { maxAge: Duration.millis(1500) }, { maxAge: Duration.zero }],
        ...[{ maxAge: Duration.infinity }, { truncateBefore: -1n }, { custom: { $maxCount: 1 } }, { custom: { n: 1n } }]
      ]
      for (const metadata of wrong) {
        const error = yield* Effect.flip(client.setStreamMetadata(stream, metadata, { expected: "Any" }))
        assert.strictEqual(error._tag, "KurrentFailure")
      }
      assert.strictEqual((yield* Effect.flip(client.getStreamMetadata(`$$${stream}`)))._tag, "KurrentFailure")
    })
  )
})
