/** Races on the server: an append is refused a moment before the event that caused the refusal can be read. */
import { assert, describe, it } from "@effect/vitest"
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Context, Effect, Exit, Layer } from "effect"
import { MultiStreamAppend } from "effect-eventsourcing"
import { KurrentClient, KurrentLayer } from "effect-eventsourcing/kurrent"
import { Counter } from "../../support/dog.ts"
import { newStream, onOwnFake } from "../support/client.ts"
import { newAppend, openLog, ownFake } from "../support/logs.ts"
import { isFake, newPrefix, uri } from "../support/server.ts"

const onFake = it.live.skipIf(!isFake)
const id = Counter.Id.make("1")

/** How much later, in milliseconds, a recorded event can be read: longer than sending anything takes. */
const LATER = 100

const tagged = <A, E extends { readonly _tag: string }>(self: Effect.Effect<A, E>) =>
  Effect.match(self, { onSuccess: () => "Success", onFailure: ({ _tag }) => _tag as string })

/** Two recorders of one log, as in two processes. */
const twoLogs = Effect.gen(function* () {
  const fake = yield* ownFake()
  const one = yield* openLog({ connectionString: fake.uri })
  const other = yield* openLog({ connectionString: fake.uri, prefix: one.prefix })
  return { fake, logs: [one, other] as const }
})

describe("G2 the loser of a race to create a stream gets the actual version, even if it can't be read yet", () => {
  onFake("at the port", () =>
    Effect.gen(function* () {
      const { fake, logs } = yield* twoLogs
      fake.faults.showLater(LATER)
      const exits = yield* Effect.forEach(
        logs,
        ({ recorder }, n) => Effect.exit(recorder.append(newAppend("Dog-a", n + 1))),
        { concurrency: "unbounded" }
      )
      assert.lengthOf(exits.filter(Exit.isSuccess), 1)
      const lost = yield* Effect.flip(exits.find(Exit.isFailure)!)
      const [last] = yield* logs[0].recorder.readStream({
        stream: newAppend("Dog-a").stream,
        direction: "backward",
        limit: 1
      })
      assert.isDefined(last)
      assert.deepInclude(lost, { _tag: "WrongExpectedVersion", expected: "NoStream", actual: last?.version ?? -1 })
    })
  )

  onFake("of commands", () =>
    Effect.gen(function* () {
      const { fake, logs } = yield* twoLogs
      fake.faults.showLater(LATER)
      const tags = yield* Effect.forEach(
        logs,
        ({ repository }) => tagged(repository.of(Counter).execute(id, Counter.Started())),
        { concurrency: "unbounded" }
      )
      assert.sameMembers(tags, ["Success", "AggregateAlreadyExists"])
    })
  )

  onFake("of appends to several streams, with and without checks", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      const prefix = newPrefix()
      const open = Effect.map(
        Layer.build(Layer.fresh(KurrentLayer.multiStream({ connectionString: fake.uri, prefix }))),
        (built) => Context.get(built, MultiStreamAppend.MultiStreamAppend)
      )
      const all = [yield* open, yield* open]
      fake.faults.showLater(LATER)
      for (const checks of [[], [{ stream: newAppend("Dog-none").stream, expected: "NoStream" as const }]]) {
        const names = [`Dog-a${checks.length}`, `Dog-b${checks.length}`]
        const tags = yield* Effect.forEach(
          all,
          ({ append }) => tagged(append([newAppend(names[0]!), newAppend(names[1]!)], checks)),
          { concurrency: "unbounded" }
        )
        assert.sameMembers(tags, ["Success", "WrongExpectedVersion"])
      }
    })
  )

  onFake("of a stream whose events have a maximum age, or that is truncated before its readable events", () =>
    Effect.gen(function* () {
      const { fake, logs } = yield* twoLogs
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => KurrentDBClient.connectionString(fake.uri)),
        (client) => Effect.promise(() => client.dispose())
      )
      const names = { "Dog-aged": { maxAge: 1000 }, "Dog-counted": { maxCount: 5 } }
      for (const [name, metadata] of Object.entries(names)) {
        yield* Effect.promise(() => client.setStreamMetadata(`${logs[0].prefix}${name}`, metadata))
      }
      fake.faults.showLater(LATER)
      for (const name of Object.keys(names)) {
        const tags = yield* Effect.forEach(logs, ({ recorder }) => tagged(recorder.append(newAppend(name))), {
          concurrency: "unbounded"
        })
        assert.sameMembers(tags, ["Success", "WrongExpectedVersion"], name)
      }
    })
  )

  it.live("and creating a stream whose events are all hidden fails, since it can't be used again", () =>
    Effect.gen(function* () {
      const log = yield* openLog()
      const client = yield* Effect.acquireRelease(
        Effect.sync(() => KurrentDBClient.connectionString(uri)),
        (client) => Effect.promise(() => client.dispose())
      )
      yield* log.append("Dog-cut", 3)
      yield* Effect.promise(() => client.setStreamMetadata(`${log.prefix}Dog-cut`, { truncateBefore: 3 }))
      const error = yield* Effect.flip(log.recorder.append(newAppend("Dog-cut")))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.match(error.message, /use another id/)
    })
  )
})

describe("a log that two processes open for the first time at once", () => {
  onFake("has one id", () =>
    Effect.gen(function* () {
      const fake = yield* ownFake()
      fake.faults.showLater(LATER)
      const prefix = newPrefix()
      const logs = yield* Effect.forEach([1, 2], () => openLog({ connectionString: fake.uri, prefix }), {
        concurrency: "unbounded"
      })
      assert.strictEqual(logs[0]?.recorder.logId, logs[1]?.recorder.logId)
    })
  )
})

describe("metadata that two writers change at once", () => {
  onOwnFake("have both changes, even if the first can't be read yet when the second is refused", (fake) =>
    Effect.gen(function* () {
      const client = yield* KurrentClient
      const stream = newStream()
      fake.faults.showLater(LATER)
      yield* Effect.forEach(
        [1, 2, 3],
        (n) =>
          client.updateStreamMetadata(stream, (metadata) => ({
            ...metadata,
            custom: { ...metadata.custom, [`by${n}`]: n }
          })),
        { concurrency: "unbounded" }
      )
      const { metadata } = yield* client.getStreamMetadata(stream)
      assert.deepStrictEqual(metadata.custom, { by1: 1, by2: 2, by3: 3 })
    })
  )
})
