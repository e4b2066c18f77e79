import { streamNameFilter } from "@kurrent/kurrentdb-client"
import { describe, expect } from "vitest"
import {
  collect,
  connect,
  eventually,
  failure,
  happened,
  happenedMany,
  isPending,
  listen,
  onlyFake,
  revisions,
  startOwn,
  streamName,
  until
} from "./testServer.ts"

const start = async () => {
  const fake = await startOwn()
  const client = connect(fake.uri)
  const stream = streamName()
  await client.appendToStream(stream, happened(0))
  return { fake, faults: fake.faults, client, stream, other: () => connect(fake.uri) }
}

describe("faults of appends", () => {
  onlyFake("a connection that is lost after the write: the event is there, once, and the retry says so", async () => {
    const { client, faults, other, stream } = await start()
    const event = happened(1)
    faults.dropAfterWrite()
    expect(await failure(client.appendToStream(stream, event, { streamState: 0n }))).toMatchObject({
      type: "unavailable"
    })
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0, 1])
    expect(await client.appendToStream(stream, event, { streamState: 0n })).toMatchObject({ nextExpectedRevision: 1n })
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0, 1])
  })

  onlyFake("a connection that is lost before the write: nothing is there", async () => {
    const { client, faults, other, stream } = await start()
    faults.dropBeforeWrite(2)
    for (let n = 0; n < 2; n += 1) {
      expect(await failure(client.appendToStream(stream, happened(1)))).toMatchObject({ type: "unavailable" })
    }
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0])
    await client.appendToStream(stream, happened(1), { streamState: 0n })
  })

  onlyFake("the same of appends to many streams and of appends with credentials", async () => {
    const { client, faults, other, stream } = await start()
    const many = [{ streamName: stream, events: [happened(1)], expectedState: 0n }]
    faults.dropAfterWrite()
    expect(await failure(client.multiStreamAppend(many))).toMatchObject({ type: "unavailable" })
    expect(await client.multiStreamAppend(many)).toMatchObject({ responses: [{ revision: 1n }] })
    const options = { streamState: 1n, credentials: { username: "admin", password: "changeit" } }
    faults.dropBeforeWrite()
    expect(await failure(client.appendToStream(stream, happened(2), options))).toMatchObject({ type: "unavailable" })
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0, 1])
  })

  onlyFake("an append that is never answered", async () => {
    const { client, faults, other, stream } = await start()
    faults.silence("appends")
    const pending = client.appendToStream(stream, happened(1))
    pending.catch(() => {})
    await until(() => faults.held === 1)
    expect(await isPending(pending, 50)).toBe(true)
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0])
    faults.answer("appends")
    await client.appendToStream(stream, happened(2))
    expect(revisions(await collect(other().readStream(stream)))).toEqual([0, 1])
  })

  onlyFake("an append that is slow", async () => {
    const { client, faults, stream } = await start()
    faults.delay("appends", 100)
    const before = performance.now()
    await client.appendToStream(stream, happened(1))
    expect(performance.now() - before).toBeGreaterThan(90)
  })

  onlyFake("another node is the leader: the client is told, and goes there", async () => {
    const { client, fake, faults, stream } = await start()
    const leader = await startOwn()
    const told = { type: "not-leader", leader: { address: "127.0.0.1", port: leader.port } }
    faults.notLeader("appends", "127.0.0.1", leader.port)
    expect(await failure(client.appendToStream(stream, happened(1)))).toMatchObject(told)
    await client.appendToStream(stream, happened(1))
    expect(await collect(connect(leader.uri).readStream(stream))).toHaveLength(1)
    const other = connect(fake.uri)
    const credentials = { username: "admin", password: "changeit" }
    expect(await failure(other.appendToStream(stream, happened(1), { credentials }))).toMatchObject(told)
    // the newer protocol reports it in a way that the client does not know
    const request = [{ streamName: stream, events: [happened(2)], expectedState: "any" as const }]
    expect(await failure(connect(fake.uri).multiStreamAppend(request))).toMatchObject({ type: "unknown", code: 9 })
    faults.notLeader("reads", "127.0.0.1", leader.port, 1)
    expect(await failure(collect(connect(fake.uri).readStream(stream)))).toMatchObject(told)
  })

  onlyFake("a status of the test's own, so many times", async () => {
    const { client, faults, other, stream } = await start()
    faults.refuse("appends", { code: 8, details: "Too much" }, 1)
    expect(await failure(client.appendToStream(stream, happened(1)))).toMatchObject({ type: "unknown", code: 8 })
    await client.appendToStream(stream, happened(1))
    faults.refuse("deletes", { code: 14, details: "Server Is Too Busy" }, 1)
    expect(await failure(client.deleteStream(stream))).toMatchObject({ type: "unavailable" })
    await client.deleteStream(stream)
    faults.refuse("features", { code: 14, details: "Server Is Not Ready" }, 1)
    expect((await failure(other().appendToStream(stream, happened(1)))).code).toBe(14)
  })
})

