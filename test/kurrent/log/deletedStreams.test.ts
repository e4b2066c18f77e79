/** Streams that were deleted or truncated on the server: no state is ever silently rebuilt wrong. */
import { assert, describe, it } from "@effect/vitest"
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect, Layer, Schedule, Stream, SubscriptionRef } from "effect"
import { Projection, ProjectionRunner, StreamName, Subscription } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { Counter, increase } from "../../support/dog.ts"
import { untilProcessed } from "../../support/untilProcessed.ts"
import { newAppend, openLog, watch } from "../support/logs.ts"
import { uri } from "../support/server.ts"

const id = Counter.Id.make("1")

/** A counter that stands at 9, and the server that it is on. */
const counted = Effect.gen(function* () {
  const log = yield* openLog({ conflictRetry: Schedule.recurs(2) })
  const client = yield* Effect.acquireRelease(
    Effect.sync(() => KurrentDBClient.connectionString(uri)),
    (client) => Effect.promise(() => client.dispose())
  )
  const counters = log.repository.of(Counter)
  yield* counters.execute(id, Counter.Started())
  for (let n = 0; n < 9; n++) yield* counters.execute(id, increase)
  // another process, with an empty cache
  const fresh = Effect.map(openLog({ prefix: log.prefix, conflictRetry: Schedule.recurs(2) }), ({ repository }) =>
    repository.of(Counter)
  )
  const stream = `${log.prefix}Counter-1`
  const onServer = <A>(run: (client: KurrentDBClient, stream: string) => Promise<A>) =>
    Effect.promise(() => run(client, stream))
  return { counters, fresh, log, onServer, stream }
})

type Counters = Effect.Success<Effect.Success<typeof counted>["fresh"]>

/** The result of every way to query an aggregate: a state, or the tag of an error. */
const said = (counters: Counters) =>
  Effect.gen(function* () {
    const tag = <A, E extends { readonly _tag: string }>(self: Effect.Effect<A, E>) =>
      Effect.match(self, { onSuccess: (value): unknown => value, onFailure: ({ _tag }): unknown => _tag })
    return {
      get: yield* tag(Effect.map(counters.get(id), ({ state, version }) => `${state}@${version}`)),
      exists: yield* tag(counters.exists(id)),
      history: yield* tag(Effect.map(Stream.runCollect(counters.history(id)), ({ length }) => length)),
      execute: yield* tag(Effect.map(counters.execute(id, increase), ({ state, version }) => `${state}@${version}`)),
      create: yield* tag(
        Effect.map(counters.execute(id, Counter.Started()), ({ state, version }) => `${state}@${version}`)
      )
    }
  })

const nothing = { get: "AggregateNotFound", exists: false, history: 0, execute: "AggregateNotFound" }

