/** Reads by the client. */
import { assert, describe } from "@effect/vitest"
import { Effect, Stream } from "effect"
import type { AllFilter, ReadAllOptions, ReadStreamOptions } from "effect-eventsourcing/kurrent"
import { escapePattern, KurrentClient, withoutSystemEvents } from "effect-eventsourcing/kurrent"
import { happened, happenedMany, newStream, onOwnFake, onServer } from "../support/client.ts"

const revisions = (stream: string, options: ReadStreamOptions) =>
  Effect.flatMap(KurrentClient, (client) =>
    Effect.map(Stream.runCollect(client.readStream(stream, options)), (events) =>
      events.map(({ revision }) => Number(revision))
    )
  )

const types = (options: ReadAllOptions) =>
  Effect.flatMap(KurrentClient, (client) =>
    Effect.map(Stream.runCollect(client.readAll(options)), (events) => events.map(({ type }) => type))
  )

describe("reads of a stream", () => {
  onServer(
    "go in both directions, from a revision (inclusive), up to a limit, in pages of any size",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(10), { expected: "NoStream" })
      for (const pageSize of [1, 3, 10, 512]) {
        const read = (options: ReadStreamOptions) => revisions(stream, { ...options, pageSize })
        assert.deepStrictEqual(yield* read({}), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
        assert.deepStrictEqual(yield* read({ from: 7n }), [7, 8, 9])
        assert.deepStrictEqual(yield* read({ from: 2n, limit: 4 }), [2, 3, 4, 5])
        assert.deepStrictEqual(yield* read({ from: 10n }), [])
        assert.deepStrictEqual(yield* read({ limit: 0 }), [])
        assert.deepStrictEqual(yield* read({ direction: "backward" }), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
        assert.deepStrictEqual(yield* read({ direction: "backward", from: 3n }), [3, 2, 1, 0])
        assert.deepStrictEqual(yield* read({ direction: "backward", from: 3n, limit: 2 }), [3, 2])
        assert.deepStrictEqual(yield* read({ direction: "backward", from: 99n, limit: 2 }), [9, 8])
        assert.deepStrictEqual(yield* read({ direction: "backward", limit: 1 }), [9])
      }
      assert.strictEqual(yield* client.currentRevision(stream), 9n)
    })
  )

  onServer(
    "follow links on request, and are paged by the links",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [target, links] = [newStream(), newStream("Links")]
      yield* client.append(target, happenedMany(3), { expected: "NoStream" })
      const link = (place: string) => ({ type: "$>", data: new TextEncoder().encode(place) })
      const all = [link(`2@${target}`), link(`7@${target}`), link(`0@${target}`)]
      yield* client.append(links, all, { expected: "NoStream" })
      const read = (direction: "forward" | "backward") =>
        Effect.map(
          Stream.runCollect(client.readStream(links, { resolveLinks: true, pageSize: 1, direction })),
          (events) => events.map(({ stream, revision, type, link }) => [stream, revision, type, link?.revision])
        )
      const expected = [
        [target, 2n, "Happened", 0n],
        // the event that it leads to does not exist
        [links, 1n, "$>", undefined],
        [target, 0n, "Happened", 2n]
      ]
      assert.deepStrictEqual(yield* read("forward"), expected)
      assert.deepStrictEqual(yield* read("backward"), expected.toReversed())
      const unresolved = yield* Stream.runCollect(client.readStream(links))
      assert.deepStrictEqual(
        unresolved.map(({ type }) => type),
        ["$>", "$>", "$>"]
      )
    })
  )

  onServer(
    "of a missing stream are StreamNotFound, and unreadable streams are reported",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const error = yield* Effect.flip(Stream.runDrain(client.readStream(stream)))
      assert.deepInclude(error, { _tag: "StreamNotFound", stream })
      assert.strictEqual(yield* client.currentRevision(stream), "NoStream")
      const wrong: ReadonlyArray<ReadStreamOptions> = [
        ...[{ from: -1n }, { from: 2n ** 63n }, { limit: -1 }],
        ...[{ limit: 0.5 }, { pageSize: 0 }, { pageSize: Number.NaN }]
      ]
      for (const options of wrong) {
        const error = yield* Effect.flip(Stream.runDrain(client.readStream(stream, options)))
        assert.strictEqual(error._tag, "KurrentFailure")
      }
    })
  )

  onServer(
    "return the events that are not truncated, and a stream that is wholly truncated has no known revision",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(5), { expected: "NoStream" })
      yield* client.setStreamMetadata(stream, { truncateBefore: 3n }, { expected: "NoStream" })
      assert.deepStrictEqual(yield* revisions(stream, { pageSize: 1 }), [3, 4])
      assert.deepStrictEqual(yield* revisions(stream, { pageSize: 1, direction: "backward" }), [4, 3])
      yield* client.setStreamMetadata(stream, { truncateBefore: 5n }, { expected: 0n })
      assert.deepStrictEqual(yield* revisions(stream, {}), [])
      assert.include((yield* Effect.flip(client.currentRevision(stream))).message, "truncated")
    })
  )
})

