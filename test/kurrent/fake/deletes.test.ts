import { streamNameFilter } from "@kurrent/kurrentdb-client"
import { describe, expect, it } from "vitest"
import {
  collect,
  failure,
  happened,
  happenedMany,
  listen,
  revisions,
  streamName,
  until,
  useServer
} from "./testServer.ts"

const server = useServer()

const lastRevision = 2n ** 63n - 1n

describe("soft deletes", () => {
  it("hide the stream, and numbering continues when it comes back", async () => {
    const client = server.client()
    for (const streamState of ["no_stream", "any", 2n] as const) {
      const stream = streamName()
      await client.appendToStream(stream, happenedMany(0, 3))
      const { position } = await client.deleteStream(stream)
      expect(position!.commit).toBeGreaterThan(0n)
      expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "stream-not-found" })
      expect(await client.appendToStream(stream, happenedMany(3, 5), { streamState })).toMatchObject({
        nextExpectedRevision: 4n
      })
      expect(revisions(await collect(client.readStream(stream)))).toEqual([3, 4])
    }
  })

  it("the server reports the new first revision after the events", async () => {
    const client = server.client()
    const stream = streamName()
    const { position } = await client.appendToStream(stream, happenedMany(0, 2))
    await client.setStreamMetadata(stream, { custom: "lost" })
    await client.deleteStream(stream)
    const answer = await client.appendToStream(stream, happened(2))
    const filter = streamNameFilter({ prefixes: [stream, `$$${stream}`] })
    const all = await collect(client.readAll({ fromPosition: position!, filter }))
    expect(all.map(({ event }) => event!.type)).toEqual(["Happened", "$metadata", "$metadata", "Happened", "$metadata"])
    expect(answer.position).toEqual(all[3]!.event!.position)
    expect(all[4]!.event!.data).toEqual({ $tb: 2 })
  })

  it("stream_exists fails with deleted, an old revision with wrong version", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 3))
    await client.deleteStream(stream, { expectedRevision: 2n })
    expect(await failure(client.appendToStream(stream, happened(3), { streamState: "stream_exists" }))).toMatchObject({
      type: "stream-deleted",
      streamName: stream
    })
    expect(await failure(client.appendToStream(stream, happened(3), { streamState: 1n }))).toMatchObject({
      type: "wrong-expected-version",
      actualState: 2n
    })
  })

  it("G7 a retry of a deleted append returns the old result without a position, and one with a new event is refused", async () => {
    const client = server.client()
    const stream = streamName()
    const events = happenedMany(0, 2)
    await client.appendToStream(stream, events, { streamState: "no_stream" })
    await client.deleteStream(stream)
    const retried = await client.appendToStream(stream, events, { streamState: "no_stream" })
    expect(retried).toMatchObject({ success: true, nextExpectedRevision: 1n })
    expect(retried.position).toBeUndefined()
    const partly = client.appendToStream(stream, [events[0]!, happened(1)], { streamState: "no_stream" })
    expect(await failure(partly)).toMatchObject({ type: "wrong-expected-version", actualState: 1n })
    expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "stream-not-found" })
  })

  it("a stream that never existed can't be deleted, one that has only metadata can", async () => {
    const client = server.client()
    const stream = streamName()
    expect(await failure(client.deleteStream(stream))).toMatchObject({
      type: "wrong-expected-version",
      expectedState: -2n,
      actualState: -1n
    })
    expect(await failure(client.deleteStream(stream, { expectedRevision: 4n }))).toMatchObject({
      type: "wrong-expected-version",
      expectedState: 4n,
      actualState: -1n
    })
    await client.setStreamMetadata(stream, { custom: "a" })
    expect(await client.appendToStream(stream, [], { streamState: "stream_exists" })).toMatchObject({ success: true })
    await client.deleteStream(stream)
    expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "stream-not-found" })
  })

  it("new metadata brings the stream back, without its old events", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 2))
    await client.deleteStream(stream)
    await client.setStreamMetadata(stream, { custom: "a" })
    expect(await collect(client.readStream(stream))).toEqual([])
    expect((await client.getStreamMetadata(stream)).metadata).toEqual({ custom: "a", truncateBefore: 2 })
  })
})

describe("tombstones", () => {
  it("close a stream permanently", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 2))
    const { position } = await client.tombstoneStream(stream)
    const deleted = { type: "stream-deleted", streamName: stream }
    expect(await failure(collect(client.readStream(stream)))).toMatchObject(deleted)
    for (const streamState of ["any", "no_stream", "stream_exists", 1n] as const) {
      expect(await failure(client.appendToStream(stream, happened(2), { streamState }))).toMatchObject(deleted)
    }
    const credentials = { username: "admin", password: "changeit" }
    expect(await failure(client.appendToStream(stream, happened(2), { credentials }))).toMatchObject(deleted)
    expect(await failure(client.deleteStream(stream))).toMatchObject(deleted)
    expect(await failure(client.tombstoneStream(stream))).toMatchObject(deleted)
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.errors.length > 0)
    expect(heard.errors[0]).toMatchObject(deleted)
    expect(heard.signals).toEqual(["error"])
    const [event] = await collect(client.readAll({ fromPosition: position!, maxCount: 1 }))
    expect(event!.event).toMatchObject({ type: "$streamDeleted", streamId: stream, revision: lastRevision })
  })

  it("a live subscription sees the tombstone and then the error", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.caughtUp.length > 0)
    await client.tombstoneStream(stream, { expectedRevision: 0n })
    await until(() => heard.errors.length > 0)
    expect(heard.events.map(({ event }) => event!.type)).toEqual(["Happened", "$streamDeleted"])
    expect(heard.events[1]!.event!.revision).toBe(lastRevision)
    expect(heard.errors[0]).toMatchObject({ type: "stream-deleted", streamName: stream })
  })

  it("a wrong revision is reported", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 2))
    expect(await failure(client.tombstoneStream(stream, { expectedRevision: 0n }))).toMatchObject({
      type: "wrong-expected-version",
      streamName: stream,
      expectedState: 0n,
      actualState: 1n
    })
    expect(revisions(await collect(client.readStream(stream)))).toEqual([0, 1])
  })
})
