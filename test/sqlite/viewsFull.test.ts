/** A full disk does not end a runner: it waits for space. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { layerSqlClient, SqliteViews } from "effect-eventsourcing/sqlite"
import { silent } from "../projection/support/harness.ts"
import { count, makeJournal, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { until, untilState } from "../projection/support/runnerStates.ts"
import * as Temporary from "./support/temporaryFile.ts"

it.live("G12 a runner whose view's file has no room waits, reports that, and continues when there is room", () =>
  Effect.gen(function* () {
    const filename = yield* Temporary.file
    const journal = makeJournal("tables")
    yield* Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const runner = yield* ProjectionRunner.make(journal)
      yield* count("a")
      yield* untilState(runner, "Live")
      yield* sql`CREATE TABLE fill (text TEXT NOT NULL)`
      const [row] = yield* sql<{ readonly page_count: number }>`PRAGMA page_count`
      yield* sql.unsafe(`PRAGMA max_page_count = ${row?.page_count ?? 0}`)
      yield* count("b", 500)
      const { cause } = yield* untilState(runner, "Retrying")
      assert.include(cause, { _tag: "RecorderUnavailable" })
      yield* sql.unsafe("PRAGMA max_page_count = 1000000")
      yield* until(Effect.map(readJournal(journal), (entries) => entries.length === 501))
      assert.deepStrictEqual(yield* readJournal(journal), yield* wholeLog)
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(MemoryLayer(), MemoryViews(), SqliteViews({ filename }), layerSqlClient({ filename }), silent)
      )
    )
  })
)
