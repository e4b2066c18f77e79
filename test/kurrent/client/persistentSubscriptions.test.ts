/** Persistent subscriptions of the client. */
import { assert, describe } from "@effect/vitest"
import type { Scope } from "effect"
import { Duration, Effect, Fiber, Stream } from "effect"
import type {
  Consumed,
  ConsumeOptions,
  KurrentError,
  PersistentSubscriptionSettings
} from "effect-eventsourcing/kurrent"
import { KurrentClient } from "effect-eventsourcing/kurrent"
import { eventually } from "../../support/eventually.ts"
import { happened, happenedMany, newStream, onOwnFake, onServer, until } from "../support/client.ts"

const GROUP = "group"

/** A stream with this many events, and a persistent subscription to it from its start. */
const seeded = (count: number, settings: PersistentSubscriptionSettings = {}) =>
  Effect.gen(function* () {
    const client = yield* KurrentClient
    const stream = newStream()
    if (count > 0) yield* client.append(stream, happenedMany(count), { expected: "NoStream" })
    yield* client.persistentSubscriptions.create(stream, GROUP, { startFrom: "Start", ...settings })
    return { client, groups: client.persistentSubscriptions, stream }
  })

/** The events that a consumer has received so far; each is handled as the test says. */
interface Consumer {
  readonly given: Array<Consumed>
  readonly revisions: () => ReadonlyArray<number>
  readonly fiber: Fiber.Fiber<void, KurrentError.ConsumeError>
}

const consuming = (
  stream: string,
  handle: (consumed: Consumed) => Effect.Effect<void, KurrentError.KurrentError> = ({ ack }) => ack,
  options: ConsumeOptions = {}
): Effect.Effect<Consumer, never, KurrentClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { persistentSubscriptions } = yield* KurrentClient
    const given: Array<Consumed> = []
    const fiber = yield* persistentSubscriptions.consume(stream, GROUP, options).pipe(
      Stream.runForEach((consumed) => {
        given.push(consumed)
        return handle(consumed)
      }),
      Effect.forkScoped
    )
    return { given, revisions: () => given.map(({ event }) => Number(event.revision)), fiber }
  })

const nothing = () => Effect.void

