/** The log of events in a SQLite file. */
import type { Duration, Scope } from "effect"
import { Clock, Context, Effect, Layer, Result, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import {
  appendOne,
  appendToStreams,
  assertDistinctStreams,
  exclusiveAppend,
  precheck
} from "../internal/backend/exclusiveAppend.ts"
import { categoryRange } from "../internal/backend/matching.ts"
import { milliseconds } from "../internal/backend/options.ts"
import type { ChangeSignal } from "../internal/following/changeSignal.ts"
import { followLog } from "../internal/following/followPages.ts"
import { MultiStreamAppend } from "../MultiStreamAppend.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { Append, ReadAll } from "../Recorder.ts"
import { Recorder } from "../Recorder.ts"
import type { StoredSnapshot } from "../SnapshotRecorder.ts"
import { SnapshotRecorder } from "../SnapshotRecorder.ts"
import type { StreamHead } from "../StreamCatalog.ts"
import { StreamCatalog } from "../StreamCatalog.ts"
import * as StreamName from "../StreamName.ts"
import { TrackedAppend } from "../TrackedAppend.ts"
import { TransactionalAppend } from "../TransactionalAppend.ts"
import type { Statements } from "./access.ts"
import { makeAccess } from "./access.ts"
import { rootOf, toRecorderError } from "./errors.ts"
import { exclusiveLog } from "./exclusiveLog.ts"
import * as GroupCommit from "./groupCommit.ts"
import { current, migrate } from "./migrations.ts"
import { nonNegative } from "./pages.ts"
import * as SqliteDatabase from "./SqliteDatabase.ts"
import { checkKey, trackingOf, trackingProgress } from "./tracking.ts"
import { watchChanges } from "./watchChanges.ts"

/** The services that the SQLite recorder provides. */
export type Services =
  | Recorder
  | MultiStreamAppend
  | TrackedAppend
  | TransactionalAppend
  | StreamCatalog
  | SnapshotRecorder

/** How a SQLite log is opened. */
export interface Options extends SqliteDatabase.Options {
  /**
   * How often followers look for events that other processes have recorded: from 1 ms to 24 days. Default 100
   * milliseconds.
   */
  readonly pollInterval?: Duration.Input | undefined
}

/** The log in a file. It is created or migrated when it is opened. */
export const layer = (options: Options): Layer.Layer<Services, RecorderError> =>
  Layer.effectContext(Effect.flatMap(SqliteDatabase.open(options), (database) => make(database, options)))

/** The log in an open file. */
export const make = Effect.fnUntraced(function* (
  database: SqliteDatabase.SqliteDatabase,
  options: Options
): Effect.fn.Return<Context.Context<Services>, RecorderError, Scope.Scope> {
  const pollInterval = yield* milliseconds("open a log", "pollInterval", options.pollInterval ?? "100 millis", {
    least: 1
  })
  const now = yield* Clock.currentTimeMillis
  // the write lock, which another process may hold for long, is only taken if there is something to do
  const found = yield* database.read("open a log", current)
  const logId = found ?? (yield* database.write("open a log", (db) => migrate(db, now)))
  const group = yield* GroupCommit.make(database)
  const changes = yield* watchChanges(database, pollInterval)
  return services(database, group, changes, logId)
})

const services = (
  database: SqliteDatabase.SqliteDatabase,
  group: GroupCommit.GroupCommit,
  changes: Effect.Effect<ChangeSignal, never, Scope.Scope>,
  logId: string
): Context.Context<Services> => {
  const { sql } = database
  const log = exclusiveLog(database.writer)
  const { currentTransaction, read, readCommitted, write, writing } = makeAccess(database, group)

  const headOf = ({ prepare }: Statements): Position | undefined => {
    const row = prepare("SELECT max(position) AS position FROM stored_events").get()
    return row?.position == null ? undefined : fromStorage(BigInt(row.position as number))
  }
  const READ_HEAD = "read the head of the log"
  const READ_LOG = "read the log"

  /** A follower sees only what is committed, even if it was started inside a transaction. */
  const committed = {
    head: readCommitted(READ_HEAD, headOf),
    readAll: (all: ReadAll) => readCommitted(READ_LOG, ({ pages }) => pages.all(all))
  }

  const recorder = Recorder.of({
    append: (append) => write("append", append.events.length, () => appendOne(log, append)),
    readStream: (stream) => read("read a stream", ({ pages }) => pages.stream(stream)),
    readAll: (all) => read(READ_LOG, ({ pages }) => pages.all(all)),
    follow: (follow) => Stream.unwrap(Effect.map(changes, (signal) => followLog(committed, signal)(follow))),
    head: read(READ_HEAD, headOf),
    inTransaction: (context) => currentTransaction(context) !== undefined,
    logId
  })

  const multiStreamAppend = MultiStreamAppend.of({
    append: (appends, checks = []) =>
      Effect.suspend(() => {
        assertDistinctStreams(appends, checks)
        return write("append", eventCount(appends), () => appendToStreams(log, appends, checks))
      })
  })

  const trackedAppend = TrackedAppend.of({
    append: (appends, move, checks = []) =>
      Effect.suspend(() => {
        assertDistinctStreams(appends, checks)
        return Effect.andThen(
          checkKey(move.key),
          write("append", eventCount(appends), () => exclusiveAppend(log, appends, checks, trackingOf(writing, move)))
        )
      }),
    position: (key) =>
      Effect.andThen(
        checkKey(key),
        read("read a tracking position", ({ prepare }) => trackingProgress(prepare, key)?.position)
      ),
    progress: (key) =>
      Effect.andThen(
        checkKey(key),
        read("read a tracking position", ({ prepare }) => trackingProgress(prepare, key))
      )
  })

  const transactionalAppend = TransactionalAppend.of({
    append: ({ appends, checks = [], move }, work) =>
      Effect.gen(function* () {
        assertDistinctStreams(appends, checks)
        if (move !== undefined) yield* checkKey(move.key)
        const tracking = move === undefined ? undefined : trackingOf(writing, move)
        // from here on nobody else writes: an append that is refused, or was recorded before, needs no work
        const settled = yield* database.attempt("append", () => precheck(log, appends, checks, tracking))
        if (settled !== undefined) return yield* Effect.fromResult(settled)
        yield* work
        return yield* write("append", eventCount(appends), () => exclusiveAppend(log, appends, checks, tracking))
      }).pipe(
        Effect.ensuring(
          Effect.sync(() => {
            database.inlineProjections = ""
          })
        ),
        sql.withTransaction,
        Effect.mapError((error) =>
          SqlError.isSqlError(error) ? toRecorderError("append", database.filename, rootOf(error)) : error
        ),
        Effect.provideService(SqlClient.SqlClient, sql)
      )
  })

  const streamCatalog = StreamCatalog.of({
    list: ({ category, after, limit }) =>
      read("list streams", ({ prepare }) => {
        const [from, end] = categoryRange(category)
        const rows = prepare(LIST_STREAMS).all(after ?? from, from, end, end, end, end, nonNegative(limit))
        return rows.map(
          ({ stream, version }): StreamHead => ({
            stream: StreamName.fromStorage(stream as string),
            version: version as number
          })
        )
      })
  })

  const snapshotRecorder = SnapshotRecorder.of({
    save: ({ stream, version, schemaVersion, encoding, payload, createdAt, modifiedAt }) =>
      write("save a snapshot", 1, () => {
        writing(SAVE_SNAPSHOT).run(stream, version, schemaVersion, encoding, payload, createdAt, modifiedAt)
        return Result.void
      }),
    load: (stream) =>
      read("load a snapshot", ({ prepare }) => prepare(LOAD_SNAPSHOT).get(stream) as StoredSnapshot | undefined),
    inTransaction: recorder.inTransaction
  })

  return Context.make(Recorder, recorder).pipe(
    Context.add(MultiStreamAppend, multiStreamAppend),
    Context.add(TrackedAppend, trackedAppend),
    Context.add(TransactionalAppend, transactionalAppend),
    Context.add(StreamCatalog, streamCatalog),
    Context.add(SnapshotRecorder, snapshotRecorder)
  )
}

const eventCount = (appends: ReadonlyArray<Append>): number =>
  appends.reduce((count, { events }) => count + events.length, 1)

/**
 * Skips from one stream's name to the next in the index, without reading the events between them. Parameters: the
 * stream to start after, the name to start from, then four times the name to stop before (or NULL), and the limit.
 * (`?3`, which would be passed once, is refused by the node:sqlite of Node 22.)
 */
const LIST_STREAMS = `
  WITH RECURSIVE names (stream) AS (
    SELECT (SELECT min(stream) FROM stored_events WHERE stream > ? AND stream >= ?)
    UNION ALL
    SELECT (SELECT min(stream) FROM stored_events WHERE stream > names.stream)
    FROM names WHERE names.stream IS NOT NULL AND (? IS NULL OR names.stream < ?)
  )
  SELECT stream, (SELECT max(version) FROM stored_events AS events WHERE events.stream = names.stream) AS version
  FROM names WHERE stream IS NOT NULL AND (? IS NULL OR stream < ?)
  LIMIT ?
`

const SAVE_SNAPSHOT = `
  INSERT INTO stored_snapshots (stream, version, schema_version, encoding, payload, created_at, modified_at)
  VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (stream) DO UPDATE SET
    version = excluded.version, schema_version = excluded.schema_version, encoding = excluded.encoding,
    payload = excluded.payload, created_at = excluded.created_at, modified_at = excluded.modified_at
  WHERE excluded.version >= stored_snapshots.version
`

const LOAD_SNAPSHOT = `
  SELECT stream, version, schema_version AS schemaVersion, encoding, payload, created_at AS createdAt,
    modified_at AS modifiedAt
  FROM stored_snapshots WHERE stream = ?
`
