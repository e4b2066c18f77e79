/** A program that is ended by Ctrl-C, or by its supervisor: it releases its lease, and the next one begins at once. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { url } from "../postgres/support/database.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"
import { start } from "../support/childProcess.ts"
import type { Database } from "./support/databases.ts"
import { logOf, viewsOf } from "./support/databases.ts"
import { silent } from "./support/harness.ts"
import { count, makeJournal, readJournal, wholeLog } from "./support/journalView.ts"
import { names, untilState, watch } from "./support/runnerStates.ts"

const databases: Readonly<Record<string, Effect.Effect<Database, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(Temporary.file, (filename) => ({ backend: "sqlite", filename })),
  PostgreSQL: Effect.map(newViewsSchema, (schema) => ({ backend: "postgres", url: url(), schema }))
}

describe.concurrent.each(Object.entries(databases))("G10 a program run with NodeRuntime.runMain, in %s", (_, make) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    it.live(`releases its lease on ${signal}`, () =>
      Effect.gen(function* () {
        const database = yield* make
        const child = yield* start("projection/support/serveUntilSignal.ts", JSON.stringify(database))
        assert.strictEqual(yield* child.line, "ready")
        yield* child.signal(signal)
        const journal = makeJournal("tables")
        yield* Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          const states = yield* watch(runner)
          yield* untilState(runner, "Live")
          // never waiting for the lease of another
          assert.notInclude(names(states), "Standby")
          yield* Projection.wait(journal, yield* count("after"))
          assert.deepStrictEqual(yield* readJournal(journal), yield* wholeLog)
        }).pipe(
          Effect.scoped,
          Effect.provide(Layer.mergeAll(logOf(database), viewsOf(database), MemoryViews(), silent))
        )
      })
    )
  }
})