describe("persistent subscriptions to a stream", () => {
  onServer(
    "are created, described, changed as requested, listed and deleted",
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(3, { maxRetryCount: 4, messageTimeout: "5 seconds", startFrom: 1n })
      const info = yield* groups.info(stream, GROUP)
      assert.deepInclude(info, { stream, group: GROUP, consumers: [], parkedMessages: 0n })
      assert.deepStrictEqual(info.settings, {
        ...{ startFrom: 1n, resolveLinks: false, maxRetryCount: 4, messageTimeout: Duration.seconds(5) },
        ...{ checkpointAfter: Duration.seconds(2), checkpointLowerBound: 10, checkpointUpperBound: 1000 },
        ...{ maxSubscriberCount: "Unbounded", liveBufferSize: 500, readBatchSize: 20, historyBufferSize: 500 },
        ...{ consumerStrategy: "RoundRobin", extraStatistics: false }
      })
      yield* groups.update(stream, GROUP, { maxSubscriberCount: 2, consumerStrategy: "Pinned" })
      assert.deepStrictEqual((yield* groups.info(stream, GROUP)).settings, {
        ...info.settings,
        ...{ maxSubscriberCount: 2, consumerStrategy: "Pinned" }
      })
      assert.deepStrictEqual(
        (yield* groups.list(stream)).map(({ group }) => group),
        [GROUP]
      )
      assert.include(
        (yield* groups.list()).map(({ stream }) => stream),
        stream
      )
      yield* groups.delete(stream, GROUP)
      assert.deepStrictEqual(yield* groups.list(stream), [])
    })
  )

  onServer(
    "deliver existing and new events, and no more than a consumer accepts unsettled",
    Effect.gen(function* () {
      const { client, groups, stream } = yield* seeded(20)
      const { given, revisions } = yield* consuming(stream, nothing, { bufferSize: 5 })
      yield* until(() => given.length === 5, "a full buffer")
      assert.strictEqual((yield* groups.info(stream, GROUP)).inFlightMessages, 5)
      for (const { ack } of given.slice(0, 3)) yield* ack
      yield* until(() => given.length === 8, "more")
      assert.deepStrictEqual(revisions(), [0, 1, 2, 3, 4, 5, 6, 7])
      assert.deepInclude(given[7]?.event, { stream, revision: 7n, type: "Happened", data: { n: 7 } })
      assert.strictEqual(given[7]?.retryCount, 0)
      const other = yield* consuming(stream)
      yield* until(() => other.given.length === 12, "the rest")
      yield* client.append(stream, [happened(20)], { expected: 19n })
      yield* until(() => other.given.length === 13, "what comes")
    })
  )

  onServer(
    "redeliver refused events, park them on request or after the maximum of retries, and replay parked ones",
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(5, { maxRetryCount: 2 })
      let isReplay = false
      const { given } = yield* consuming(stream, ({ ack, event, nack }) => {
        if (isReplay) return ack
        if (event.revision === 1n) return nack("Retry", "later")
        if (event.revision === 2n) return nack("Park", "never")
        return event.revision === 3n ? nack("Skip", "unwanted") : ack
      })
      const parked = Effect.map(groups.info(stream, GROUP), ({ parkedMessages }) => parkedMessages)
      yield* eventually(
        "what is parked",
        Effect.map(parked, (count) => count === 2n)
      )
      const retries = given.filter(({ event }) => event.revision === 1n).map(({ retryCount }) => retryCount)
      assert.deepStrictEqual(retries, [0, 1, 2])
      isReplay = true
      const before = given.length
      yield* groups.replayParked(stream, GROUP)
      yield* until(() => given.length === before + 2, "what was parked")
      assert.sameMembers(
        given.slice(before).map(({ event }) => Number(event.revision)),
        [1, 2]
      )
      yield* eventually(
        "an empty park",
        Effect.map(parked, (count) => count === 0n)
      )
    })
  )

  onServer(
    "redeliver events that are not settled in time",
    Effect.gen(function* () {
      const { stream } = yield* seeded(1, { messageTimeout: "300 millis" })
      const { given } = yield* consuming(stream, ({ ack, retryCount }) => (retryCount === 0 ? Effect.void : ack))
      yield* until(() => given.length === 2, "the event again")
      assert.strictEqual(given[1]?.retryCount, 1)
    })
  )

  onServer(
    "remember all settled events when the consumer stops at once, and deliver the rest to another",
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(300)
      const bufferSize = 300
      yield* groups.consume(stream, GROUP, { bufferSize }).pipe(
        Stream.take(200),
        Stream.runForEach(({ ack }) => ack)
      )
      yield* eventually(
        "the end of the consumer",
        Effect.map(groups.info(stream, GROUP), ({ consumers }) => consumers.length === 0)
      )
      const rest = yield* consuming(stream, nothing, { bufferSize })
      yield* until(() => rest.given.length >= 100, "the rest")
      assert.sameMembers(
        [...rest.revisions()],
        Array.from({ length: 100 }, (_, index) => 200 + index)
      )
    })
  )

  onServer(
    "fail with their own errors: already there, not there, too many consumers",
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(1, { maxSubscriberCount: 1 })
      const named = { stream, group: GROUP }
      assert.deepInclude(yield* Effect.flip(groups.create(stream, GROUP)), {
        ...{ _tag: "PersistentSubscriptionExists", ...named }
      })
      const missing = [
        groups.info(stream, "none"),
        groups.delete(stream, "none"),
        groups.update(stream, "none", {}),
        groups.replayParked(stream, "none"),
        Stream.runDrain(groups.consume(stream, "none"))
      ]
      for (const call of missing) {
        const error = yield* Effect.flip(call as Effect.Effect<unknown, KurrentError.ConsumeError>)
        assert.deepInclude(error, { _tag: "PersistentSubscriptionNotFound", stream, group: "none" })
      }
      const { given } = yield* consuming(stream)
      yield* until(() => given.length === 1, "the first consumer")
      const second = yield* Effect.flip(Stream.runDrain(groups.consume(stream, GROUP)))
      assert.deepInclude(second, { _tag: "MaximumSubscribersReached", ...named })
    })
  )

  onServer(
    "refuse invalid settings",
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(0)
      const wrong: ReadonlyArray<PersistentSubscriptionSettings> = [
        ...[{ messageTimeout: "1.5 millis" as const }, { messageTimeout: "100 days" as const }, { startFrom: -1n }],
        ...[{ maxSubscriberCount: 0 }, { readBatchSize: 500 }, { liveBufferSize: Number.NaN }, { maxRetryCount: -1 }],
        { consumerStrategy: "PinnedByCorrelation" }
      ]
      for (const settings of wrong) {
        assert.strictEqual((yield* Effect.flip(groups.update(stream, GROUP, settings)))._tag, "KurrentFailure")
      }
      assert.strictEqual((yield* Effect.flip(groups.create(stream, "")))._tag, "KurrentFailure")
      assert.strictEqual((yield* Effect.flip(groups.replayParked(stream, GROUP, { stopAt: 0 })))._tag, "KurrentFailure")
      const consumed = Stream.runDrain(groups.consume(stream, GROUP, { bufferSize: 0 }))
      assert.strictEqual((yield* Effect.flip(consumed))._tag, "KurrentFailure")
    })
  )

  onServer(
    "settle links by the ids of the links",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [target, links] = [newStream(), newStream("Links")]
      yield* client.append(target, happenedMany(2), { expected: "NoStream" })
      const link = (n: number) => ({ type: "$>", data: new TextEncoder().encode(`${n}@${target}`) })
      yield* client.append(links, [link(1), link(0)], { expected: "NoStream" })
      yield* client.persistentSubscriptions.create(links, GROUP, { startFrom: "Start", resolveLinks: true })
      const { given } = yield* consuming(links, ({ ack }) => ack, { bufferSize: 1 })
      yield* until(() => given.length === 2, "both")
      assert.deepStrictEqual(
        given.map(({ event }) => [event.stream, event.revision, event.link?.revision]),
        [
          [target, 1n, 0n],
          [target, 0n, 1n]
        ]
      )
    })
  )
})