describe("G8 a stream that was deleted", () => {
  it.live("softly counts as absent, and can't begin again where the server continues counting", () =>
    Effect.gen(function* () {
      const { fresh, log, onServer } = yield* counted
      yield* onServer((client, stream) => client.deleteStream(stream))
      {
        const one = yield* fresh
        assert.deepStrictEqual(yield* said(one), { ...nothing, create: "RecorderFailure" })
      }
      const error = yield* Effect.flip(log.recorder.append(newAppend("Counter-1")))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.match(error.message, /deleted or truncated.*use another id/)
      // earlier events are still in the total order
      assert.lengthOf(yield* log.recorder.readAll({ limit: 100 }), 10)
    })
  )

  it.live("softly, and begun again by another program, is incomplete, and returns no state", () =>
    Effect.gen(function* () {
      const { fresh, onServer } = yield* counted
      yield* onServer(async (client, stream) => {
        await client.deleteStream(stream)
        await client.appendToStream(stream, [
          { id: crypto.randomUUID(), type: "Counter.Started", contentType: "application/json", data: {} } as never
        ])
      })
      {
        const one = yield* fresh
        const all = yield* said(one)
        for (const one of [all.get, all.history, all.execute, all.create]) {
          assert.include(["RecorderFailure", "EventNotDecodable", "AggregateAlreadyExists"], one)
        }
      }
    })
  )

  it.live("permanently counts as absent, and can't begin again", () =>
    Effect.gen(function* () {
      const { fresh, log, onServer } = yield* counted
      yield* onServer((client, stream) => client.tombstoneStream(stream))
      {
        const one = yield* fresh
        assert.deepStrictEqual(yield* said(one), { ...nothing, create: "RecorderFailure" })
      }
      const error = yield* Effect.flip(log.recorder.append(newAppend("Counter-1")))
      assert.match(error.message, /tombstone/)
      const exact = { stream: StreamName.StreamName.make("Counter-1"), expected: 9, events: storedEvents(1) }
      assert.match((yield* Effect.flip(log.recorder.append(exact))).message, /tombstone/)
    })
  )

  for (const how of ["deleteStream", "tombstoneStream"] as const) {
    it.live(`is absent for a process that has its aggregate in the cache, as for any other: ${how}`, () =>
      Effect.gen(function* () {
        const { counters, fresh, onServer } = yield* counted
        assert.deepInclude(yield* counters.get(id), { state: 9 })
        yield* onServer((client, stream) => client[how](stream))
        assert.deepStrictEqual(yield* said(counters), { ...nothing, create: "RecorderFailure" })
        assert.deepStrictEqual(yield* said(yield* fresh), { ...nothing, create: "RecorderFailure" })
      })
    )
  }

  it.live("while a decision is taken can't be appended to", () =>
    Effect.gen(function* () {
      const { counters, onServer } = yield* counted
      let taken = 0
      const decide = Counter.decide((count) =>
        Effect.gen(function* () {
          if (taken++ === 0) yield* onServer((client, stream) => client.deleteStream(stream))
          return Counter.Increased({ to: count + 1 })
        })
      )
      // the server accepts the events and continues its numbering: it is reported, and the events do not become a state
      const exit = yield* Effect.exit(counters.execute(id, decide))
      const state = yield* Effect.exit(counters.get(id))
      assert.isFalse(exit._tag === "Success" && state._tag === "Failure" && state.cause.toString().includes("NotFound"))
      if (state._tag === "Success") assert.strictEqual(state.value.state, 10)
    })
  )

  it.live("whose snapshot still exists is not rebuilt from the snapshot", () =>
    Effect.gen(function* () {
      for (const how of ["deleteStream", "tombstoneStream"] as const) {
        const { counters, fresh, onServer } = yield* counted
        yield* counters.snapshot(id)
        yield* onServer((client, stream) => client[how](stream))
        {
          const one = yield* fresh
          assert.deepStrictEqual(yield* said(one), { ...nothing, create: "RecorderFailure" }, how)
        }
      }
    })
  )
})

