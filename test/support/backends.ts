/** The four backends and the places for views, each a new one for each test. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Layer, Scope } from "effect"
import { Effect } from "effect"
import type { EventSourcing, Recorder, ViewStore } from "effect-eventsourcing"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { newPrefix, uri } from "../kurrent/support/server.ts"
import { connect, newSchema, url } from "../postgres/support/database.ts"

export type Services = EventSourcing.EventSourcing | Recorder.Recorder

export const temporaryDirectory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-eventsourcing-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

export const newFile = Effect.map(temporaryDirectory, (directory) => Path.join(directory, "events.db"))

/** Logs. Built again, each is the same log, except in memory. */
export const logs: Readonly<Record<string, Effect.Effect<Layer.Layer<Services, unknown>, unknown, Scope.Scope>>> = {
  memory: Effect.sync(() => MemoryLayer()),
  SQLite: Effect.map(newFile, (filename) => SqliteLayer({ filename })),
  PostgreSQL: Effect.map(newSchema, (schema) => PostgresLayer({ url: url(), schema })),
  KurrentDB: Effect.sync(() => KurrentLayer({ connectionString: uri, prefix: newPrefix() }))
}

/** The schema of views, which is removed with the schemas of their versions when the scope has closed. */
export const newViewsSchema: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(newSchema, (schema) =>
  Effect.scoped(
    Effect.gen(function* () {
      const sql = yield* connect({ maxConnections: 1 })
      const found = yield* sql<{ readonly name: string }>`
        SELECT nspname AS name FROM pg_catalog.pg_namespace WHERE nspname LIKE ${`${schema}_%`}`
      for (const { name } of found) yield* sql`DROP SCHEMA ${sql(name)} CASCADE`
    })
  ).pipe(Effect.orDie)
)

/** Places for tables of views. */
export const sqlViews: Readonly<
  Record<string, Effect.Effect<Layer.Layer<ViewStore.SqlViewStore, unknown>, unknown, Scope.Scope>>
> = {
  SQLite: Effect.map(newFile, (filename) => SqliteViews({ filename })),
  PostgreSQL: Effect.map(newViewsSchema, (schema) => PostgresViews({ url: url(), schema }))
}

export { MemoryViews }
