/** Appends and deletes by the client. */
import { randomUUID } from "node:crypto"
import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { EventToAppend } from "effect-eventsourcing/kurrent"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { happened, happenedMany, newStream, onOwnFake, onServer } from "../support/client.ts"
import { isSince } from "../support/server.ts"

const numbers = (stream: string) =>
  Effect.flatMap(KurrentClient, (client) =>
    Effect.map(Stream.runCollect(client.readStream(stream)), (events) =>
      events.map(({ data }) => (data as { readonly n: number }).n)
    )
  )

describe("appends to a stream", () => {
  onServer(
    "return the revision and the position of the last event, as reads report them",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const first = yield* client.append(stream, happenedMany(3), { expected: "NoStream" })
      assert.strictEqual(first.revision, 2n)
      const second = yield* client.append(stream, [happened(3)], { expected: 2n })
      assert.strictEqual(second.revision, 3n)
      const events = yield* Stream.runCollect(client.readStream(stream))
      assert.deepStrictEqual(
        events.map(({ revision }) => revision),
        [0n, 1n, 2n, 3n]
      )
      assert.strictEqual(events[2]?.position, first.position)
      assert.strictEqual(events[3]?.position, second.position)
    })
  )

  onServer(
    "keep JSON, bytes, metadata and ids unchanged",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const id = randomUUID()
      yield* client.append(
        stream,
        [
          { id, type: "json", data: { text: "äöü", list: [1, null] }, metadata: { by: "me", deep: { n: 1 } } },
          { type: "bytes", data: Buffer.from([0, 255]) },
          { type: "text", data: "plain" }
        ],
        { expected: "NoStream" }
      )
      const [json, bytes, text] = yield* Stream.runCollect(client.readStream(stream))
      assert.deepInclude(json, {
        ...{ stream, id, type: "json", isJson: true, link: undefined },
        ...{ data: { text: "äöü", list: [1, null] }, metadata: { by: "me", deep: { n: 1 } } }
      })
      assert.strictEqual(bytes?.isJson, false)
      assert.deepStrictEqual(new Uint8Array(bytes?.data as Uint8Array), new Uint8Array([0, 255]))
      assert.strictEqual(bytes?.metadata, undefined)
      assert.strictEqual(text?.data, "plain")
    })
  )

  onServer(
    "G2 refuse a stream that is not at the expected revision, with the actual one",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const missing = yield* Effect.flip(client.append(stream, [happened(0)], { expected: 4n }))
      assert.deepInclude(missing, { _tag: "WrongExpectedRevision", stream, expected: 4n, actual: "NoStream" })
      const exists = yield* Effect.flip(client.append(stream, [happened(0)], { expected: "StreamExists" }))
      assert.deepInclude(exists, { _tag: "WrongExpectedRevision", expected: "StreamExists", actual: "NoStream" })
      yield* client.append(stream, happenedMany(2), { expected: "Any" })
      const twice = yield* Effect.flip(client.append(stream, [happened(0)], { expected: "NoStream" }))
      assert.deepInclude(twice, { _tag: "WrongExpectedRevision", expected: "NoStream", actual: 1n })
      yield* client.append(stream, [happened(2)], { expected: "StreamExists" })
      assert.deepStrictEqual(yield* numbers(stream), [0, 1, 2])
    })
  )

  onServer(
    "G7 are the same append when the effect is run again, also if no ids were given",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const first = client.append(stream, happenedMany(2), { expected: "NoStream" })
      const answer = yield* first
      yield* client.append(stream, [happened(2)], { expected: 1n })
      assert.deepStrictEqual(yield* first, answer)
      const any = client.append(stream, [happened(3)], { expected: "Any" })
      assert.deepStrictEqual(yield* any, yield* any)
      assert.deepStrictEqual(yield* numbers(stream), [0, 1, 2, 3])
    })
  )

  onServer(
    "are refused, with the reason, before they are sent",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const circular: Record<string, unknown> = {}
      circular.self = circular
      const wrong: ReadonlyArray<readonly [string, ReadonlyArray<EventToAppend>, bigint | "Any", string]> = [
        [stream, [], "Any", "no events"],
        ["", [happened(0)], "Any", "not a valid stream name"],
        ["$all", [happened(0)], "Any", "not a valid stream name"],
        ["half-\ud800", [happened(0)], "Any", "not a valid stream name"],
        [stream, [{ type: "", data: {} }], "Any", "not a valid event type"],
        [stream, [{ type: "t", data: undefined }], "Any", "neither JSON nor bytes"],
        [stream, [{ type: "t", data: circular }], "Any", "neither JSON nor bytes"],
        [stream, [{ type: "t", data: 1n }], "Any", "neither JSON nor bytes"],
        [stream, [{ id: "1", type: "t", data: 1 }], "Any", "not a UUID"],
        [stream, [{ type: "t", data: 1, metadata: { n: 1n } }], "Any", "metadata"],
        [stream, [happened(0)], -1n, "2^63"],
        [stream, [happened(0)], 2n ** 63n, "2^63"]
      ]
      for (const [name, events, expected, reason] of wrong) {
        const error = yield* Effect.flip(client.append(name, events, { expected }))
        assert.strictEqual(error._tag, "KurrentFailure")
        assert.include(error.message, reason)
      }
      assert.strictEqual(yield* client.currentRevision(stream), "NoStream")
    })
  )
})