describe("faults of reads", () => {
  onlyFake("a read that is never answered, one that is slow, one that fails", async () => {
    const { client, faults, stream } = await start()
    faults.silence("reads")
    const pending = collect(client.readStream(stream))
    pending.catch(() => {})
    await until(() => faults.held === 1)
    expect(await isPending(pending, 50)).toBe(true)
    faults.answer("reads")
    faults.delay("reads", 100)
    const before = performance.now()
    await collect(client.readStream(stream))
    expect(performance.now() - before).toBeGreaterThan(90)
    faults.delay("reads", 0)
    faults.refuse("reads", { code: 14, details: "Server Is Too Busy" }, 1)
    expect(await failure(collect(client.readStream(stream)))).toMatchObject({ type: "unavailable" })
    expect(await collect(client.readStream(stream))).toHaveLength(1)
  })
})

describe("faults of subscriptions", () => {
  onlyFake("one that is never answered", async () => {
    const { client, faults, stream } = await start()
    faults.silence("subscriptions")
    const heard = listen(client.subscribeToStream(stream))
    await until(() => faults.held === 1)
    expect(heard.signals).toEqual([])
  })

  onlyFake("all are ended: the server shuts down, or they are too slow", async () => {
    const { client, faults, other, stream } = await start()
    const heard = [
      listen(client.subscribeToStream(stream)),
      listen(client.subscribeToAll({ filter: streamNameFilter({ prefixes: [stream] }) }))
    ]
    await until(() => heard.every(({ caughtUp }) => caughtUp.length > 0))
    faults.endSubscriptions("shutdown")
    await until(() => heard.every(({ errors }) => errors.length > 0))
    for (const { errors } of heard) expect(errors[0]).toMatchObject({ type: "unavailable", code: 14 })
    expect(heard[0]!.errors[0]!.message).toContain("Server shutting down")
    const slow = listen(other().subscribeToStream(stream))
    await until(() => slow.caughtUp.length > 0)
    faults.endSubscriptions("slow")
    await until(() => slow.errors.length > 0)
    expect(slow.errors[0]).toMatchObject({ code: 10 })
    expect(slow.errors[0]!.message).toContain("too slow")
  })

  onlyFake("one is dropped after so many events, the next one is not", async () => {
    const { client, faults, stream } = await start()
    await client.appendToStream(stream, happenedMany(1, 10))
    faults.dropSubscriptions(4)
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.errors.length > 0)
    expect(heard.errors[0]).toMatchObject({ type: "unavailable" })
    expect(heard.events.length).toBeGreaterThanOrEqual(4)
    const next = listen(client.subscribeToStream(stream))
    await until(() => next.caughtUp.length > 0)
    expect(next.events).toHaveLength(10)
  })
})

describe("faults of connections", () => {
  onlyFake("all are reset", async () => {
    const { client, fake, faults, stream } = await start()
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.caughtUp.length > 0)
    expect(fake.connections()).toBeGreaterThan(0)
    faults.dropConnections()
    await until(() => heard.errors.length > 0)
    expect(heard.errors[0]).toMatchObject({ type: "unavailable" })
    await until(() => fake.subscriptions() === 0)
    await eventually(() => client.appendToStream(stream, happened(1), { streamState: 0n }))
  })

  onlyFake("none is accepted for a while", async () => {
    const { fake, faults, other, stream } = await start()
    faults.refuseConnections()
    await until(() => fake.connections() === 0)
    expect((await failure(other().appendToStream(stream, happened(1)))).code).toBe(14)
    expect(await failure(collect(other().readStream(stream)))).toMatchObject({ type: "unavailable" })
    await faults.acceptConnections()
    await eventually(() => other().appendToStream(stream, happened(1), { streamState: 0n }))
    expect(await collect(other().readStream(stream))).toHaveLength(2)
  })

  onlyFake("everything in progress is ended at once", async () => {
    const { faults, other, stream } = await start()
    faults.silence()
    faults.dropAfterWrite(5)
    faults.delay("reads", 1000)
    faults.refuseConnections()
    await faults.clear()
    await eventually(() => other().appendToStream(stream, happened(1), { streamState: 0n }))
    expect(await collect(other().readStream(stream))).toHaveLength(2)
  })
})