describe("persistent subscriptions to all events", () => {
  onServer(
    "deliver events that match their filter",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const groups = client.persistentSubscriptions
      const stream = newStream()
      const group = newStream("group")
      const { position } = yield* client.append(stream, happenedMany(2), { expected: "NoStream" })
      const filter = { on: "stream", prefixes: [stream] } as const
      yield* groups.create("$all", group, { startFrom: position, filter })
      yield* client.append(stream, happenedMany(2, 2), { expected: 1n })
      const revisions = yield* groups.consume("$all", group).pipe(
        Stream.mapEffect(({ ack, event }) => Effect.as(ack, event.revision)),
        Stream.take(3),
        Stream.runCollect
      )
      assert.deepStrictEqual(revisions, [1n, 2n, 3n])
      const info = yield* groups.info("$all", group)
      assert.deepInclude(info, { stream: "$all", group })
      assert.strictEqual(info.settings.startFrom, position)
      yield* groups.update("$all", group, { maxRetryCount: 1 })
      assert.include(
        (yield* groups.list("$all")).map(({ group }) => group),
        group
      )
      yield* groups.replayParked("$all", group)
      yield* groups.delete("$all", group)
      assert.strictEqual((yield* Effect.flip(groups.info("$all", group)))._tag, "PersistentSubscriptionNotFound")
    })
  )
})

describe("faults of persistent subscriptions", () => {
  onOwnFake("a consumer continues when its connection is lost, and its events can no longer be settled", (fake) =>
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(3)
      let retries = 0
      const { given } = yield* consuming(stream, nothing, {
        onRetry: ({ attempts }) =>
          Effect.sync(() => {
            retries = attempts
          })
      })
      yield* until(() => given.length === 3, "all")
      fake.faults.dropConnections()
      yield* until(() => given.length === 6, "all again")
      assert.isAbove(retries, 0)
      const late = yield* Effect.flip(given[0]?.ack ?? Effect.void)
      assert.strictEqual(late._tag, "KurrentUnavailable")
      for (const { ack } of given.slice(3)) yield* ack
      yield* eventually(
        "all settled",
        Effect.map(groups.info(stream, GROUP), ({ inFlightMessages }) => inFlightMessages === 0)
      )
    })
  )

  onOwnFake("one that the server drops continues if it may reconnect, and fails if it may not", () =>
    Effect.gen(function* () {
      const { client, groups, stream } = yield* seeded(1)
      const kept = yield* consuming(stream)
      const ended = yield* consuming(stream, nothing, { reconnect: false })
      yield* eventually(
        "both",
        Effect.map(groups.info(stream, GROUP), ({ consumers }) => consumers.length === 2)
      )
      yield* groups.update(stream, GROUP, { maxRetryCount: 3 })
      const dropped = yield* Effect.flip(Fiber.join(ended.fiber))
      assert.deepInclude(dropped, { _tag: "PersistentSubscriptionDropped", stream, group: GROUP })
      yield* client.append(stream, [happened(1)], { expected: 0n })
      yield* until(() => kept.revisions().includes(1), "what comes")
      yield* groups.restartSubsystem
      yield* client.append(stream, [happened(2)], { expected: 1n })
      yield* until(() => kept.revisions().includes(2), "what comes then")
      yield* groups.delete(stream, GROUP)
      const gone = yield* Effect.flip(Fiber.join(kept.fiber))
      assert.strictEqual(gone._tag, "PersistentSubscriptionNotFound")
    })
  )

  onOwnFake(
    "a server that never answers is noticed",
    ({ faults }) =>
      Effect.gen(function* () {
        const { groups, stream } = yield* seeded(1)
        faults.silence("persistent")
        const calls = [
          groups.info(stream, GROUP),
          groups.update(stream, GROUP, {}),
          groups.delete(stream, GROUP),
          groups.replayParked(stream, GROUP),
          groups.restartSubsystem,
          Stream.runDrain(groups.consume(stream, GROUP, { reconnect: false }))
        ]
        const errors = yield* Effect.forEach(
          calls,
          (call) => Effect.flip(call as Effect.Effect<unknown, KurrentError.ConsumeError>),
          { concurrency: "unbounded" }
        )
        for (const { _tag } of errors) assert.strictEqual(_tag, "KurrentUnavailable")
      }),
    { deadline: "1 second" }
  )

  onOwnFake("a consumer that stops leaks nothing", (fake) =>
    Effect.gen(function* () {
      const { groups, stream } = yield* seeded(3)
      yield* groups.consume(stream, GROUP).pipe(Stream.take(1), Stream.runDrain)
      yield* until(() => fake.subscriptions() === 0, "the end on the server")
    })
  )
})