describe.skipIf(!isSince("26.0.0"))("appends to several streams", () => {
  onServer(
    "G1 record in all or in none, and return the revisions",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [a, b] = [newStream("A"), newStream("B")]
      const answer = yield* client.appendToStreams([
        { stream: a, events: happenedMany(2), expected: "NoStream" },
        { stream: b, events: happenedMany(1), expected: "Any" }
      ])
      assert.deepStrictEqual(
        [...answer.revisions],
        [
          [a, 1n],
          [b, 0n]
        ]
      )
      const [last] = yield* Stream.runCollect(client.readStream(b))
      assert.strictEqual(last?.position, answer.position)
      const error = yield* Effect.flip(
        client.appendToStreams([
          { stream: a, events: happenedMany(1), expected: 1n },
          { stream: b, events: happenedMany(1), expected: "NoStream" }
        ])
      )
      assert.deepInclude(error, { _tag: "WrongExpectedRevision", stream: b, expected: "NoStream", actual: 0n })
      assert.strictEqual(yield* client.currentRevision(a), 1n)
    })
  )

  onServer(
    "check streams that are not appended to, and keep the order among streams",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [a, b, checked] = [newStream("A"), newStream("B"), newStream("C")]
      yield* client.append(checked, happenedMany(3), { expected: "NoStream" })
      const before = yield* client.commitPosition()
      const records = [a, b, a].map((stream, n) => ({ ...happened(n), stream }))
      const answer = yield* client.appendRecords(records, [{ stream: checked, expected: 2n }])
      assert.deepStrictEqual(answer.revisions.get(a), 1n)
      const both = { on: "stream", include: [a, b] } as const
      const events = yield* Stream.runCollect(client.readAll({ from: before, filter: both }))
      assert.deepStrictEqual(
        events.map(({ stream }) => stream),
        [a, b, a]
      )
      const error = yield* Effect.flip(
        client.appendRecords([{ ...happened(3), stream: a }], [{ stream: checked, expected: 1n }])
      )
      assert.deepInclude(error, { _tag: "WrongExpectedRevision", stream: checked, expected: 1n, actual: 2n })
      assert.strictEqual(yield* client.currentRevision(a), 1n)
    })
  )

  onServer(
    "are refused, with the reason, before they are sent",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const one = { stream, expected: "Any", events: [happened(0)] } as const
      const wrong = [
        [client.appendToStreams([]), "no events"],
        [client.appendToStreams([{ ...one, events: [] }]), "no events"],
        [client.appendToStreams([one, one]), "twice"],
        [client.appendToStreams([one, { ...one, stream: stream.toUpperCase() }]), "for the same stream"],
        [client.appendToStreams([{ ...one, events: [{ ...happened(0), metadata: { n: 1 } }] }]), "not strings"],
        [client.appendRecords([]), "no events"],
        [
          client.appendRecords([{ ...happened(0), stream }], [{ stream: stream.toUpperCase(), expected: 0n }]),
          "for the same"
        ]
      ] as const
      for (const [append, reason] of wrong) {
        const error = yield* Effect.flip(append)
        assert.strictEqual(error._tag, "KurrentFailure")
        assert.include(error.message, reason)
      }
    })
  )

  for (const [version, since] of [
    ["24.6.0", ["25.1", "26.1"]],
    ["25.1.0", [undefined, "26.1"]]
  ] as const) {
    onOwnFake(
      `are Unsupported by servers that are too old for it (${version}), with the version that has it`,
      () =>
        Effect.gen(function* () {
          const client = yield* KurrentClient
          const stream = newStream()
          const many = client.appendToStreams([{ stream, expected: "Any", events: [happened(0)] }])
          const records = client.appendRecords([{ ...happened(0), stream }])
          for (const [append, version] of [
            [many, since[0]],
            [records, since[1]]
          ] as const) {
            if (version === undefined) yield* append
            else assert.deepInclude(yield* Effect.flip(append), { _tag: "Unsupported", since: version })
          }
        }),
      { server: { version } }
    )
  }
})

