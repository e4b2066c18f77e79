/** Catch-up subscriptions of the client. */
import { assert, describe } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber, Schedule, Stream } from "effect"
import type { AllItem, SubscriptionState } from "effect-eventsourcing/kurrent"
import { KurrentClient, layerConnected } from "effect-eventsourcing/kurrent"
import { happened, happenedMany, newStream, onOwnFake, onServer, until } from "../support/client.ts"

/** What a subscription has delivered so far. */
interface Heard {
  readonly items: Array<AllItem>
  readonly states: Array<SubscriptionState>
  readonly revisions: () => ReadonlyArray<number>
  readonly caughtUp: () => number
  readonly fiber: Fiber.Fiber<void, { readonly _tag: string; readonly message: string }>
}

const listen = (
  subscribe: (
    onState: (state: SubscriptionState) => Effect.Effect<void>
  ) => Stream.Stream<AllItem, { readonly _tag: string; readonly message: string }>
): Effect.Effect<Heard, never, Scope.Scope> =>
  Effect.gen(function* () {
    const items: Array<AllItem> = []
    const states: Array<SubscriptionState> = []
    const stream = subscribe((state) => Effect.sync(() => void states.push(state)))
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(stream, (item) => Effect.sync(() => void items.push(item)))
    )
    return {
      items,
      states,
      revisions: () => items.flatMap((item) => (item._tag === "Event" ? [Number(item.event.revision)] : [])),
      caughtUp: () => items.filter(({ _tag }) => _tag === "CaughtUp").length,
      fiber
    }
  })

/** Repeats an append until it no longer uses a connection that was just lost. */
const insistently = <A, E>(append: Effect.Effect<A, E>) =>
  Effect.retry(append, { schedule: Schedule.spaced("10 millis") })

const upTo = (end: number, from = 0) => Array.from({ length: end - from }, (_, index) => from + index)

describe("subscriptions to a stream", () => {
  onServer(
    "deliver existing events, report that they have caught up, and deliver new ones",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(3), { expected: "NoStream" })
      const heard = yield* listen((onState) => client.subscribeToStream(stream, { onState }))
      yield* until(() => heard.caughtUp() === 1, "the end")
      assert.deepStrictEqual(heard.revisions(), upTo(3))
      yield* client.append(stream, happenedMany(2, 3), { expected: 2n })
      yield* until(() => heard.items.length === 6, "what comes")
      assert.deepStrictEqual(heard.revisions(), upTo(5))
      assert.deepStrictEqual(heard.states[0], { _tag: "CatchingUp", last: undefined })
      assert.deepStrictEqual(heard.states.at(-1), { _tag: "Live", last: 4n })
    })
  )

  onServer(
    "begin after a revision, or at the end, and wait for a stream that does not exist yet",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [stream, later] = [newStream(), newStream()]
      yield* client.append(stream, happenedMany(4), { expected: "NoStream" })
      const behind = yield* listen((onState) => client.subscribeToStream(stream, { after: 1n, onState }))
      const end = yield* listen((onState) => client.subscribeToStream(stream, { after: "End", onState }))
      const none = yield* listen((onState) => client.subscribeToStream(later, { after: "End", onState }))
      yield* until(() => [behind, end, none].every(({ caughtUp }) => caughtUp() > 0), "all ends")
      yield* client.append(stream, happenedMany(1, 4), { expected: 3n })
      yield* client.append(later, happenedMany(1), { expected: "NoStream" })
      yield* until(() => [behind, end, none].every(({ items }) => items.at(-1)?._tag === "Event"), "what comes")
      assert.deepStrictEqual(behind.revisions(), [2, 3, 4])
      assert.deepStrictEqual(end.revisions(), [4])
      assert.deepStrictEqual(none.revisions(), [0])
    })
  )

  onServer(
    "end with StreamTombstoned when the stream gets a tombstone, and at once if it has one",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(1), { expected: "NoStream" })
      const heard = yield* listen((onState) => client.subscribeToStream(stream, { onState }))
      yield* until(() => heard.caughtUp() === 1, "the end")
      yield* client.tombstoneStream(stream)
      assert.strictEqual((yield* Effect.flip(Fiber.join(heard.fiber)))._tag, "StreamTombstoned")
      const error = yield* Effect.flip(Stream.runDrain(client.subscribeToStream(stream)))
      assert.strictEqual(error._tag, "StreamTombstoned")
      const end = yield* Effect.flip(Stream.runDrain(client.subscribeToStream(stream, { after: "End" })))
      assert.strictEqual(end._tag, "StreamTombstoned")
    })
  )

  onServer(
    "follow links on request, and count the links",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const [target, links] = [newStream(), newStream("Links")]
      yield* client.append(target, happenedMany(3), { expected: "NoStream" })
      const link = (n: number) => ({ type: "$>", data: new TextEncoder().encode(`${n}@${target}`) })
      yield* client.append(links, [link(2), link(2), link(0)], { expected: "NoStream" })
      const items = yield* client
        .subscribeToStream(links, { resolveLinks: true, after: 0n })
        .pipe(Stream.take(2), Stream.runCollect)
      assert.deepStrictEqual(
        items.map((item) => item._tag === "Event" && [item.event.revision, item.event.link?.revision]),
        [
          [2n, 1n],
          [0n, 2n]
        ]
      )
    })
  )
})

