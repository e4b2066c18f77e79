import type { DatabaseSync } from "node:sqlite"
import * as Uuid from "../internal/encoding/uuid.ts"

/** The migrations of a file, one for each version of its schema. A released one is never changed. */
const migrations: ReadonlyArray<string> = [
  `
  CREATE TABLE stored_events (
    position       INTEGER PRIMARY KEY AUTOINCREMENT,
    stream         TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    encoding       TEXT    NOT NULL,
    payload        ANY     NOT NULL,
    metadata       TEXT    NOT NULL,
    recorded_at    INTEGER NOT NULL,
    UNIQUE (stream, version)
  ) STRICT;

  CREATE TABLE stored_snapshots (
    stream         TEXT    PRIMARY KEY,
    version        INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    encoding       TEXT    NOT NULL,
    payload        ANY     NOT NULL,
    created_at     INTEGER NOT NULL,
    modified_at    INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE stored_tracking (
    projection         TEXT    NOT NULL,
    projection_version INTEGER NOT NULL,
    upstream           TEXT    NOT NULL,
    slice              INTEGER NOT NULL,
    position           INTEGER NOT NULL,
    PRIMARY KEY (projection, projection_version, upstream, slice)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  ALTER TABLE stored_tracking ADD COLUMN note TEXT;
  `
]

/** Describes the log, in a table of one row: `user_version` is left to the user. */
const createLog = `
  CREATE TABLE IF NOT EXISTS stored_log (
    only_row       INTEGER PRIMARY KEY CHECK (only_row = 1),
    log_id         TEXT    NOT NULL,
    schema_version INTEGER NOT NULL
  ) STRICT;
`

/** The id of a log whose schema is the newest; `undefined` if something has to be created, migrated or refused. */
export const current = (db: DatabaseSync): string | undefined => {
  if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'stored_log'").get() === undefined) return undefined
  const log = db.prepare("SELECT log_id AS logId, schema_version AS version FROM stored_log").get()
  return log?.version === migrations.length ? String(log.logId) : undefined
}

/**
 * Migrates a file to the newest schema within the caller's transaction, and returns the id of its log.
 *
 * Throws if a newer version of the library created the file.
 */
export const migrate = (db: DatabaseSync, now: number): string => {
  db.exec(createLog)
  const log = db.prepare("SELECT log_id AS logId, schema_version AS version FROM stored_log").get() as
    | { readonly logId: string; readonly version: number }
    | undefined
  const logId = log?.logId ?? Uuid.v7(now)
  const version = log?.version ?? 0
  if (version > migrations.length) {
    throw new Error(
      `its schema has version ${version}, but this version of effect-eventsourcing only knows ${migrations.length}; update effect-eventsourcing`
    )
  }
  for (const migration of migrations.slice(version)) db.exec(migration)
  if (version < migrations.length) {
    db.prepare("INSERT OR REPLACE INTO stored_log (only_row, log_id, schema_version) VALUES (1, ?, ?)").run(
      logId,
      migrations.length
    )
  }
  return logId
}
