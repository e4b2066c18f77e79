import type { KurrentDBClient, Position } from "@kurrent/kurrentdb-client"
import { eventTypeFilter, streamNameFilter } from "@kurrent/kurrentdb-client"
import { describe, expect, it } from "vitest"
import { isSince } from "../support/server.ts"
import {
  collect,
  connect,
  happened,
  happenedMany,
  listen,
  onlyFake,
  revisions,
  startOwn,
  streamName,
  until,
  useServer
} from "./testServer.ts"

const server = useServer()

/** Whether the server reports when and where a subscription has caught up. */
const saysWhere = isSince("25.0.1") || (isSince("24.10.5") && !isSince("25.0.0"))

const seeded = async (client: KurrentDBClient, n: number) => {
  const stream = streamName()
  await client.appendToStream(stream, happenedMany(0, n))
  const positions = (await collect(client.readStream(stream))).map(({ event }) => event!.position!)
  return { stream, positions, last: positions.at(-1)! }
}

describe("to a stream", () => {
  it("G8 confirms, delivers existing events, has caught up, and delivers new ones", async () => {
    const client = server.client()
    const { stream } = await seeded(client, 3)
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.caughtUp.length > 0)
    expect(heard.signals).toEqual(["confirmation", "event", "event", "event", "caughtUp"])
    if (saysWhere) expect(heard.caughtUp[0]).toMatchObject({ revision: 2n, date: expect.any(Date) })
    await client.appendToStream(stream, happenedMany(3, 5))
    await until(() => heard.events.length === 5)
    expect(revisions(heard.events)).toEqual([0, 1, 2, 3, 4])
  })

  it("starts after a revision, which it does not deliver", async () => {
    const client = server.client()
    const { stream } = await seeded(client, 4)
    const middle = listen(client.subscribeToStream(stream, { fromRevision: 1n }))
    const last = listen(client.subscribeToStream(stream, { fromRevision: 3n }))
    const end = listen(client.subscribeToStream(stream, { fromRevision: "end" }))
    await until(() => [middle, last, end].every(({ caughtUp }) => caughtUp.length > 0))
    expect(revisions(middle.events)).toEqual([2, 3])
    expect(last.signals).toEqual(["confirmation", "caughtUp"])
    expect(end.signals).toEqual(["confirmation", "caughtUp"])
    await client.appendToStream(stream, happened(4))
    await until(() => [middle, last, end].every(({ events }) => revisions(events).includes(4)))
    expect(revisions(last.events)).toEqual([4])
    expect(revisions(end.events)).toEqual([4])
  })

  it("waits for a stream that does not exist yet", async () => {
    const client = server.client()
    const stream = streamName()
    const heard = listen(client.subscribeToStream(stream))
    await until(() => heard.caughtUp.length > 0)
    expect(heard.signals).toEqual(["confirmation", "caughtUp"])
    expect(heard.caughtUp[0]!.revision).toBeUndefined()
    await client.appendToStream(stream, happenedMany(0, 2))
    await until(() => heard.events.length === 2)
  })

  it("does not deliver events that the stream's metadata hides, and waits at a soft delete", async () => {
    const client = server.client()
    const { stream } = await seeded(client, 4)
    await client.setStreamMetadata(stream, { truncateBefore: 2 })
    const hidden = listen(client.subscribeToStream(stream))
    await until(() => hidden.caughtUp.length > 0)
    expect(revisions(hidden.events)).toEqual([2, 3])
    await client.deleteStream(stream)
    const deleted = listen(client.subscribeToStream(stream))
    await until(() => deleted.caughtUp.length > 0)
    expect(deleted.events).toEqual([])
    await client.appendToStream(stream, happened(4))
    await until(() => deleted.events.length > 0 && hidden.events.length === 3)
    expect(revisions(deleted.events)).toEqual([4])
    expect(revisions(hidden.events)).toEqual([2, 3, 4])
  })

  it("a slow reader gets all events, once, in order", async () => {
    const client = server.client()
    const stream = streamName()
    const subscription = client.subscribeToStream(stream)
    await new Promise((resolve) => subscription.once("confirmation", resolve))
    for (let n = 0; n < 20; n += 1) await client.appendToStream(stream, happenedMany(n * 100, (n + 1) * 100))
    const seen: Array<number> = []
    for await (const { event } of subscription) {
      seen.push(Number(event!.revision))
      if (seen.length % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
      if (seen.length === 2000) break
    }
    expect(seen).toEqual(Array.from({ length: 2000 }, (_, n) => n))
  })
})