describe("subscriptions to all events", () => {
  onServer(
    "deliver events that match a filter, and checkpoints to resume from",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const { position } = yield* client.append(stream, happenedMany(1), { expected: "NoStream" })
      const filter = { on: "stream", prefixes: [stream] } as const
      const options = { after: position, filter, checkpointInterval: 32 }
      const heard = yield* listen((onState) => client.subscribeToAll({ ...options, onState }))
      yield* until(() => heard.caughtUp() > 0, "the end")
      yield* client.append(newStream(), happenedMany(100), { expected: "NoStream" })
      yield* until(() => heard.items.filter(({ _tag }) => _tag === "Checkpoint").length > 1, "checkpoints")
      assert.deepStrictEqual(heard.revisions(), [])
      const last = heard.items.findLast((item) => item._tag === "Checkpoint")
      const after = last?._tag === "Checkpoint" ? last.checkpoint : undefined
      assert.isAbove(Number(after?.commit), Number(position))
      yield* client.append(stream, happenedMany(2, 1), { expected: 0n })
      yield* until(() => heard.revisions().length === 2, "what comes")
      const again = yield* listen((onState) => client.subscribeToAll({ after, filter, onState }))
      yield* until(() => again.revisions().length === 2, "what comes behind the checkpoint")
      assert.deepStrictEqual(again.revisions(), [1, 2])
    })
  )

  onServer(
    "begin after the end",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      const filter = { on: "stream", prefixes: [stream] } as const
      yield* client.append(stream, happenedMany(3), { expected: "NoStream" })
      const heard = yield* listen((onState) => client.subscribeToAll({ after: "End", filter, onState }))
      yield* until(() => heard.caughtUp() > 0, "the end")
      yield* client.append(stream, happenedMany(1, 3), { expected: 2n })
      yield* until(() => heard.revisions().length > 0, "what comes")
      assert.deepStrictEqual(heard.revisions(), [3])
    })
  )

  onServer(
    "from a position that the server refuses fail, and do not retry indefinitely",
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const { position } = yield* client.append(newStream(), [happened(0)], { expected: "NoStream" })
      const error = yield* Effect.flip(Stream.runDrain(client.subscribeToAll({ after: position - 1n })))
      assert.strictEqual(error._tag, "KurrentFailure")
      const wrong = yield* Effect.flip(Stream.runDrain(client.subscribeToAll({ after: -1n })))
      assert.strictEqual(wrong._tag, "KurrentFailure")
    })
  )
})

