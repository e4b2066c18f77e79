import * as Crypto from "node:crypto"
import { jsonEvent, STREAM_STATE } from "@kurrent/kurrentdb-client"
import { describe, expect, it } from "vitest"
import { isSince } from "../support/server.ts"
import {
  bytes,
  collect,
  connect,
  failure,
  happened,
  happenedMany,
  onlyFake,
  revisions,
  startOwn,
  streamName,
  useServer
} from "./testServer.ts"

const server = useServer()

describe.skipIf(!isSince("25.1.0"))("appends to many streams", () => {
  it("G5 all are written, contiguously and in their order, and the result has them in their order", async () => {
    const client = server.client()
    const [a, b] = [streamName(), streamName()]
    await client.appendToStream(b, happened(0))
    const answer = await client.multiStreamAppend([
      { streamName: b, events: happenedMany(1, 3), expectedState: 0n },
      { streamName: a, events: happenedMany(0, 2), expectedState: "no_stream" }
    ])
    expect(answer.responses).toEqual([
      { streamName: b, revision: 2n },
      { streamName: a, revision: 1n }
    ])
    const [first] = await collect(client.readStream(b, { fromRevision: 1n }))
    const all = await collect(client.readAll({ fromPosition: first!.event!.position!, maxCount: 4 }))
    expect(all.map(({ event }) => [event!.streamId, Number(event!.revision)])).toEqual([
      [b, 1],
      [b, 2],
      [a, 0],
      [a, 1]
    ])
    expect(new Set(all.map(({ commitPosition }) => commitPosition)).size).toBe(4)
    expect(answer.position).toBe(all[3]!.commitPosition)
  })

  it("G5 a conflict names the first stream of the call that has one, and nothing is written", async () => {
    const client = server.client()
    const [a, b, c] = [streamName(), streamName(), streamName()]
    await client.appendToStream(b, happenedMany(0, 2))
    await client.appendToStream(c, happenedMany(0, 2))
    const conflict = client.multiStreamAppend([
      { streamName: a, events: [happened(0)], expectedState: "no_stream" },
      { streamName: c, events: [happened(0)], expectedState: "no_stream" },
      { streamName: b, events: [happened(0)], expectedState: 7n }
    ])
    expect(await failure(conflict)).toMatchObject({
      type: "wrong-expected-version",
      streamName: c,
      expectedState: "no_stream",
      actualState: 1n
    })
    expect(await failure(collect(client.readStream(a)))).toMatchObject({ type: "stream-not-found" })
    const missing = client.multiStreamAppend([{ streamName: a, events: [happened(0)], expectedState: "stream_exists" }])
    expect(await failure(missing)).toMatchObject({ expectedState: "stream_exists", actualState: "no_stream" })
  })

  it("G7 a retry returns the same result, in any order, with any expectation, and stream by stream", async () => {
    const client = server.client()
    const [a, b] = [streamName(), streamName()]
    const [forA, forB] = [happenedMany(0, 2), happenedMany(0, 3)]
    const request = (expectedState: "no_stream" | "any") => [
      { streamName: a, events: forA, expectedState },
      { streamName: b, events: forB, expectedState }
    ]
    const first = await client.multiStreamAppend(request("no_stream"))
    await client.appendToStream(a, happened(9))
    expect(await client.multiStreamAppend(request("no_stream"))).toEqual(first)
    expect(await client.multiStreamAppend(request("any"))).toEqual(first)
    const reversed = await client.multiStreamAppend(request("no_stream").reverse())
    expect(reversed).toEqual({ position: first.position, responses: [...first.responses!].reverse() })
    expect(await client.appendToStream(b, forB, { streamState: "no_stream" })).toMatchObject({
      nextExpectedRevision: 2n,
      position: { commit: first.position }
    })
    expect(await collect(client.readStream(b))).toHaveLength(3)
  })

  it("old ids in one stream and new ones in another are a wrong version of the old stream", async () => {
    const client = server.client()
    const [a, b] = [streamName(), streamName()]
    const old = happened(0)
    await client.appendToStream(a, old)
    for (const expectedState of ["any", "no_stream"] as const) {
      const partly = client.multiStreamAppend([
        { streamName: b, events: [happened(0)], expectedState: "any" },
        { streamName: a, events: [old], expectedState }
      ])
      expect(await failure(partly)).toMatchObject({ type: "wrong-expected-version", streamName: a })
    }
    expect(await failure(collect(client.readStream(b)))).toMatchObject({ type: "stream-not-found" })
  })

  it("malformed requests are refused", async () => {
    const client = server.client()
    const one = (name: string, events = [happened(0)]) => ({
      streamName: name,
      events,
      expectedState: "any" as const
    })
    const stream = streamName()
    const append = (...requests: ReadonlyArray<ReturnType<typeof one>>) =>
      failure(client.multiStreamAppend([...requests]))
    expect(await append(one(stream), one(stream.toUpperCase()))).toMatchObject({ type: "timeout", code: 10 })
    expect(await append()).toMatchObject({ type: "unknown", code: 9 })
    expect(await append(one(stream, []))).toMatchObject({ type: "unknown", code: 3 })
    expect(await append(one(""))).toMatchObject({ type: "unknown", code: 3 })
    const typed = (type: string, id = Crypto.randomUUID()) => jsonEvent({ id, type, data: { n: 0 } }) as never
    for (const type of ["a/b", "a b", "a#b", ""]) {
      const error = await append(one(stream, [typed(type)]))
      expect(error).toMatchObject({ type: "unknown", code: 3 })
      expect(error.message).toMatch(/schema.?name/i)
    }
    expect(await append(one(stream, [typed("A", "00000000-0000-0000-0000-000000000000")]))).toMatchObject({ code: 3 })
    await client.multiStreamAppend([one(stream, [typed("Ä-b.c_d:$9")])])
    await client.tombstoneStream(stream)
    expect(await append(one(stream))).toMatchObject({ type: "stream-tombstoned", stream })
  })

  it("read through the older protocol, events have their schema in their metadata", async () => {
    const client = server.client()
    const stream = streamName()
    const json = jsonEvent({ type: "A", data: { n: 1 }, metadata: { who: "me" } })
    await client.multiStreamAppend([{ streamName: stream, events: [json, bytes(10)], expectedState: "any" }])
    const [first, second] = await collect(client.readStream(stream))
    expect(first!.event!.metadata).toEqual({ who: "me", "$schema.name": "A", "$schema.format": "Json" })
    expect(second!.event!.metadata).toEqual({ "$schema.name": "Bytes", "$schema.format": "Bytes" })
    expect(second!.event!.isJson).toBe(false)
  })

  it("a thousand streams in one call", async () => {
    const client = server.client()
    const prefix = streamName()
    const { responses } = await client.multiStreamAppend(
      Array.from({ length: 1000 }, (_, n) => ({
        streamName: `${prefix}-${n}`,
        events: [happened(n)],
        expectedState: "no_stream" as const
      }))
    )
    expect(responses).toHaveLength(1000)
  })

  it("an event of 20 MiB is refused with its size", async () => {
    const client = server.client()
    const stream = streamName()
    const event = bytes(20 * 1024 * 1024)
    expect(
      await failure(client.multiStreamAppend([{ streamName: stream, events: [event], expectedState: "any" }]))
    ).toMatchObject({ type: "append-record-size-exceeded", stream, recordId: event.id, maxSize: 16 * 1024 * 1024 })
  })

  onlyFake("limits that were set lower are said", async () => {
    const fake = await startOwn({ maxAppendSize: 10_000 })
    const stream = streamName()
    const events = Array.from({ length: 4 }, () => bytes(3000))
    expect(
      await failure(connect(fake.uri).multiStreamAppend([{ streamName: stream, events, expectedState: "any" }]))
    ).toMatchObject({ type: "transaction-max-size-exceeded", maxSize: 10_000 })
  })

  onlyFake("a server before 25.1 has none, one before 26 has no appendRecords", async () => {
    const old = connect((await startOwn({ version: "24.10.6" })).uri)
    const stream = streamName()
    const request = [{ streamName: stream, events: [happened(0)], expectedState: "any" as const }]
    expect(await failure(old.multiStreamAppend(request))).toMatchObject({ type: "unsupported", minimumVersion: "25.1" })
    const newer = connect((await startOwn({ version: "25.1.0" })).uri)
    await newer.multiStreamAppend(request)
    expect(await failure(newer.appendRecords([{ streamName: stream, record: happened(1) }]))).toMatchObject({
      type: "unsupported"
    })
  })
})

