import type {
  KurrentDBClient,
  PersistentSubscriptionToAll,
  PersistentSubscriptionToStream,
  PersistentSubscriptionToStreamResolvedEvent
} from "@kurrent/kurrentdb-client"
import {
  persistentSubscriptionToAllSettingsFromDefaults as allSettings,
  streamNameFilter,
  persistentSubscriptionToStreamSettingsFromDefaults as streamSettings
} from "@kurrent/kurrentdb-client"
import { describe, expect, it, onTestFinished } from "vitest"
import type { ClientError } from "./testServer.ts"
import {
  connect,
  failure,
  happened,
  happenedMany,
  onlyFake,
  startOwn,
  streamName,
  until,
  useServer
} from "./testServer.ts"

const server = useServer()

type Delivered = PersistentSubscriptionToStreamResolvedEvent

const consume = (
  subscription: PersistentSubscriptionToStream | PersistentSubscriptionToAll,
  each: (event: Delivered, subscription: PersistentSubscriptionToStream) => Promise<void> | void = () => {}
) => {
  const stream = subscription as PersistentSubscriptionToStream
  const events: Array<Delivered> = []
  const errors: Array<ClientError> = []
  let confirmed = false
  stream.on("confirmation", () => {
    confirmed = true
  })
  stream.on("data", (event: Delivered) => {
    events.push(event)
    void each(event, stream)
  })
  stream.on("error", (error) => errors.push(error as ClientError))
  onTestFinished(() => subscription.unsubscribe())
  return { events, errors, stream, isConfirmed: () => confirmed }
}

const numbers = (events: ReadonlyArray<Delivered>) => events.map(({ event }) => Number(event!.revision))
const acknowledge = (event: Delivered, subscription: PersistentSubscriptionToStream) => subscription.ack(event)

const seeded = async (client: KurrentDBClient, n: number, settings: Parameters<typeof streamSettings>[0] = {}) => {
  const stream = streamName()
  await client.appendToStream(stream, happenedMany(0, n))
  await client.createPersistentSubscriptionToStream(
    stream,
    "group",
    streamSettings({ startFrom: "start", ...settings })
  )
  return stream
}

