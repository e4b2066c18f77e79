/** Logs, and the places for the index of a deadline on them. */
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import type { Deadline, ViewStore } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import type { Services } from "../../support/backends.ts"
import { logs, newFile, sqlViews } from "../../support/backends.ts"

export type Here = Services | ViewStore.SqlViewStore | ViewStore.MemoryViewStore

export interface Place {
  readonly index: Deadline.Place
  readonly make: Effect.Effect<Layer.Layer<Here, unknown>, unknown, Scope.Scope>
}

type Log = NonNullable<(typeof logs)[string]>
type Views = NonNullable<(typeof sqlViews)[string]>

const on = (log: Log | undefined, views: Views | undefined, index: Deadline.Place): Place => ({
  index,
  make: Effect.gen(function* () {
    return Layer.mergeAll(yield* log as Log, yield* views as Views, MemoryViews())
  })
})

export const places: Readonly<Record<string, Place>> = {
  memory: on(logs.memory, Effect.succeed(SqliteViews({ filename: ":memory:" })), "memory"),
  SQLite: on(logs.SQLite, sqlViews.SQLite, "tables"),
  "SQLite, in the file of the log": {
    index: "tables",
    make: Effect.map(newFile, (filename) =>
      Layer.mergeAll(SqliteLayer({ filename }), SqliteViews({ filename }), MemoryViews())
    )
  },
  "SQLite, of a log on KurrentDB": on(logs.KurrentDB, sqlViews.SQLite, "tables"),
  PostgreSQL: on(logs.PostgreSQL, sqlViews.PostgreSQL, "tables")
}
