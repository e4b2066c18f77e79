/** What PostgreSQL does to inline projections and SQLite does not. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer } from "effect"
import { EventStore, Projection } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { newViewsSchema } from "../support/backends.ts"
import { Dog } from "../support/dog.ts"
import { url } from "./support/database.ts"

it.live(
  "G1 of two appends whose inline handlers deadlock, the one that is rolled back is retried, also many times",
  () =>
    Effect.gen(function* () {
      const schema = yield* newViewsSchema
      /** Each has changed its first row. */
      const reached = { a: yield* Deferred.make<void>(), b: yield* Deferred.make<void>() }
      let calls = 0
      /** How many more deadlocks PostgreSQL is to report. */
      let more = 8
      const counts = Projection.make("counts", {
        aggregates: [Dog],
        view: Projection.sql(({ sql, table }) =>
          Effect.andThen(
            sql`CREATE TABLE ${table("names")} (name text PRIMARY KEY, count integer NOT NULL)`,
            sql`INSERT INTO ${table("names")} VALUES ('a', 0), ('b', 0)`
          )
        ),
        inline: true,
        handlers: {
          Dog: {
            Registered: Effect.fnUntraced(function* ({ event }, { sql, table }) {
              calls++
              const [first, second] = event.name === "a" ? (["a", "b"] as const) : (["b", "a"] as const)
              yield* sql`UPDATE ${table("names")} SET count = count + 1 WHERE name = ${first}`
              yield* Deferred.succeed(reached[first], undefined)
              yield* Deferred.await(reached[second])
              if (calls > 2 && more-- > 0) {
                yield* sql`DO ${sql.literal("$$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01', MESSAGE = 'deadlock detected'; END $$")}`
              }
              yield* sql`UPDATE ${table("names")} SET count = count + 1 WHERE name = ${second}`
            }),
            TrickAdded: Projection.ignore,
            Rested: Projection.ignore
          }
        }
      })
      const fast = new URL(url())
      fast.searchParams.set("options", "-c deadlock_timeout=20ms")
      const log = PostgresLayer({ url: fast.href, schema, viewsSchema: schema, inline: [counts] })
      yield* Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const register = (name: string) =>
          store.append(Dog, Dog.id(name), { expected: "NoStream", events: [Dog.Registered({ name })] })
        yield* Effect.all([register("a"), register("b")], { concurrency: 2 })
        // so that a deadlock occurred
        assert.isAtLeast(calls, 11)
        const rows = yield* Projection.read(
          counts,
          ({ sql, table }) => sql<{ readonly count: number }>`SELECT count FROM ${table("names")}`
        )
        assert.deepStrictEqual(rows, [{ count: 2 }, { count: 2 }])
      }).pipe(Effect.provide(Layer.merge(log, PostgresViews({ url: url(), schema }))))
    })
)