describe("faults of subscriptions", () => {
  onOwnFake("they resume where they were after a loss: no gap, no duplicate, and they report it", (fake) =>
    Effect.gen(function* () {
      const { faults } = fake
      const client = yield* KurrentClient
      const stream = newStream()
      const many = 2000
      yield* client.append(stream, happenedMany(many), { expected: "NoStream" })
      // each subscription is dropped soon: one that started over each time would never reach the end
      faults.dropSubscriptions(20, 1000)
      const filter = { on: "stream", prefixes: [stream] } as const
      const heard = [
        yield* listen((onState) => client.subscribeToStream(stream, { onState })),
        yield* listen((onState) => client.subscribeToAll({ filter, onState }))
      ]
      const both = (holds: (heard: Heard) => boolean) => until(() => heard.every(holds), "both")
      yield* both(({ caughtUp }) => caughtUp() > 0)
      yield* insistently(client.append(stream, happenedMany(10, many), { expected: BigInt(many - 1) }))
      faults.dropSubscriptions(0, 0)
      yield* both(({ revisions }) => revisions().length >= many + 10)
      faults.endSubscriptions("shutdown")
      yield* both(({ caughtUp, states }) => caughtUp() > 1 && states.at(-1)?._tag === "Live")
      faults.endSubscriptions("slow")
      yield* both(({ caughtUp, states }) => caughtUp() > 2 && states.at(-1)?._tag === "Live")
      faults.refuseConnections()
      yield* both(({ states }) => states.at(-1)?._tag === "Retrying")
      yield* Effect.promise(() => faults.acceptConnections())
      yield* both(({ states }) => states.at(-1)?._tag === "Live")
      yield* insistently(client.append(stream, happenedMany(10, many + 10), { expected: BigInt(many + 9) }))
      yield* both(({ revisions }) => revisions().length >= many + 20)
      for (const { revisions, states } of heard) {
        assert.deepStrictEqual(revisions(), upTo(many + 20))
        const retrying = states.find(({ _tag }) => _tag === "Retrying")
        assert.strictEqual(retrying?._tag === "Retrying" && retrying.error._tag, "KurrentUnavailable")
      }
    })
  )

  onOwnFake("one that was lost at the end before any event came misses nothing", ({ faults }) =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(3), { expected: "NoStream" })
      const heard = yield* listen((onState) => client.subscribeToStream(stream, { after: "End", onState }))
      yield* until(() => heard.caughtUp() > 0, "the end")
      faults.silence("subscriptions")
      faults.endSubscriptions()
      yield* until(() => heard.states.at(-1)?._tag === "Retrying", "the loss")
      yield* insistently(client.append(stream, happenedMany(2, 3), { expected: 2n }))
      yield* until(() => faults.held > 0, "another attempt")
      faults.answer("subscriptions")
      faults.dropConnections()
      yield* until(() => heard.revisions().length === 2, "what came meanwhile")
      assert.deepStrictEqual(heard.revisions(), [3, 4])
    })
  )

  onOwnFake(
    "a server that never answers is noticed, and retried",
    ({ faults }) =>
      Effect.gen(function* () {
        const client = yield* KurrentClient
        const stream = newStream()
        yield* client.append(stream, happenedMany(3), { expected: "NoStream" })
        faults.silence("subscriptions")
        const heard = yield* listen((onState) => client.subscribeToStream(stream, { onState }))
        yield* until(() => heard.states.at(-1)?._tag === "Retrying", "the loss")
        faults.answer("subscriptions")
        yield* until(() => heard.caughtUp() > 0, "the end")
        assert.deepStrictEqual(heard.revisions(), upTo(3))
      }),
    { deadline: "1 second" }
  )

  onOwnFake("a subscription that stops is ended on the server", (fake) =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      yield* client.append(stream, happenedMany(10), { expected: "NoStream" })
      yield* client.subscribeToStream(stream).pipe(Stream.take(3), Stream.runDrain)
      yield* until(() => fake.subscriptions() === 0, "the end of the first")
      const fiber = yield* Effect.forkChild(Stream.runDrain(client.subscribeToAll()))
      yield* until(() => fake.subscriptions() === 1, "the second")
      yield* Fiber.interrupt(fiber)
      yield* until(() => fake.subscriptions() === 0, "the end of the second")
    })
  )

  onOwnFake("they fail when the layer of the client is closed, also on a connection that others use", (fake) =>
    Effect.gen(function* () {
      const connected = layerConnected({ connectionString: fake.uri })
      const test = Effect.gen(function* () {
        const fiber = yield* Effect.gen(function* () {
          const client = yield* KurrentClient
          const stream = newStream()
          const heard = yield* listen((onState) => client.subscribeToStream(stream, { onState }))
          yield* until(() => heard.caughtUp() > 0, "the end")
          return heard.fiber
        }).pipe(Effect.provide(KurrentClient.layerNoDeps, { local: true }))
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.strictEqual(error._tag, "KurrentFailure")
        assert.include(error.message, "the client was closed")
        yield* until(() => fake.subscriptions() === 0, "the end on the server")
      })
      yield* Effect.provide(test, connected)
    })
  )
})

describe("an older server, which reports position 2^64 - 1 if it has scanned little and found nothing", () => {
  onOwnFake(
    "that checkpoint is not reported, and a lost connection loses nothing",
    (fake) =>
      Effect.gen(function* () {
        const client = yield* KurrentClient
        const heard = yield* listen((onState) =>
          client.subscribeToAll({ filter: { on: "stream", prefixes: ["Later-"] }, onState })
        )
        yield* until(() => heard.caughtUp() === 1, "the end")
        fake.faults.refuse("subscriptions", { code: 14, details: "not now" }, 1)
        fake.faults.endSubscriptions()
        yield* insistently(client.append("Later-a", happenedMany(3), { expected: "NoStream" }))
        yield* until(() => heard.revisions().length === 3, "what was recorded meanwhile")
        const checkpoints = heard.items.flatMap((item) => (item._tag === "Checkpoint" ? [item.checkpoint.commit] : []))
        assert.isTrue(checkpoints.every((commit) => commit < 2n ** 63n))
      }),
    { server: { version: "24.6.0" } }
  )
})
