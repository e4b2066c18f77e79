import type { AllStreamResolvedEvent, Filter, KurrentDBClient } from "@kurrent/kurrentdb-client"
import { eventTypeFilter, excludeSystemEvents, jsonEvent, streamNameFilter } from "@kurrent/kurrentdb-client"
import { describe, expect, it } from "vitest"
import {
  collect,
  connect,
  failure,
  happened,
  happenedMany,
  isPending,
  onlyFake,
  revisions,
  startOwn,
  streamName,
  useServer
} from "./testServer.ts"

const server = useServer()

const link = (stream: string, revision: number) => ({
  ...jsonEvent({ type: "$>", data: {} }),
  contentType: "application/octet-stream" as const,
  data: Buffer.from(`${revision}@${stream}`) as Uint8Array
})

const settings = (client: KurrentDBClient, stream: string, data: Record<string, unknown>) =>
  client.appendToStream(`$$${stream}`, jsonEvent({ type: "$metadata", data: data as Record<string, never> }))

describe("one stream", () => {
  it("is read from a revision, forwards and backwards, up to a number of events", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 10))
    const read = async (options: Parameters<typeof client.readStream>[1]) =>
      revisions(await collect(client.readStream(stream, options)))
    expect(await read({ fromRevision: 7n })).toEqual([7, 8, 9])
    expect(await read({ fromRevision: 2n, maxCount: 3 })).toEqual([2, 3, 4])
    expect(await read({ direction: "backwards", fromRevision: "end", maxCount: 2 })).toEqual([9, 8])
    expect(await read({ direction: "backwards", fromRevision: 2n })).toEqual([2, 1, 0])
  })

  it("beyond its end there is nothing forwards, and backwards starts at the end", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, 3))
    expect(await collect(client.readStream(stream, { fromRevision: 3n }))).toEqual([])
    expect(await collect(client.readStream(stream, { fromRevision: 100n }))).toEqual([])
    const backwards = client.readStream(stream, { direction: "backwards", fromRevision: 100n })
    expect(revisions(await collect(backwards))).toEqual([2, 1, 0])
  })

  it("is not found if it never existed", async () => {
    const stream = streamName()
    expect(await failure(collect(server.client().readStream(stream)))).toMatchObject({
      type: "stream-not-found",
      streamName: stream
    })
  })

  it("a read of no events is an error", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    expect(await failure(collect(client.readStream(stream, { maxCount: 0 })))).toMatchObject({ type: "unavailable" })
  })

  it("10,000 events are read", async () => {
    const client = server.client()
    const stream = streamName()
    for (let n = 0; n < 10; n += 1) await client.appendToStream(stream, happenedMany(n * 1000, (n + 1) * 1000))
    const read = await collect(client.readStream(stream))
    expect(revisions(read)).toEqual(Array.from({ length: 10_000 }, (_, n) => n))
  })

  it("links are followed on request", async () => {
    const client = server.client()
    const target = streamName()
    const links = streamName("Links")
    await client.appendToStream(target, happenedMany(0, 2))
    await client.appendToStream(links, [link(target, 1), link(target, 7), link(streamName(), 0)])
    const [found, beyond, nowhere] = await collect(client.readStream(links, { resolveLinkTos: true }))
    expect(found).toMatchObject({ event: { streamId: target, revision: 1n }, link: { streamId: links, revision: 0n } })
    expect(found!.commitPosition).toBe(found!.link!.position!.commit)
    expect(beyond!.event).toBeUndefined()
    expect(beyond!.link).toMatchObject({ streamId: links, revision: 1n })
    expect(nowhere!.event).toBeUndefined()
    const [unresolved] = await collect(client.readStream(links))
    expect(unresolved).toMatchObject({ event: { type: "$>", streamId: links } })
    expect(unresolved!.link).toBeUndefined()
  })
})

describe("stream metadata", () => {
  it("is an event of its stream, of which only the last is returned", async () => {
    const client = server.client()
    const stream = streamName()
    expect(await client.getStreamMetadata(stream)).toEqual({ streamName: stream })
    await client.setStreamMetadata(stream, { maxCount: 5, custom: "a" })
    await client.setStreamMetadata(stream, { maxCount: 2, maxAge: 100, truncateBefore: 1, custom: "b" })
    expect((await client.getStreamMetadata(stream)).metadata).toEqual({
      maxCount: 2,
      maxAge: 100,
      truncateBefore: 1,
      custom: "b"
    })
    expect(revisions(await collect(client.readStream(`$$${stream}`)))).toEqual([1])
    expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "stream-not-found" })
  })

  it("$maxCount, $tb and $maxAge hide events, and neither revisions nor $all change", async () => {
    const client = server.client()
    const stream = streamName()
    const { position } = await client.appendToStream(stream, happenedMany(0, 6))
    const seen = async () => revisions(await collect(client.readStream(stream)))
    await settings(client, stream, { $maxCount: 2 })
    expect(await seen()).toEqual([4, 5])
    await settings(client, stream, { $tb: 3 })
    expect(await seen()).toEqual([3, 4, 5])
    const backwards = client.readStream(stream, { direction: "backwards", fromRevision: "end" })
    expect(revisions(await collect(backwards))).toEqual([5, 4, 3])
    await settings(client, stream, { $tb: 6 })
    expect(await seen()).toEqual([])
    expect(await client.appendToStream(stream, happened(6), { streamState: 5n })).toMatchObject({
      nextExpectedRevision: 6n
    })
    expect(await seen()).toEqual([6])
    await settings(client, stream, { $maxAge: 3600 })
    expect(await seen()).toEqual([0, 1, 2, 3, 4, 5, 6])
    await settings(client, stream, {})
    const all = await collect(
      client.readAll({ fromPosition: position!, filter: streamNameFilter({ prefixes: [stream] }) })
    )
    expect(all.map(({ event }) => Number(event!.revision))).toEqual([5, 6])
  })

  onlyFake("$maxAge hides what is older", async () => {
    const client = server.client()
    const stream = streamName()
    await client.appendToStream(stream, happened(0))
    await settings(client, stream, { $maxAge: 0 })
    let seen = 1
    for (let tries = 0; seen > 0 && tries < 1000; tries += 1) seen = (await collect(client.readStream(stream))).length
    expect(seen).toBe(0)
  })
})