describe("G8 a tombstone is not an event of the log", () => {
  const Total = Projection.make("total", {
    aggregates: [Counter],
    view: Projection.memory(() => 0),
    handlers: { Counter: { Started: Projection.ignore, Increased: (_event, view) => view.update((n) => n + 1) } }
  })

  it.live("reads of all, forward and backward, with filters, and the head skip it", () =>
    Effect.gen(function* () {
      const { counters, log, onServer } = yield* counted
      const other = Counter.Id.make("2")
      yield* counters.execute(other, Counter.Started())
      yield* onServer((client, stream) => client.tombstoneStream(stream))
      const before = yield* log.recorder.head
      assert.strictEqual(before, (yield* log.recorder.readAll({ limit: 100 })).at(-1)?.position)
      // a page that ends with the tombstone
      for (const [limit, direction] of [
        [11, "forward"],
        [12, "forward"],
        [1, "backward"],
        [100, "backward"]
      ] as const) {
        const page = yield* log.recorder.readAll({ limit, direction })
        assert.lengthOf(page, Math.min(limit, 11))
        assert.notInclude(
          page.map(({ type }) => type),
          "$streamDeleted"
        )
      }
      const { position } = yield* counters.execute(other, increase)
      for (const filter of [undefined, { categories: ["Counter"] }, { types: ["Counter.Increased"] }]) {
        const page = yield* log.recorder.readAll({ after: before, limit: 100, filter })
        assert.deepStrictEqual(
          page.map(({ position }) => position),
          [position]
        )
      }
      assert.strictEqual(yield* log.recorder.head, position)
      assert.lengthOf(yield* log.recorder.readAll({ filter: { types: ["$streamDeleted"] }, limit: 10 }), 0)
      assert.strictEqual(yield* Stream.runCount(log.store.readAll([Counter])), 12)
    })
  )

  it.live("followers, catching up or live, skip it", () =>
    Effect.gen(function* () {
      const { counters, log, onServer } = yield* counted
      const other = Counter.Id.make("2")
      yield* counters.execute(other, Counter.Started())
      const filters = [undefined, { categories: ["Counter"] }, { types: ["Counter.Increased", "$streamDeleted"] }]
      const live = yield* Effect.forEach(filters, (filter) => watch(log, { filter }))
      for (const seen of live) yield* seen.until(() => seen.states.at(-1)?._tag === "Live")
      yield* onServer((client, stream) => client.tombstoneStream(stream))
      const { position } = yield* counters.execute(other, increase)
      const late = yield* Effect.forEach(filters, (filter) => watch(log, { filter }))
      for (const seen of [...live, ...late]) yield* seen.untilReached(position)
      for (const [n, count] of [12, 12, 10].entries()) {
        assert.lengthOf(live[n]?.ids ?? [], count)
        assert.deepStrictEqual(live[n]?.ids, late[n]?.ids)
      }
    })
  )

  it.live("a projection and a subscription to its type of aggregate skip it, from the start and live", () =>
    Effect.gen(function* () {
      const { counters, log, onServer } = yield* counted
      const other = Counter.Id.make("2")
      yield* counters.execute(other, Counter.Started())
      const program = Effect.gen(function* () {
        const runner = yield* ProjectionRunner.make(Total)
        yield* Stream.runHead(Stream.filter(SubscriptionRef.changes(runner.state), ({ _tag }) => _tag === "Live"))
        yield* onServer((client, stream) => client.tombstoneStream(stream))
        const { position } = yield* counters.execute(other, increase)
        yield* untilProcessed(Total, position)
        assert.strictEqual(yield* Projection.read(Total, (view) => view.get), 10)
        const all = yield* Subscription.category(Counter).pipe(Stream.take(12), Stream.runCollect)
        assert.lengthOf(all, 12)
      })
      yield* Effect.scoped(Effect.provide(program, Layer.merge(MemoryViews(), Layer.succeedContext(log.built))))
    })
  )
})