describe("to $all", () => {
  it("G8 starts after a position, which it does not deliver, and continues with new events", async () => {
    const client = server.client()
    const { positions, stream } = await seeded(client, 4)
    const heard = listen(client.subscribeToAll({ fromPosition: positions[1]! }))
    await until(() => heard.caughtUp.length > 0)
    await client.appendToStream(stream, happened(4))
    const ours = () => heard.events.filter(({ event }) => event!.streamId === stream)
    await until(() => ours().length === 3)
    expect(revisions(ours())).toEqual([2, 3, 4])
    if (saysWhere) {
      expect(heard.caughtUp[0]).toMatchObject({ date: expect.any(Date), position: { commit: expect.any(BigInt) } })
      expect(heard.caughtUp[0]!.position!.commit).toBeGreaterThanOrEqual(positions[3]!.commit)
    }
    expect(heard.caughtUp[0]!.revision).toBeUndefined()
  })

  it("from the end it delivers only new events", async () => {
    const client = server.client()
    const { stream } = await seeded(client, 2)
    const heard = listen(client.subscribeToAll({ fromPosition: "end" }))
    await until(() => heard.caughtUp.length > 0)
    expect(heard.signals).toEqual(["confirmation", "caughtUp"])
    await client.appendToStream(stream, happened(2))
    await until(() => heard.events.some(({ event }) => event!.streamId === stream))
    expect(revisions(heard.events.filter(({ event }) => event!.streamId === stream))).toEqual([2])
  })

  it("from the position of the last event it continues", async () => {
    const client = server.client()
    const { last, stream } = await seeded(client, 2)
    const heard = listen(
      client.subscribeToAll({ fromPosition: last, filter: streamNameFilter({ prefixes: [stream] }) })
    )
    await until(() => heard.caughtUp.length > 0)
    await client.appendToStream(stream, happened(2))
    await until(() => heard.events.length > 0)
    expect(revisions(heard.events)).toEqual([2])
  })

  it("a position at which no record starts is refused, with and without a filter", async () => {
    const client = server.client()
    const { positions } = await seeded(client, 4)
    const bad: Position = { commit: positions[1]!.commit + 1n, prepare: positions[1]!.prepare + 1n }
    const reversed: Position = { commit: positions[0]!.commit, prepare: positions[1]!.prepare }
    for (const options of [{}, { filter: eventTypeFilter({ prefixes: ["Happened"] }) }]) {
      const heard = listen(client.subscribeToAll({ fromPosition: bad, ...options }))
      await until(() => heard.errors.length > 0)
      expect(heard.errors[0]).toMatchObject({ type: "unknown", code: 3 })
      expect(heard.errors[0]!.message).toContain("invalid position")
      const wrong = listen(client.subscribeToAll({ fromPosition: reversed, ...options }))
      await until(() => wrong.errors.length > 0)
      expect(wrong.errors[0]).toMatchObject({ type: "unknown", code: 2 })
    }
  })

  it("system events are delivered, epochs are not", async () => {
    const client = server.client()
    const heard = listen(client.subscribeToAll())
    await until(() => heard.caughtUp.length > 0)
    expect(heard.events.some(({ event }) => event!.streamId.startsWith("$"))).toBe(true)
    expect(heard.events.filter(({ event }) => event!.streamId === "$epoch-information")).toEqual([])
  })

  onlyFake("an older server says that it has caught up, and not where", async () => {
    const fake = await startOwn({ version: "24.6.0" })
    const heard = listen(connect(fake.uri).subscribeToAll())
    await until(() => heard.caughtUp.length > 0)
    expect(heard.caughtUp).toEqual([{}])
  })

  onlyFake("nothing is left of a subscription that was given up", async () => {
    const fake = await startOwn()
    const client = connect(fake.uri)
    const heard = listen(client.subscribeToAll())
    await until(() => heard.caughtUp.length > 0)
    expect(fake.subscriptions()).toBe(1)
    await heard.unsubscribe()
    await until(() => fake.subscriptions() === 0)
  })
})

