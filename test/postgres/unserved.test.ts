/**
 * A pooler with too few connections, or a silent server: no call waits long, and each error says what it waited for.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Logger, Redacted } from "effect"
import { StreamName, TransactionalAppend } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { newSchema, url } from "./support/database.ts"
import { hold, openLog, untilWaiting, watch } from "./support/openLog.ts"
import { startProxy } from "./support/proxy.ts"

const newAppend = (name: string, count = 1) =>
  ({ stream: StreamName.StreamName.make(`Dog-${name}`), expected: "NoStream", events: storedEvents(count) }) as const

const assertUnserved = (error: unknown) => {
  assert.deepInclude(error, { _tag: "RecorderUnavailable" })
  assert.include(String(error), "PgBouncer in session mode needs a pool_size")
}

/** Takes a session of the pooler, and keeps it. */
const occupy = (address: string, schema: string): Effect.Effect<unknown, unknown, Scope.Scope> =>
  Effect.flatMap(openLog(schema, { client: { url: Redacted.make(address), maxConnections: 1 } }), (log) =>
    log.append("Dog-of-another")
  )

const impatient = (address: string) =>
  ({ client: { url: Redacted.make(address), connectTimeout: "200 millis" } }) as const

describe.concurrent("a pooler that has no connection left", () => {
  it.live("makes building a layer fail, with an error that says so", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const proxy = yield* startProxy(url())
      proxy.serve(1)
      yield* occupy(proxy.url, schema)
      const given = { url: proxy.url, connectTimeout: "200 millis" } as const
      assertUnserved(yield* Effect.flip(Layer.build(Layer.fresh(PostgresLayer({ ...given, schema })))))
      assertUnserved(yield* Effect.flip(Layer.build(Layer.fresh(PostgresViews(given)))))
      proxy.letThrough()
      yield* Layer.build(Layer.fresh(PostgresLayer({ ...given, schema })))
    })
  )

  it.live("fails appends and reads that would need another, and not those that have one", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const proxy = yield* startProxy(url())
      const log = yield* openLog(schema, impatient(proxy.url))
      proxy.serve(1)
      const other = yield* openLog(schema)
      // its session belongs to the user for now
      const held = yield* hold(log, log.sql`SELECT 1`)
      assertUnserved(yield* Effect.flip(log.recorder.append(newAppend("a"))))
      assertUnserved(yield* Effect.flip(log.recorder.append(newAppend("b", 2))))
      assertUnserved(yield* Effect.flip(log.recorder.readAll({ limit: 10 })))
      const behind = Context.get(log.services, TransactionalAppend.TransactionalAppend)
      assertUnserved(yield* Effect.flip(behind.append({ appends: [newAppend("c")] }, Effect.void)))
      yield* held.commit
      yield* log.recorder.append(newAppend("d"))
      assert.lengthOf(yield* other.recorder.readAll({ limit: 10 }), 1)
    })
  )

  it.live("does not keep followers from following: they poll, which is logged", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const proxy = yield* startProxy(url())
      const told = yield* Deferred.make<string>()
      const logger = Logger.make(({ message }) => {
        if (String(message).includes("not notified of appends"))
          Deferred.doneUnsafe(told, Exit.succeed(String(message)))
      })
      const options = impatient(proxy.url)
      const log = yield* openLog(schema, {
        client: { ...options.client, maxConnections: 1 },
        pollInterval: "20 millis"
      }).pipe(Effect.provide(Logger.layer([logger])))
      proxy.serve(1)
      const seen = yield* watch(log.recorder)
      assert.include(yield* Deferred.await(told), "no answer for 200 ms")
      yield* (yield* openLog(schema)).append("Dog-a", 2)
      yield* seen.until(2)
    })
  )
})

describe.concurrent("a server that stops responding", () => {
  it.live("G7 fails appends and reads, which continue when it responds again, and record nothing twice", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const proxy = yield* startProxy(url())
      const log = yield* openLog(schema, impatient(proxy.url))
      yield* log.recorder.append(newAppend("a"))
      proxy.freeze()
      const [one, many] = [newAppend("b"), newAppend("c", 2)]
      // some of them wait on the existing connection, others for one of their own
      const failures = yield* Effect.all(
        [
          Effect.flip(log.recorder.append(one)),
          Effect.flip(log.recorder.append(many)),
          Effect.flip(log.recorder.readAll({ limit: 10 }))
        ],
        { concurrency: "unbounded" }
      )
      for (const failure of failures) assert.deepInclude(failure, { _tag: "RecorderUnavailable" })
      proxy.letThrough()
      for (const append of [one, many]) yield* log.recorder.append(append)
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 4)
    })
  )
})

describe.concurrent("a slow statement", () => {
  it.live("is waited for if others are served", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [holder, log] = [
        yield* openLog(schema),
        yield* openLog(schema, { ...impatient(url()), lockTimeout: "1 hour" })
      ]
      const held = yield* hold(holder, holder.append("Dog-held"))
      const waiting = yield* Effect.forkScoped(log.recorder.append(newAppend("a")), { startImmediately: true })
      yield* untilWaiting(log)
      // long enough that the pooler was probed more than once
      yield* Effect.sleep("900 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* held.commit
      assert.strictEqual((yield* Fiber.join(waiting)).version, 0)
    })
  )
})
