import * as Crypto from "node:crypto"
import { binaryEvent, jsonEvent, WrongExpectedVersionError } from "@kurrent/kurrentdb-client"
import { describe, expect, it } from "vitest"
import {
  bytes,
  collect,
  connect,
  failure,
  happened,
  happenedMany,
  isPending,
  onlyFake,
  realUri,
  revisions,
  startOwn,
  streamName,
  useServer
} from "./testServer.ts"

const server = useServer()

describe("appends", () => {
  it("every event of an append has its own position, and the result has the last", async () => {
    const client = server.client()
    const stream = streamName()
    const answer = await client.appendToStream(stream, happenedMany(0, 3), { streamState: "no_stream" })
    const read = await collect(client.readStream(stream))
    const positions = read.map(({ event }) => event!.position!)
    expect(answer).toEqual({ success: true, nextExpectedRevision: 2n, position: positions[2] })
    for (const [index, { commit, prepare }] of positions.entries()) {
      expect(commit).toBe(prepare)
      // with gaps: no two events are closer than their bytes
      if (index > 0) expect(commit - positions[index - 1]!.commit).toBeGreaterThan(50n)
    }
    expect(read.map(({ commitPosition }) => commitPosition)).toEqual(positions.map(({ commit }) => commit))
  })

  it("appended events are read back: data, metadata, type, id, time, whether it is JSON", async () => {
    const client = server.client()
    const stream = streamName("Ünïcode 'name'")
    const json = jsonEvent({ type: "Täst / type", data: { a: [1, "ü"] }, metadata: { who: "me" } })
    const binary = binaryEvent({ type: "Binary", data: Uint8Array.of(0, 255, 7), metadata: Uint8Array.of(1, 2, 254) })
    const before = Date.now() - 1000
    await client.appendToStream(stream, [json, binary])
    const [first, second] = await collect(client.readStream(stream))
    expect(first!.event).toMatchObject({
      streamId: stream,
      id: json.id,
      revision: 0n,
      type: "Täst / type",
      data: { a: [1, "ü"] },
      metadata: { who: "me" },
      isJson: true
    })
    expect(first!.event!.created.getTime()).toBeGreaterThan(before - 1000)
    expect(second!.event).toMatchObject({ id: binary.id, type: "Binary", isJson: false })
    expect([...(second!.event!.data as Uint8Array)]).toEqual([0, 255, 7])
    expect([...(second!.event!.metadata as Uint8Array)]).toEqual([1, 2, 254])
    await client.appendToStream(stream, happened(1))
    const [third] = await collect(client.readStream(stream, { fromRevision: 2n }))
    expect(third!.event!.metadata).toBeUndefined()
  })

  it("a wrong expected version is reported with the actual one, batched and with credentials", async () => {
    const client = server.client()
    const stream = streamName()
    const missing = streamName()
    await client.appendToStream(stream, happenedMany(0, 2))
    const credentials = { username: "admin", password: "changeit" }
    for (const options of [{}, { credentials }]) {
      const cases = [
        [stream, "no_stream", 1n],
        [stream, 0n, 1n],
        [stream, 7n, 1n],
        [missing, 0n, "no_stream"],
        [missing, "stream_exists", "no_stream"]
      ] as const
      for (const [name, expected, actual] of cases) {
        const error = await failure(client.appendToStream(name, happened(9), { streamState: expected, ...options }))
        expect(error).toBeInstanceOf(WrongExpectedVersionError)
        expect(error).toMatchObject({ streamName: name, expectedState: expected, actualState: actual, message: "" })
      }
    }
    expect(await collect(client.readStream(stream))).toHaveLength(2)
  })

  it("appends with credentials are recorded like others", async () => {
    const client = server.client()
    const stream = streamName()
    const credentials = { username: "admin", password: "changeit" }
    const answer = await client.appendToStream(stream, happenedMany(0, 3), { credentials, streamState: "no_stream" })
    const read = await collect(client.readStream(stream))
    expect(answer).toEqual({ success: true, nextExpectedRevision: 2n, position: read[2]!.event!.position })
  })

  it("an event without a type, an invalid id, and a stream without a name are refused", async () => {
    const client = server.client()
    const stream = streamName()
    const bad = (options: Parameters<typeof jsonEvent>[0]) => client.appendToStream(stream, jsonEvent(options))
    expect(await failure(bad({ type: "", data: {} }))).toMatchObject({
      type: "unknown",
      message: "Could not recognize BadRequest"
    })
    const nil = "00000000-0000-0000-0000-000000000000"
    expect(await failure(bad({ id: nil, type: "A", data: {} }))).toMatchObject({ type: "unknown" })
    expect(await failure(client.appendToStream("", happened(1)))).toMatchObject({
      type: "unknown",
      message: "Could not recognize BadRequest"
    })
  })

  it("an append of nothing succeeds and claims revision 0", async () => {
    const client = server.client()
    const stream = streamName()
    expect(await client.appendToStream(stream, [])).toMatchObject({ success: true, nextExpectedRevision: 0n })
    expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "stream-not-found" })
    await client.appendToStream(stream, happenedMany(0, 3))
    expect(await client.appendToStream(stream, [])).toMatchObject({ nextExpectedRevision: 2n })
  })

  it("an append that comes in many messages is one", async () => {
    const client = server.client()
    const stream = streamName()
    const answer = await client.appendToStream(
      stream,
      Array.from({ length: 50 }, () => bytes(1000)),
      {
        batchAppendSize: 5000,
        streamState: "no_stream"
      }
    )
    expect(answer.nextExpectedRevision).toBe(49n)
    expect(await collect(client.readStream(stream))).toHaveLength(50)
  })

  it("many writers at one revision: one wins", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, n) => client.appendToStream(stream, happened(n), { streamState: 0n }))
    )
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1)
  })
})

