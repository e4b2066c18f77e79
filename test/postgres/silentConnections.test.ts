/** Connections that the network has forgotten: silent forever, while new ones are served. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { Projection, ProjectionRunner, ViewStore } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { silent } from "../projection/support/harness.ts"
import { count, makeJournal, readJournal } from "../projection/support/journalView.ts"
import { until, untilState } from "../projection/support/runnerStates.ts"
import { newViewsSchema } from "../support/backends.ts"
import { newSchema, url } from "./support/database.ts"
import { openLog } from "./support/openLog.ts"
import { startProxy } from "./support/proxy.ts"

/** Usually long enough to connect; what is not in time is tried again. */
const WAIT = "1 second"

const again = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.retry(self, { times: 50 })

const key = { projection: "journal", version: 1, upstream: "log", slice: 0 }

describe.concurrent("a connection that does not respond, although others do", () => {
  it.live("is given up by the library's short statements, with an error that says so", () =>
    Effect.gen(function* () {
      const schema = yield* newViewsSchema
      const statements: Readonly<
        Record<string, (store: ViewStore.SqlViewStore["Service"]) => Effect.Effect<unknown, unknown>>
      > = {
        lease: (store) => store.lease(key, "a", 1000),
        release: (store) => store.lease(key, "a", 0),
        check: (store) => store.versions(key),
        letters: (store) => store.deadLetters(key),
        reset: (store) => store.reset(key, () => Effect.void)
      }
      const prove = ([name, statement]: readonly [string, (typeof statements)[string]]) =>
        Effect.gen(function* () {
          const proxy = yield* startProxy(url())
          const one = { url: proxy.url, schema, connectTimeout: WAIT, maxConnections: 1 } as const
          const place = yield* again(Layer.build(Layer.fresh(PostgresViews(one))))
          const store = Context.get(place, ViewStore.SqlViewStore)
          yield* again(store.versions(key))
          proxy.forget()
          const error = yield* Effect.flip(statement(store))
          assert.deepInclude(error, { _tag: "RecorderUnavailable", waited: 1000 }, name)
          // the only connection of the pool is a different one now
          yield* until(Effect.isSuccess(statement(store)))
        })
      yield* Layer.build(Layer.fresh(PostgresViews({ url: url(), schema })))
      yield* Effect.forEach(Object.entries(statements), prove, { concurrency: "unbounded" })
    })
  )

  it.live("is given up by reads of the head", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const schema = yield* newSchema
      const client = { url: Redacted.make(proxy.url), connectTimeout: WAIT, maxConnections: 1 } as const
      const { recorder } = yield* again(openLog(schema, { client }))
      yield* again(recorder.head)
      proxy.forget()
      assert.deepInclude(yield* Effect.flip(recorder.head), { _tag: "RecorderUnavailable", waited: 2000 })
      yield* until(Effect.isSuccess(recorder.head))
    })
  )

  it.live("G12 is reported by a runner, which continues on another one", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const [schema, views] = [yield* newSchema, yield* newViewsSchema]
      const by = { url: proxy.url, connectTimeout: WAIT, maxConnections: 4 } as const
      const place = Layer.merge(
        PostgresLayer({ ...by, schema, pollInterval: "50 millis" }),
        Layer.merge(PostgresViews({ ...by, schema: views }), MemoryViews())
      )
      const elsewhere = PostgresLayer({ url: url(), schema })
      const projection = makeJournal("tables")
      yield* Effect.gen(function* () {
        const runner = yield* ProjectionRunner.make(projection)
        const first = yield* Effect.provide(count("a", 2), elsewhere)
        yield* again(Projection.wait(projection, first))
        yield* untilState(runner, "Live")
        proxy.forget()
        const last = yield* Effect.provide(count("b", 2), elsewhere)
        yield* untilState(runner, "Retrying")
        yield* again(Projection.wait(projection, last, { timeout: "Infinity" }))
        yield* untilState(runner, "Live")
        // a statement of the user's may get a connection that is still silent
        const journal = Effect.provide(readJournal(projection), PostgresViews({ url: url(), schema: views }))
        assert.lengthOf(yield* journal, 4)
      }).pipe(Effect.scoped, Effect.provide(yield* again(Layer.build(Layer.merge(place, silent)))))
    })
  )
})
