/** A runner that a program starts inside a transaction of its own: it works on connections of its own. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted, SubscriptionRef } from "effect"
import { SqlClient } from "effect/sql"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { url } from "../postgres/support/database.ts"
import { silent } from "../projection/support/harness.ts"
import { count, makeJournal, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"

/** A log and its views on one client, which the program has, too. */
const places = {
  SQLite: Effect.map(Temporary.file, (filename) =>
    Layer.mergeAll(SqliteLayer({ filename }), SqliteViews({ filename }), layerSqlClient({ filename }))
  ),
  PostgreSQL: Effect.map(newViewsSchema, (schema) =>
    Layer.provideMerge(
      Layer.merge(PostgresLayer.fromClient({ schema }), PostgresViews.fromClient({ schema })),
      PgClient.layer({ url: Redacted.make(url()), maxConnections: 5 })
    )
  )
}

describe.concurrent.each(Object.entries(places))("G12 started inside a transaction in %s", (_, place) => {
  for (const end of ["committed", "rolled back"] as const) {
    it.live(`that is ${end}, it works`, () =>
      Effect.gen(function* () {
        const journal = makeJournal("tables")
        const program = Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          yield* count("before", 3)
          let runner: ProjectionRunner.ProjectionRunner | undefined
          const starting = Effect.gen(function* () {
            yield* sql`SELECT 1`
            runner = yield* ProjectionRunner.make(journal)
            // time in which the runner could do something in the transaction
            yield* Effect.sleep("50 millis")
            if (end === "rolled back") return yield* Effect.fail("rolled back" as const)
          })
          yield* Effect.ignore(sql.withTransaction(starting))
          if (runner === undefined) return assert.fail("it was not started")
          yield* untilState(runner, "Live")
          yield* Projection.wait(journal, yield* count("after", 2))
          assert.deepStrictEqual(yield* readJournal(journal), yield* wholeLog)
          assert.include(yield* SubscriptionRef.get(runner.state), { _tag: "Live" })
        })
        yield* Effect.provide(Effect.scoped(program), Layer.mergeAll(yield* place, MemoryViews(), silent))
      })
    )
  }
})
