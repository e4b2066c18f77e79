/** The places of a log and its views, in a form that one process can send to another. */
import type { Layer } from "effect"
import type { EventSourcing, Recorder, TrackedAppend, ViewStore } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"

/** A database: a SQLite file, or a schema of a PostgreSQL server. */
export type Database =
  | { readonly backend: "sqlite"; readonly filename: string }
  | { readonly backend: "postgres"; readonly url: string; readonly schema: string }

/** Long enough to wait for the transactions of several other processes. */
const lockTimeout = "30 seconds"

export const logOf = (
  database: Database
): Layer.Layer<EventSourcing.EventSourcing | Recorder.Recorder | TrackedAppend.TrackedAppend, unknown> =>
  database.backend === "sqlite"
    ? SqliteLayer({ filename: database.filename, lockTimeout })
    : PostgresLayer({ url: database.url, schema: database.schema, lockTimeout })

export const viewsOf = (database: Database): Layer.Layer<ViewStore.SqlViewStore, unknown> =>
  database.backend === "sqlite"
    ? SqliteViews({ filename: database.filename, lockTimeout })
    : PostgresViews({ url: database.url, schema: database.schema })

/** The name of one of the library's own tables beside the views. */
export const ownTable = (database: Database, name: string): string =>
  database.backend === "sqlite" ? name : `${database.schema}.${name}`
