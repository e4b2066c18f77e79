/** Whatever else a program provides, handlers, setups and readers get the client of their view's own database. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer, Redacted, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import type { View, ViewStore } from "effect-eventsourcing"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { layerSqlClient, SqliteViews } from "effect-eventsourcing/sqlite"
import { newDatabase, newSchema, url } from "../postgres/support/database.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import { silent } from "./support/harness.ts"
import { count } from "./support/journalView.ts"

/** The place of a view, and how a program queries a client whether it is connected to that place. */
interface Target {
  readonly views: Layer.Layer<ViewStore.SqlViewStore, unknown>
  readonly where: string
}

/** A SQLite file, and what SQLite reports of it. */
const sqlite: Effect.Effect<Target, unknown, Scope.Scope> = Effect.map(Temporary.file, (filename) => ({
  views: SqliteViews({ filename }),
  where: filename
}))

/** A database other than the log's. */
const postgres: Effect.Effect<Target, unknown, Scope.Scope> = Effect.map(newDatabase(), (database) => ({
  views: PostgresViews({ url: database }),
  where: new URL(database).pathname.slice(1)
}))

/** Where a client is connected to. */
const whereIs = (sql: SqlClient.SqlClient) =>
  sql
    .onDialectOrElse({
      pg: () => sql<{ readonly place: string }>`SELECT current_database()::text AS place`,
      orElse: () => sql<{ readonly place: string }>`SELECT file AS place FROM pragma_database_list WHERE name = 'main'`
    })
    .pipe(Effect.map(([row]) => row?.place))

/** Queries each client that a projection gets for its place, and stores it in the view. */
const makePlaces = (heard: Array<string | undefined>, failing: { times: number }) => {
  const ask = Effect.fnUntraced(function* ({ sql, table }: View.SqlView) {
    const client = yield* SqlClient.SqlClient
    assert.strictEqual(client, sql)
    heard.push(yield* whereIs(client))
    return { client, places: client`${table("places")}` }
  })
  const handle = Effect.fnUntraced(function* (_event: unknown, view: View.SqlView) {
    const { client, places } = yield* ask(view)
    // in the transaction of the batch: a later failure rolls it back
    yield* client`INSERT INTO ${places} VALUES (${heard.at(-1)})`
    if (failing.times-- > 0) yield* Effect.fail("not yet")
  })
  return Projection.make("places", {
    aggregates: [Counter],
    view: Projection.sql(
      Effect.fnUntraced(function* (view) {
        const { client, places } = yield* ask(view)
        yield* client`CREATE TABLE ${places} (place text NOT NULL)`
      })
    ),
    handlers: { Counter: { Started: handle, Increased: handle } }
  })
}

describe.concurrent.each(Object.entries({ SQLite: sqlite, "another PostgreSQL database": postgres }))(
  "from PostgreSQL into %s",
  (_, makeTarget) => {
    const orders = {
      "the log first": <A, B, E1, E2>(log: Layer.Layer<A, E1>, views: Layer.Layer<B, E2>) => Layer.merge(log, views),
      "the view first": <A, B, E1, E2>(log: Layer.Layer<A, E1>, views: Layer.Layer<B, E2>) => Layer.merge(views, log)
    }
    for (const [order, merge] of Object.entries(orders)) {
      for (const extra of ["no other client", "a client of SQLite", "a client of PostgreSQL"] as const) {
        it.live(`G6 the layers merged with ${order}, and ${extra}`, () =>
          Effect.gen(function* () {
            const { views, where } = yield* makeTarget
            const log = PostgresLayer({ url: url(), schema: yield* newSchema })
            const clients = {
              "no other client": Layer.empty,
              "a client of SQLite": layerSqlClient({ filename: ":memory:" }),
              "a client of PostgreSQL": PgClient.layer({ url: Redacted.make(url()), maxConnections: 1 })
            }
            const client: Layer.Layer<never, unknown> = clients[extra]
            const heard: Array<string | undefined> = []
            const failing = { times: 2 }
            const places = makePlaces(heard, failing)
            yield* Effect.gen(function* () {
              yield* ProjectionRunner.make(places, { retry: Schedule.recurs(5) })
              yield* untilProcessed(places, yield* count("a", 3))
              const read = Projection.read(
                places,
                Effect.fnUntraced(function* ({ sql, table }) {
                  const own = yield* SqlClient.SqlClient
                  assert.strictEqual(own, sql)
                  return (yield* own<{ readonly place: string }>`SELECT place FROM ${table("places")}`).map(
                    ({ place }) => place
                  )
                })
              )
              assert.deepStrictEqual(yield* read, [where, where, where])
              assert.deepStrictEqual([...new Set(heard)], [where])

              // if the view is rebuilt by the caller of `reset`, not by its runner
              heard.length = 0
              yield* Projection.reset(places)
              assert.strictEqual(heard[0], where)
            }).pipe(Effect.scoped, Effect.provide(merge(Layer.merge(log, silent), Layer.merge(views, client))))
          })
        )
      }
    }

    it.live("G6 a replay works, too", () =>
      Effect.gen(function* () {
        const { views, where } = yield* makeTarget
        const heard: Array<string | undefined> = []
        const failing = { times: 1 }
        const places = makePlaces(heard, failing)
        yield* Effect.gen(function* () {
          yield* ProjectionRunner.make(places, { retry: Schedule.recurs(0), onFailure: "set-aside" })
          yield* untilProcessed(places, yield* count("a"))
          assert.strictEqual((yield* Projection.deadLetters(places)).length, 1)
          heard.length = 0
          assert.deepStrictEqual(yield* Projection.replay(places), { replayed: 1, left: [] })
          assert.deepStrictEqual(heard, [where])
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.mergeAll(PostgresLayer({ url: url(), schema: yield* newSchema }), views, silent))
        )
      })
    )
  }
)