describe("a group of a stream", () => {
  it("delivers existing and new events, and no more than a consumer accepts", async () => {
    const client = server.client()
    const stream = await seeded(client, 20)
    const { events, stream: subscription } = consume(
      client.subscribeToPersistentSubscriptionToStream(stream, "group", { bufferSize: 5 })
    )
    await until(() => events.length === 5)
    await subscription.ack(...events.slice(0, 3))
    await until(() => events.length === 8)
    expect(numbers(events)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    const info = await client.getPersistentSubscriptionToStreamInfo(stream, "group")
    expect(info).toMatchObject({
      eventSource: stream,
      groupName: "group",
      settings: { startFrom: "start", maxRetryCount: 10, consumerStrategyName: "RoundRobin" },
      stats: { totalInFlightMessages: 5, parkedMessageCount: 0n }
    })
    expect(info.connections).toHaveLength(1)
    await subscription.ack(...events.slice(3))
    await until(() => events.length === 13)
  })

  it("starts where configured: at a revision, inclusively, or at the end", async () => {
    const client = server.client()
    const stream = await seeded(client, 5, { startFrom: 3n })
    await client.createPersistentSubscriptionToStream(stream, "end", streamSettings())
    const middle = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"), acknowledge)
    const end = consume(client.subscribeToPersistentSubscriptionToStream(stream, "end"), acknowledge)
    await until(() => middle.events.length === 2 && end.isConfirmed())
    await client.appendToStream(stream, happened(5))
    await until(() => middle.events.length === 3 && end.events.length === 1)
    expect(numbers(middle.events)).toEqual([3, 4, 5])
    expect(numbers(end.events)).toEqual([5])
  })

  it("retries refused events, parks them on request or after the maximum of retries, and replays parked ones", async () => {
    const client = server.client()
    const stream = await seeded(client, 4, { maxRetryCount: 2 })
    const parked: Array<number> = []
    let replaying = false
    const { events } = consume(
      client.subscribeToPersistentSubscriptionToStream(stream, "group"),
      async (event, subscription) => {
        const revision = Number(event.event!.revision)
        if (replaying) {
          parked.push(revision)
          await subscription.ack(event)
        } else if (revision === 1) await subscription.nack("retry", "later", event)
        else if (revision === 2) await subscription.nack("park", "never", event)
        else if (revision === 3) await subscription.nack("skip", "unwanted", event)
        else await subscription.ack(event)
      }
    )
    const info = () => client.getPersistentSubscriptionToStreamInfo(stream, "group")
    let count = 0n
    while (count < 2n) count = (await info()).stats.parkedMessageCount
    const tries = events.filter(({ event }) => event!.revision === 1n)
    expect(tries.map(({ retryCount }) => retryCount)).toEqual([0, 1, 2])
    replaying = true
    await client.replayParkedMessagesToStream(stream, "group")
    await until(() => parked.length === 2)
    expect(parked.sort()).toEqual([1, 2])
    expect((await info()).stats.parkedMessageCount).toBe(0n)
  })

  it("redelivers to another consumer what one does not settle in time, or leaves unsettled", async () => {
    const client = server.client()
    const stream = await seeded(client, 2, { messageTimeout: 300 })
    const idle = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group", { bufferSize: 1 }))
    await until(() => idle.events.length === 1)
    const busy = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"), acknowledge)
    await until(() => new Set(numbers(busy.events)).size === 2)
    expect(busy.events.find(({ event }) => event!.revision === 0n)!.retryCount).toBeGreaterThan(0)
    await client.appendToStream(stream, happenedMany(2, 4))
    await until(() => numbers([...idle.events, ...busy.events]).includes(3))
    await idle.stream.unsubscribe()
    await until(() => new Set(numbers(busy.events)).size === 4)
  })

  it("shares among consumers in turn, or delivers everything to one", async () => {
    const client = server.client()
    for (const [strategy, both] of [
      ["RoundRobin", true],
      ["DispatchToSingle", false]
    ] as const) {
      const stream = await seeded(client, 0, { startFrom: "start", consumerStrategyName: strategy })
      const [a, b] = [0, 1].map(() =>
        consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"), acknowledge)
      ) as [ReturnType<typeof consume>, ReturnType<typeof consume>]
      await until(() => a.isConfirmed() && b.isConfirmed())
      for (let n = 0; n < 10; n += 1) await client.appendToStream(stream, happened(n))
      await until(() => a.events.length + b.events.length === 10)
      expect(a.events.length > 0 && b.events.length > 0).toBe(both)
    }
  })

  it("refuses an existing group, a missing one, and too many consumers", async () => {
    const client = server.client()
    const stream = await seeded(client, 1, { maxSubscriberCount: 1 })
    const again = client.createPersistentSubscriptionToStream(stream, "group", streamSettings())
    const named = { streamName: stream, groupName: "group" }
    expect(await failure(again)).toMatchObject({ type: "persistent-subscription-exists", ...named })
    const missing = { type: "persistent-subscription-does-not-exist", streamName: stream, groupName: "nope" }
    expect(await failure(client.deletePersistentSubscriptionToStream(stream, "nope"))).toMatchObject(missing)
    expect(await failure(client.getPersistentSubscriptionToStreamInfo(stream, "nope"))).toMatchObject(missing)
    expect(await failure(client.replayParkedMessagesToStream(stream, "nope"))).toMatchObject(missing)
    const nobody = consume(client.subscribeToPersistentSubscriptionToStream(stream, "nope"))
    await until(() => nobody.errors.length > 0)
    expect(nobody.errors[0]).toMatchObject(missing)
    const first = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"))
    await until(() => first.isConfirmed())
    const second = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"))
    await until(() => second.errors.length > 0)
    expect(second.errors[0]).toMatchObject({ type: "maximum-subscribers-reached", ...named })
  })

  it("drops its consumers when it is deleted or changed", async () => {
    const client = server.client()
    const stream = await seeded(client, 1)
    const dropped = { type: "persistent-subscription-dropped", streamName: stream, groupName: "group" }
    const first = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"))
    await until(() => first.events.length > 0)
    await client.updatePersistentSubscriptionToStream(stream, "group", streamSettings({ maxRetryCount: 7 }))
    await until(() => first.errors.length > 0)
    expect(first.errors[0]).toMatchObject(dropped)
    const { settings } = await client.getPersistentSubscriptionToStreamInfo(stream, "group")
    expect(settings).toMatchObject({ maxRetryCount: 7, startFrom: "end" })
    const second = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"))
    await until(() => second.isConfirmed())
    await client.deletePersistentSubscriptionToStream(stream, "group")
    await until(() => second.errors.length > 0)
    expect(second.errors[0]).toMatchObject(dropped)
  })

  it("links are settled by their own ids", async () => {
    const client = server.client()
    const [target, links] = [streamName(), streamName("Links")]
    await client.appendToStream(target, happenedMany(0, 2))
    const link = (revision: number) => ({
      ...happened(0),
      type: "$>",
      contentType: "application/octet-stream" as const,
      data: Buffer.from(`${revision}@${target}`) as Uint8Array
    })
    await client.appendToStream(links, [link(0), link(1)])
    const settings = streamSettings({ startFrom: "start", resolveLinkTos: true })
    await client.createPersistentSubscriptionToStream(links, "group", settings)
    const options = { bufferSize: 1 }
    const { events } = consume(client.subscribeToPersistentSubscriptionToStream(links, "group", options), acknowledge)
    await until(() => events.length === 2)
    expect(events.map(({ event, link: its }) => [event!.streamId, its!.streamId])).toEqual([
      [target, links],
      [target, links]
    ])
  })
})

describe("a group of $all", () => {
  it("delivers events that match its filter", async () => {
    const client = server.client()
    const stream = streamName()
    const group = streamName("group")
    await client.appendToStream(stream, happenedMany(0, 3))
    await client.createPersistentSubscriptionToAll(group, allSettings({ startFrom: "start" }), {
      filter: streamNameFilter({ prefixes: [stream] })
    })
    onTestFinished(() => client.deletePersistentSubscriptionToAll(group))
    const { events } = consume(client.subscribeToPersistentSubscriptionToAll(group), acknowledge)
    await until(() => events.length === 3)
    await client.appendToStream(stream, happened(3))
    await until(() => events.length === 4)
    expect(numbers(events)).toEqual([0, 1, 2, 3])
    expect(await client.getPersistentSubscriptionToAllInfo(group)).toMatchObject({
      eventSource: "$all",
      settings: { startFrom: "start" }
    })
    const listed = await client.listPersistentSubscriptionsToAll()
    expect(listed.map(({ groupName }) => groupName)).toContain(group)
    expect((await client.listAllPersistentSubscriptions()).length).toBeGreaterThan(0)
  })
})

describe("a restart", () => {
  onlyFake("what was not acknowledged comes again, what was written down as done does not", async () => {
    const fake = await startOwn()
    const client = connect(fake.uri)
    const settings = { checkPointLowerBound: 1, checkPointUpperBound: 2, checkPointAfter: 10 }
    const stream = await seeded(client, 6, settings)
    const first = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"), (event, subscription) =>
      event.event!.revision < 4n ? subscription.ack(event) : undefined
    )
    await until(() => first.events.length === 6)
    const info = () => client.getPersistentSubscriptionToStreamInfo(stream, "group")
    let checkpoint: bigint | undefined
    while (checkpoint !== 3n) checkpoint = (await info()).stats.lastCheckpointedEventRevision
    await client.restartPersistentSubscriptionSubsystem()
    await until(() => first.errors.length > 0)
    expect(first.errors[0]).toMatchObject({ type: "persistent-subscription-dropped" })
    const second = consume(client.subscribeToPersistentSubscriptionToStream(stream, "group"), acknowledge)
    await until(() => second.events.length === 2)
    expect(numbers(second.events)).toEqual([4, 5])
    fake.faults.endSubscriptions("shutdown")
    await until(() => second.errors.length > 0)
    expect(second.errors[0]).toMatchObject({ type: "persistent-subscription-dropped" })
  })
})