describe("idempotency", () => {
  it("G7 the same ids at the same place return the old result, also of a part, and record nothing", async () => {
    const client = server.client()
    const stream = streamName()
    const events = happenedMany(0, 4)
    const first = await client.appendToStream(stream, events, { streamState: "no_stream" })
    await client.appendToStream(stream, happened(9))
    expect(await client.appendToStream(stream, events, { streamState: "no_stream" })).toEqual(first)
    expect(await client.appendToStream(stream, events.slice(0, 2), { streamState: "no_stream" })).toMatchObject({
      nextExpectedRevision: 1n
    })
    expect(await client.appendToStream(stream, events.slice(2), { streamState: 1n })).toEqual(first)
    expect(await collect(client.readStream(stream))).toHaveLength(5)
  })

  it("old ids and then a new one are a wrong version; a new one and then old ones are recorded", async () => {
    const client = server.client()
    const stream = streamName()
    const [a, b] = happenedMany(0, 2)
    await client.appendToStream(stream, [a!, b!], { streamState: "no_stream" })
    const partly = client.appendToStream(stream, [a!, b!, happened(2)], { streamState: "no_stream" })
    expect(await failure(partly)).toMatchObject({ type: "wrong-expected-version", actualState: 1n })
    const anyway = client.appendToStream(stream, [a!, happened(2)], { streamState: "any" })
    expect(await failure(anyway)).toMatchObject({ type: "wrong-expected-version" })
    expect(await client.appendToStream(stream, [happened(3), a!, b!], { streamState: 1n })).toMatchObject({
      nextExpectedRevision: 4n
    })
    expect(await collect(client.readStream(stream))).toHaveLength(5)
  })

  it("with any and stream_exists the server remembers ids by stream, for a while", async () => {
    const client = server.client()
    const stream = streamName()
    const other = streamName()
    const events = happenedMany(0, 2)
    const first = await client.appendToStream(stream, events)
    await client.appendToStream(stream, happened(2))
    expect(await client.appendToStream(stream, events)).toEqual(first)
    expect(await client.appendToStream(stream, events, { streamState: "stream_exists" })).toEqual(first)
    await client.appendToStream(other, events)
    expect(await collect(client.readStream(stream))).toHaveLength(3)
    expect(await collect(client.readStream(other))).toHaveLength(2)
  })

  it("the same ids in another order with any: the place of the last, and going back by more than one never gets an answer", async () => {
    const client = server.client()
    const stream = streamName()
    const [a, b, c] = happenedMany(0, 3)
    await client.appendToStream(stream, [a!, b!, c!])
    for (const [events, last] of [
      [[b!, a!], 0n],
      [[a!, c!], 2n],
      [[b!], 1n]
    ] as const) {
      expect((await client.appendToStream(stream, [...events])).nextExpectedRevision).toBe(last)
    }
    const reversed = client.appendToStream(stream, [c!, b!, a!])
    // it ends with the client
    reversed.catch(() => {})
    expect(await isPending(reversed)).toBe(true)
    expect(await collect(client.readStream(stream))).toHaveLength(3)
  })
})

describe("sizes", () => {
  it("an event of a mebibyte is recorded, one of 20 is refused", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, bytes(1024 * 1024 - 100))
    const [read] = await collect(client.readStream(stream))
    expect((read!.event!.data as Uint8Array).length).toBe(1024 * 1024 - 100)
    expect(await failure(client.appendToStream(stream, bytes(20 * 1024 * 1024)))).toMatchObject({
      type: "unknown",
      code: 8
    })
    expect(revisions(await collect(client.readStream(stream)))).toEqual([0])
  })

  onlyFake("limits that were set lower are said", async () => {
    const fake = await startOwn({ maxAppendSize: 10_000, maxAppendEventSize: 5000 })
    const client = connect(fake.uri)
    const stream = streamName()
    expect(await failure(client.appendToStream(stream, bytes(6000)))).toMatchObject({
      message: "Could not recognize MaximumAppendEventSizeExceeded"
    })
    const four = Array.from({ length: 4 }, () => bytes(3000))
    expect(await failure(client.appendToStream(stream, four))).toMatchObject({
      type: "maximum-append-size-exceeded",
      maxAppendSize: 10_000
    })
    const credentials = { username: "admin", password: "changeit" }
    expect(await failure(client.appendToStream(stream, four, { credentials }))).toMatchObject({
      type: "maximum-append-size-exceeded",
      maxAppendSize: 10_000
    })
    expect(await client.appendToStream(stream, bytes(3000))).toMatchObject({ nextExpectedRevision: 0n })
  })

  onlyFake("an older server takes a mebibyte an append", async () => {
    const fake = await startOwn({ version: "24.10.6" })
    const client = connect(fake.uri)
    expect(await failure(client.appendToStream(streamName(), bytes(1024 * 1024)))).toMatchObject({
      type: "maximum-append-size-exceeded",
      maxAppendSize: 1024 * 1024
    })
  })

  it("10,000 appends at once", async () => {
    // the client gives up after 10 seconds, and a real server gives up what it has not written within 2, on any machine
    const client = realUri === undefined ? connect(`${server.uri()}&defaultDeadline=100000`) : server.client()
    const count = realUri === undefined ? 10_000 : 1000
    const stream = streamName()
    const answers = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        client.appendToStream(stream, jsonEvent({ id: Crypto.randomUUID(), type: "Happened", data: { n } }))
      )
    )
    expect(new Set(answers.map(({ nextExpectedRevision }) => nextExpectedRevision)).size).toBe(count)
    expect(await collect(client.readStream(stream))).toHaveLength(count)
  })
})