describe.skipIf(!isSince("26.0.0"))("appendRecords", () => {
  const check = (name: string, expectedState: "any" | "no_stream" | "stream_exists" | bigint) => ({
    type: STREAM_STATE as typeof STREAM_STATE,
    streamName: name,
    expectedState
  })

  it("keeps the order of the records across streams", async () => {
    const client = server.client()
    const [a, b] = [streamName(), streamName()]
    const records = [a, b, a].map((name, n) => ({ streamName: name, record: happened(n) }))
    const answer = await client.appendRecords(records)
    expect(answer.responses).toEqual([
      { streamName: a, revision: 1n },
      { streamName: b, revision: 0n }
    ])
    const [first] = await collect(client.readStream(a))
    const all = await collect(client.readAll({ fromPosition: first!.event!.position!, maxCount: 3 }))
    expect(all.map(({ event }) => event!.streamId)).toEqual([a, b, a])
    expect(answer.position).toBe(all[2]!.commitPosition)
  })

  it("checks streams that are not written, and reports all violations", async () => {
    const client = server.client()
    const [written, there, missing, soft, tombstoned] = Array.from({ length: 5 }, () => streamName()) as [
      string,
      string,
      string,
      string,
      string
    ]
    for (const stream of [there, soft, tombstoned]) await client.appendToStream(stream, happenedMany(0, 2))
    await client.deleteStream(soft)
    await client.tombstoneStream(tombstoned)
    const records = [{ streamName: written, record: happened(0) }]
    const refused = client.appendRecords(records, [
      check(there, 0n),
      check(missing, "stream_exists"),
      check(soft, "stream_exists"),
      check(tombstoned, "stream_exists")
    ])
    const error = await failure(refused)
    expect(error).toMatchObject({ type: "append-consistency-violation" })
    expect(error.violations).toEqual([
      { checkIndex: 0, streamName: there, expectedState: 0n, actualState: 1n },
      { checkIndex: 1, streamName: missing, expectedState: "stream_exists", actualState: "no_stream" },
      { checkIndex: 2, streamName: soft, expectedState: "stream_exists", actualState: -5n },
      { checkIndex: 3, streamName: tombstoned, expectedState: "stream_exists", actualState: -6n }
    ])
    expect(await failure(collect(client.readStream(written)))).toMatchObject({ type: "stream-not-found" })
    await client.appendRecords(records, [check(there, 1n), check(missing, "no_stream")])
    expect(await collect(client.readStream(written))).toHaveLength(1)
  })

  it("G7 a retry returns the same result even if a stream that is only checked has moved on", async () => {
    const client = server.client()
    const [written, checked] = [streamName(), streamName()]
    await client.appendToStream(checked, happened(0))
    const records = [{ streamName: written, record: happened(0) }]
    const checks = [check(checked, 0n), check(written, "no_stream")]
    const first = await client.appendRecords(records, checks)
    await client.appendToStream(checked, happened(1))
    expect(await client.appendRecords(records, checks)).toEqual(first)
    expect(revisions(await collect(client.readStream(written)))).toEqual([0])
  })

  it("a record goes to the stream that its check names, in that spelling", async () => {
    const client = server.client()
    const stream = streamName("Case")
    const answer = await client.appendRecords(
      [{ streamName: stream.toUpperCase(), record: happened(0) }],
      [check(stream, "no_stream")]
    )
    expect(answer.responses).toEqual([{ streamName: stream, revision: 0n }])
    expect(await collect(client.readStream(stream))).toHaveLength(1)
  })
})