describe("checkpoints", () => {
  const listenFiltered = (
    client: KurrentDBClient,
    prefix: string,
    fromPosition: Position | "start" | "end",
    options: { readonly checkpointInterval?: number; readonly maxSearchWindow?: number } = {}
  ) => {
    const checkpoints: Array<Position> = []
    const filter = streamNameFilter({
      prefixes: [prefix],
      checkpointReached: (_, position) => {
        checkpoints.push(position)
      },
      ...options
    })
    return { checkpoints, heard: listen(client.subscribeToAll({ fromPosition, filter })) }
  }

  it("while catching up, one for every window that was scanned, and one at its end", async () => {
    const client = server.client()
    const { positions } = await seeded(client, 200)
    const { checkpoints, heard } = listenFiltered(client, streamName("Nobody"), positions[0]!)
    await until(() => heard.caughtUp.length > 0)
    expect(heard.events).toEqual([])
    expect(checkpoints.length).toBeGreaterThanOrEqual(5)
    // a window is 32 events, and its end is reported once the next event has been looked at
    const commits = positions.map(({ commit }) => commit)
    expect(checkpoints.slice(0, 3).map(({ commit }) => commits.indexOf(commit))).toEqual([0, 32, 64])
    expect(checkpoints[1]!.prepare).toBe(0n)
    if (saysWhere) expect(heard.caughtUp[0]!.position).toEqual(checkpoints.at(-1))
  })

  it("from the start the first one is at 0", async () => {
    const client = server.client()
    await seeded(client, 100)
    const { checkpoints, heard } = listenFiltered(client, streamName("Nobody"), "start")
    await until(() => heard.caughtUp.length > 0)
    expect(checkpoints[0]).toEqual({ commit: 0n, prepare: 0n })
    const commits = checkpoints.map(({ commit }) => commit)
    expect(commits).toEqual([...new Set(commits)].sort((a, b) => Number(a - b)))
  })

  onlyFake("live, one for every interval", async () => {
    const fake = await startOwn()
    const client = connect(fake.uri)
    const { checkpoints, heard } = listenFiltered(client, "Nobody", "end", {
      maxSearchWindow: 4,
      checkpointInterval: 2
    })
    await until(() => heard.caughtUp.length > 0)
    const { positions } = await seeded(client, 20)
    await until(() => checkpoints.length === 2)
    expect(checkpoints).toEqual([positions[7], positions[15]])
  })

  it("a subscription that starts at one continues where it was", async () => {
    const client = server.client()
    const { positions, stream } = await seeded(client, 100)
    const { checkpoints, heard } = listenFiltered(client, streamName("Nobody"), positions[0]!)
    await until(() => heard.caughtUp.length > 0)
    for (const checkpoint of checkpoints) {
      const next = listenFiltered(client, stream, checkpoint)
      await until(() => next.heard.caughtUp.length > 0)
      expect(next.heard.errors).toEqual([])
      const expected = positions.filter(({ commit, prepare }) =>
        commit === checkpoint.commit ? prepare > checkpoint.prepare : commit > checkpoint.commit
      )
      expect(next.heard.events.map(({ event }) => event!.position)).toEqual(expected)
      await next.heard.unsubscribe()
    }
  })

  it("all matching events come once, whatever the window", async () => {
    const client = server.client()
    const { positions, stream } = await seeded(client, 10)
    for (let n = 0; n < 20; n += 1) {
      await client.appendToStream(streamName("Other"), happenedMany(0, 7))
      await client.appendToStream(stream, happened(10 + n))
    }
    const { heard } = listenFiltered(client, stream, positions[3]!, { maxSearchWindow: 5 })
    await until(() => heard.caughtUp.length > 0)
    for (let n = 0; n < 20; n += 1) await client.appendToStream(stream, happened(30 + n))
    await until(() => heard.events.length === 46)
    expect(revisions(heard.events)).toEqual(Array.from({ length: 46 }, (_, n) => n + 4))
  })
})