describe("reads of all events", () => {
  onServer(
    "go in both directions from a position, in pages, and filter types and streams",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const mark = newStream("Mark")
      const { position } = yield* client.append(mark, [happened(0)], { expected: "NoStream" })
      const stream = newStream()
      const events = ["A", "B", "Ab", "A", "B"].map((type) => ({ type, data: {} }))
      for (const event of events) yield* client.append(stream, [event], { expected: "Any" })
      const end = (yield* client.append(mark, [happened(1)], { expected: 0n })).position
      const ours = `(?:${escapePattern(stream)}|${escapePattern(mark)})`
      for (const pageSize of [1, 2, 512]) {
        const forward = (filter: AllFilter, limit?: number) => types({ from: position, filter, pageSize, limit })
        assert.deepStrictEqual(yield* forward({ on: "stream", prefixes: [stream] }), ["A", "B", "Ab", "A", "B"])
        assert.deepStrictEqual(yield* forward({ on: "stream", include: [ours] }, 3), ["Happened", "A", "B"])
        assert.deepStrictEqual(yield* forward({ on: "stream", include: [ours], exclude: [escapePattern(mark)] }, 2), [
          "A",
          "B"
        ])
        assert.deepStrictEqual(yield* forward({ on: "stream", prefixes: [] }), [])
        assert.deepStrictEqual(yield* forward({ on: "stream", include: [] }), [])
        const backward = yield* types({
          ...{ direction: "backward", from: end, pageSize, limit: 4 },
          filter: { on: "stream", include: [ours] }
        })
        // the event at the position itself is not one of them
        assert.deepStrictEqual(backward, ["B", "A", "Ab", "B"])
      }
    })
  )

  onOwnFake("distinguish included and excluded types", () =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const events = ["Placed", "Paid", "PaidTwice", "$own"].map((type) => ({ type, data: {} }))
      yield* client.append(newStream(), events, { expected: "NoStream" })
      assert.includeMembers([...(yield* types({}))], ["$own", "Paid"])
      assert.deepStrictEqual(yield* types({ filter: withoutSystemEvents }), ["Placed", "Paid", "PaidTwice"])
      assert.deepStrictEqual(yield* types({ filter: { on: "type", include: ["Paid", "P.*d"] } }), ["Placed", "Paid"])
      assert.deepStrictEqual(yield* types({ filter: { on: "type", include: ["P.*"], exclude: ["Paid"] } }), [
        ...["Placed", "PaidTwice"]
      ])
      assert.deepStrictEqual(yield* types({ filter: { on: "type", prefixes: ["Paid"] } }), ["Paid", "PaidTwice"])
    })
  )

  onServer(
    "report the position of the last event, of all or of those that match",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const { position } = yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
      yield* client.append(newStream(), happenedMany(1), { expected: "NoStream" })
      assert.strictEqual(yield* client.commitPosition({ on: "stream", prefixes: [stream] }), position)
      assert.isAbove(Number(yield* client.commitPosition()), Number(position))
      assert.strictEqual(yield* client.commitPosition({ on: "stream", prefixes: [newStream()] }), undefined)
    })
  )

  onServer(
    "from a position that the server refuses are failures, and not taken for a server that is unavailable",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const { position } = yield* client.append(newStream(), [happened(0)], { expected: "NoStream" })
      const error = yield* Effect.flip(Stream.runDrain(client.readAll({ from: position - 1n, limit: 1 })))
      assert.strictEqual(error._tag, "KurrentFailure")
      assert.include(error.message, `refuses position ${position - 1n}`)
    })
  )

  onServer(
    "with a filter that the server refuses are failures too",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const filter: AllFilter = { on: "type", include: ["(unclosed"] }
      const error = yield* Effect.flip(Stream.runDrain(client.readAll({ filter, limit: 1 })))
      assert.strictEqual(error._tag, "KurrentFailure")
    })
  )
})

describe("faults of reads", () => {
  onOwnFake(
    "a server that never answers is KurrentUnavailable within the deadline",
    ({ faults }) =>
      Effect.gen(function* () {
        const client = yield* KurrentClient
        const stream = newStream()
        yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
        faults.silence()
        const calls = [
          Stream.runDrain(client.readStream(stream)),
          Stream.runDrain(client.readAll()),
          client.currentRevision(stream),
          client.commitPosition(),
          client.getStreamMetadata(stream),
          client.append(stream, [happened(2)], { expected: "Any" }),
          client.appendToStreams([{ stream, events: [happened(2)], expected: "Any" }]),
          client.deleteStream(stream),
          client.persistentSubscriptions.create(stream, "group"),
          client.persistentSubscriptions.list()
        ]
        const errors = yield* Effect.forEach(
          calls,
          (call) => Effect.flip(call as Effect.Effect<unknown, { readonly _tag: string }>),
          { concurrency: "unbounded" }
        )
        for (const { _tag } of errors) assert.strictEqual(_tag, "KurrentUnavailable")
      }),
    { deadline: "1 second" }
  )

  onOwnFake("a lost connection is opened again, and the read continues", ({ faults }) =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(6), { expected: "NoStream" })
      const read = client.readStream(stream, { pageSize: 2 }).pipe(
        Stream.tap(({ revision }) => Effect.sync(() => (revision === 1n ? faults.dropConnections() : undefined))),
        Stream.runCollect
      )
      assert.deepStrictEqual(
        (yield* read).map(({ revision }) => Number(revision)),
        [0, 1, 2, 3, 4, 5]
      )
    })
  )

  onOwnFake("a read that stops early leaks nothing", ({ faults }) =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(100), { expected: "NoStream" })
      const some = yield* client.readStream(stream, { pageSize: 10 }).pipe(
        // another page would be requested, and would hang
        Stream.tap(() => Effect.sync(() => faults.silence("reads"))),
        Stream.take(10),
        Stream.runCollect
      )
      assert.lengthOf(some, 10)
      assert.strictEqual(faults.held, 0)
    })
  )
})