describe("deletes", () => {
  onServer(
    "leave no stream of the name until it is appended to again, and then continue counting",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
      const wrong = yield* Effect.flip(client.deleteStream(stream, { expected: 0n }))
      assert.deepInclude(wrong, { _tag: "WrongExpectedRevision", stream, expected: 0n })
      const { position } = yield* client.deleteStream(stream, { expected: 1n })
      assert.isDefined(position)
      assert.strictEqual(yield* client.currentRevision(stream), "NoStream")
      assert.strictEqual((yield* Effect.flip(Stream.runDrain(client.readStream(stream))))._tag, "StreamNotFound")
      const exists = yield* Effect.flip(client.append(stream, [happened(2)], { expected: "StreamExists" }))
      assert.deepInclude(exists, { _tag: "WrongExpectedRevision", expected: "StreamExists", actual: "NoStream" })
      assert.strictEqual((yield* client.append(stream, [happened(2)], { expected: "NoStream" })).revision, 2n)
      assert.deepStrictEqual(yield* numbers(stream), [2])
    })
  )

  onServer(
    "of a stream that never existed are StreamNotFound",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      assert.strictEqual((yield* Effect.flip(client.deleteStream(newStream())))._tag, "StreamNotFound")
    })
  )

  onServer(
    "by a tombstone are permanent",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
      const wrong = yield* Effect.flip(client.tombstoneStream(stream, { expected: 0n }))
      assert.strictEqual(wrong._tag, "WrongExpectedRevision")
      yield* client.tombstoneStream(stream)
      const failures = [
        client.append(stream, [happened(2)], { expected: "Any" }),
        client.append(stream, [happened(2)], { expected: "StreamExists" }),
        ...(isSince("25.1.0") ? [client.appendToStreams([{ stream, events: [happened(2)], expected: "Any" }])] : []),
        client.currentRevision(stream),
        Stream.runDrain(client.readStream(stream)),
        client.deleteStream(stream)
      ]
      for (const failure of failures) {
        assert.deepInclude(yield* Effect.flip(failure as Effect.Effect<unknown, { readonly _tag: string }>), {
          ...{ _tag: "StreamTombstoned", stream }
        })
      }
    })
  )
})