describe("G8 a stream whose beginning was cut off", () => {
  const cuts = [
    ["$tb", (client: KurrentDBClient, stream: string) => client.setStreamMetadata(stream, { truncateBefore: 4 })],
    ["$maxCount", (client: KurrentDBClient, stream: string) => client.setStreamMetadata(stream, { maxCount: 6 })]
  ] as const

  for (const [name, cut] of cuts) {
    it.live(`is incomplete, and returns no state: ${name}`, () =>
      Effect.gen(function* () {
        const { counters, fresh, log, onServer } = yield* counted
        yield* onServer(cut)
        const all = yield* said(yield* fresh)
        assert.deepInclude(all, {
          get: "RecorderFailure",
          exists: true,
          history: "RecorderFailure",
          execute: "RecorderFailure"
        })
        assert.include(["RecorderFailure", "AggregateAlreadyExists"], all.create)
        // a process with the state in its cache continues from there, correctly
        assert.strictEqual((yield* counters.execute(id, increase)).state, 10)
        const page = yield* log.recorder.readStream({
          stream: StreamName.StreamName.make("Counter-1"),
          limit: 100
        })
        assert.strictEqual(page.at(-1)?.version, 10)
        assert.isAbove(page[0]?.version ?? 0, 0)
        // backward, too
        const error = yield* Effect.flip(Stream.runDrain(counters.history(id, { direction: "backward" })))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
      })
    )

    it.live(`is rebuilt from a snapshot of an event that is there, and continues: ${name}`, () =>
      Effect.gen(function* () {
        const { counters, fresh, onServer } = yield* counted
        yield* counters.snapshot(id)
        yield* onServer(cut)
        const other = yield* fresh
        assert.deepInclude(yield* other.get(id), { state: 9, version: 9 })
        assert.deepInclude(yield* other.execute(id, increase), { state: 10, version: 10 })
        assert.deepInclude(yield* (yield* fresh).get(id), { state: 10, version: 10 })
        // a version that is gone is an error, never another version
        assert.strictEqual((yield* Effect.flip((yield* fresh).get(id, { version: 2 })))._tag, "RecorderFailure")
      })
    )
  }

  it.live("after its snapshot is incomplete: there are events that the snapshot does not include", () =>
    Effect.gen(function* () {
      const { counters, fresh, onServer } = yield* counted
      yield* counters.snapshot(id)
      for (let n = 0; n < 3; n++) yield* counters.execute(id, increase)
      yield* onServer((client, stream) => client.setStreamMetadata(stream, { truncateBefore: 11 }))
      const all = yield* said(yield* fresh)
      assert.deepInclude(all, { get: "RecorderFailure", execute: "RecorderFailure", history: "RecorderFailure" })
    })
  )

  it.live("right after its snapshot is rebuilt correctly, or not at all", () =>
    Effect.gen(function* () {
      const { counters, fresh, onServer } = yield* counted
      yield* counters.snapshot(id)
      yield* counters.execute(id, increase)
      yield* onServer((client, stream) => client.setStreamMetadata(stream, { truncateBefore: 10 }))
      const { get } = yield* said(yield* fresh)
      assert.include(["10@10", "RecorderFailure"], get)
    })
  )

  for (const [name, cutAll] of [
    ["$tb", (client: KurrentDBClient, stream: string) => client.setStreamMetadata(stream, { truncateBefore: 10 })],
    [
      "$maxAge",
      async (client: KurrentDBClient, stream: string) => {
        await client.setStreamMetadata(stream, { maxAge: 1 })
        await new Promise((resolve) => setTimeout(resolve, 2100))
      }
    ]
  ] as const) {
    it.live(`completely counts as absent, and does not silently begin again: ${name}`, () =>
      Effect.gen(function* () {
        const { fresh, log, onServer } = yield* counted
        yield* onServer(async (client, stream) => void (await cutAll(client, stream)))
        {
          const one = yield* fresh
          const { create, ...rest } = yield* said(one)
          assert.deepStrictEqual(rest, nothing)
          assert.include(["RecorderFailure"], create)
        }
        const error = yield* Effect.flip(log.recorder.append(newAppend("Counter-1")))
        assert.match(error.message, /deleted or truncated/)
      })
    )
  }

  it.live("that has only metadata is a stream that never began, and can begin", () =>
    Effect.gen(function* () {
      const { log, onServer } = yield* counted
      for (const metadata of [{ maxCount: 100 }, { truncateBefore: 0 }, { maxAge: 100 }]) {
        const name = `Counter-${crypto.randomUUID()}`
        yield* onServer((client) => client.setStreamMetadata(`${log.prefix}${name}`, metadata))
        assert.strictEqual((yield* log.recorder.append(newAppend(name, 2))).version, 1)
      }
    })
  )
})

describe("snapshots", () => {
  it.live("of a stream are one event on the server, the newest, outside the total order", () =>
    Effect.gen(function* () {
      const { counters, fresh, log, onServer } = yield* counted
      for (let n = 0; n < 3; n++) {
        yield* counters.snapshot(id)
        yield* counters.execute(id, increase)
      }
      const side = yield* onServer(async (client) => {
        const revisions: Array<bigint> = []
        for await (const { event } of client.readStream(`${log.prefix}Counter:snapshot-1`)) {
          revisions.push(event?.revision ?? -1n)
        }
        return revisions
      })
      assert.deepStrictEqual(side, [2n])
      assert.lengthOf(yield* log.recorder.readAll({ limit: 100 }), 13)
      assert.deepInclude(yield* (yield* fresh).get(id), { state: 12, version: 12 })
    })
  )

  it.live("that were deleted, softly or permanently, do not matter", () =>
    Effect.gen(function* () {
      const { counters, fresh, log, onServer } = yield* counted
      const side = `${log.prefix}Counter:snapshot-1`
      yield* counters.snapshot(id)
      yield* onServer((client) => client.deleteStream(side))
      assert.deepInclude(yield* (yield* fresh).get(id), { state: 9, version: 9 })
      // the snapshot can be taken again
      yield* counters.snapshot(id)
      assert.deepInclude(yield* (yield* fresh).get(id), { state: 9, version: 9 })
      yield* onServer((client) => client.tombstoneStream(side))
      assert.deepInclude(yield* (yield* fresh).get(id), { state: 9, version: 9 })
      assert.deepInclude(yield* (yield* fresh).execute(id, increase), { state: 10, version: 10 })
    })
  )
})