describe("$all", () => {
  const one = async (client: KurrentDBClient, n = 6) => {
    const stream = streamName()
    await client.appendToStream(stream, happenedMany(0, n))
    const positions = (await collect(client.readStream(stream))).map(({ event }) => event!.position!)
    return { stream, positions, filter: streamNameFilter({ prefixes: [stream] }) }
  }
  const ours = (events: ReadonlyArray<AllStreamResolvedEvent>, stream: string) =>
    revisions(events.filter(({ event }) => event?.streamId === stream))

  it("is read from a position inclusively, and backwards exclusively", async () => {
    const client = server.client()
    const { positions, stream } = await one(client)
    const forwards = await collect(client.readAll({ fromPosition: positions[2]!, maxCount: 3 }))
    expect(ours(forwards, stream)).toEqual([2, 3, 4])
    const backwards = await collect(
      client.readAll({ fromPosition: positions[2]!, direction: "backwards", maxCount: 2 })
    )
    expect(ours(backwards, stream)).toEqual([1, 0])
    const last = await collect(client.readAll({ fromPosition: "end", direction: "backwards", maxCount: 1 }))
    expect(last[0]!.commitPosition).toBe(last[0]!.event!.position!.commit)
  })

  it("starts with system events, without epochs, and no client's event is at 0", async () => {
    const client = server.client()
    const [first] = await collect(client.readAll({ maxCount: 1 }))
    expect(first!.event!.streamId.startsWith("$")).toBe(true)
    expect(first!.event!.position!.commit).toBeGreaterThan(0n)
    const system = await collect(client.readAll({ maxCount: 100 }))
    expect(system.filter(({ event }) => event!.streamId === "$epoch-information")).toEqual([])
  })

  it("a position at which no record starts is refused, in both directions", async () => {
    const client = server.client()
    const { filter, positions } = await one(client)
    const bad = { commit: positions[2]!.commit + 1n, prepare: positions[2]!.prepare + 1n }
    for (const options of [{}, { filter }]) {
      for (const direction of ["forwards", "backwards"] as const) {
        expect(await failure(collect(client.readAll({ fromPosition: bad, direction, ...options })))).toMatchObject({
          type: "unavailable"
        })
      }
    }
    const reversed = { commit: positions[1]!.commit, prepare: positions[2]!.prepare }
    expect(await failure(collect(client.readAll({ fromPosition: reversed })))).toMatchObject({ type: "unavailable" })
  })

  it("past its end there is nothing forwards, and backwards is refused", async () => {
    const client = server.client()
    const far = { commit: 2n ** 50n, prepare: 2n ** 50n }
    expect(await collect(client.readAll({ fromPosition: far }))).toEqual([])
    expect(await failure(collect(client.readAll({ fromPosition: far, direction: "backwards" })))).toMatchObject({
      type: "unavailable"
    })
  })

  it("a read of no events never ends", async () => {
    const client = server.client()
    await one(client)
    const nothing = collect(client.readAll({ maxCount: 0 }))
    nothing.catch(() => {})
    expect(await isPending(nothing)).toBe(true)
  })

  it("is filtered by streams and by types, by prefixes and by regular expressions", async () => {
    const client = server.client()
    const { positions, stream } = await one(client, 2)
    const other = streamName("Other")
    await client.appendToStream(other, [
      jsonEvent({ type: "Ünlike", data: {} }),
      jsonEvent({ type: "$system", data: {} }),
      jsonEvent({ type: "Like", data: {} })
    ])
    const types = async (filter: Filter) =>
      (await collect(client.readAll({ fromPosition: positions[0]!, filter, maxCount: 1000 })))
        .filter(({ event }) => event!.streamId === stream || event!.streamId === other)
        .map(({ event }) => event!.type)
    expect(await types(streamNameFilter({ prefixes: [other, "Nope"] }))).toEqual(["Ünlike", "$system", "Like"])
    expect(await types(streamNameFilter({ regex: `^${stream}$` }))).toEqual(["Happened", "Happened"])
    expect(await types(eventTypeFilter({ prefixes: ["Ünl", "Hap"] }))).toEqual(["Happened", "Happened", "Ünlike"])
    expect(await types(eventTypeFilter({ regex: "^(?!Happened)\\p{Lu}" }))).toEqual(["Ünlike", "Like"])
    expect(await types(excludeSystemEvents())).toEqual(["Happened", "Happened", "Ünlike", "Like"])
  })

  it("an invalid regular expression is refused", async () => {
    const client = server.client()
    const broken = client.readAll({ filter: streamNameFilter({ regex: "(" }) })
    expect(await failure(collect(broken))).toMatchObject({ type: "unavailable" })
  })

  onlyFake("a backward read from the end may see a part of the newest append", async () => {
    const fake = await startOwn()
    const client = connect(fake.uri)
    await client.appendToStream(streamName(), happenedMany(0, 3))
    fake.faults.partialHead()
    const last = () =>
      collect(client.readAll({ direction: "backwards", fromPosition: "end", maxCount: 1 })).then(revisions)
    expect(await last()).toEqual([1])
    expect(await last()).toEqual([2])
  })
})
