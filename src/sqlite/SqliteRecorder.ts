/** The log of events in a SQLite file. */
import type { DatabaseSync, SQLInputValue } from "node:sqlite"
import type { Duration, Scope } from "effect"
import { Clock, Context, Effect, Layer, RcRef, Result, Schedule, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import type { ExclusiveLog, ExclusiveTracking } from "../internal/backend/exclusiveAppend.ts"
import {
  appendOne,
  appendToStreams,
  assertDistinctStreams,
  exclusiveAppend,
  exclusiveTracking,
  precheck
} from "../internal/backend/exclusiveAppend.ts"
import { categoryRange } from "../internal/backend/matching.ts"
import { milliseconds } from "../internal/backend/options.ts"
import type { ChangeSignal } from "../internal/following/changeSignal.ts"
import { makeChangeSignal } from "../internal/following/changeSignal.ts"
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
import type * as Tracking from "../Tracking.ts"
import { TransactionalAppend } from "../TransactionalAppend.ts"
import { rootOf, toRecorderError } from "./errors.ts"
import * as GroupCommit from "./groupCommit.ts"
import { current, migrate } from "./migrations.ts"
import type { Pages } from "./pages.ts"
import { atLeastNone, makePages } from "./pages.ts"
import type { Prepare } from "./prepare.ts"
import { firstArray, prepareOnce, preparePagesOnce } from "./prepare.ts"
import * as SqliteDatabase from "./SqliteDatabase.ts"
import type { Transaction } from "./sqlClient.ts"

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
  const changes = yield* watchedChanges(database, pollInterval)
  return services(database, group, changes, logId)
})

/**
 * The signal that this recorder's followers wait for. It is notified of what is committed in this process and, while
 * there are followers, of what other processes commit. It closes with the recorder, even if others have the file open.
 */
const watchedChanges = Effect.fnUntraced(function* (database: SqliteDatabase.SqliteDatabase, interval: number) {
  const { changeSignals, reader, writer, check } = database
  const changes = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const made = makeChangeSignal()
      changeSignals.add(made)
      return made
    }),
    (made) =>
      Effect.sync(() => {
        changeSignals.delete(made)
        made.close()
      })
  )
  if (reader === writer) return Effect.succeed(changes)
  const dataVersion = reader.prepare("PRAGMA data_version")
  const read = Effect.try({
    try: () => {
      // followers of a lost file are told of the loss, and would otherwise wait forever
      check()
      return dataVersion.get()?.data_version
    },
    catch: () => undefined
  })
  const watcher = yield* RcRef.make({
    acquire: Effect.gen(function* () {
      let seen: unknown = yield* Effect.orElseSucceed(read, () => undefined)
      yield* read.pipe(
        Effect.flatMap((version) =>
          Effect.sync(() => {
            if (version !== seen) changes.notify()
            seen = version
          })
        ),
        Effect.ignore,
        Effect.repeat(Schedule.spaced(interval)),
        Effect.forkScoped
      )
    })
  })
  return Effect.as(RcRef.get(watcher), changes)
})

/** The statements of a connection. */
interface Statements {
  readonly one: Prepare
  readonly pages: Pages
}

const services = (
  database: SqliteDatabase.SqliteDatabase,
  group: GroupCommit.GroupCommit,
  changes: Effect.Effect<ChangeSignal, never, Scope.Scope>,
  logId: string
): Context.Context<Services> => {
  const { writer, sql, transactionOf } = database
  const log = exclusiveLog(writer)
  const statements = {
    committed: { one: prepareOnce(database.reader), pages: makePages(preparePagesOnce(database.reader)) },
    own: { one: prepareOnce(writer), pages: makePages(preparePagesOnce(writer)) }
  }
  const writing = statements.own.one

  /** The transaction of the file's SqlClient that a fiber with this context is in, unless the transaction is over. */
  const currentTransaction = (context: Context.Context<never>): Transaction | undefined => {
    const transaction = transactionOf(context)
    return transaction === undefined || transaction.isOver() ? undefined : transaction
  }

  /** Runs something synchronous in the transaction, which SQLite may have ended. */
  const inTransaction = <A>(transaction: Transaction, operation: string, f: () => A): Effect.Effect<A, RecorderError> =>
    database.attempt(operation, () => {
      transaction.assertOpen()
      return f()
    })

  /** Reads only what is committed. */
  const readCommitted = <A>(operation: string, f: (statements: Statements) => A) =>
    database.read(operation, () => f(statements.committed))

  /** Reads what is committed and, in a transaction of the caller's own, what that transaction has written. */
  const read = <A>(operation: string, f: (statements: Statements) => A): Effect.Effect<A, RecorderError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const transaction = currentTransaction(context)
      return transaction === undefined
        ? readCommitted(operation, f)
        : inTransaction(transaction, operation, () => f(statements.own))
    })

  /** A part of the transaction: nothing of it is kept if it fails. */
  const writeInTransaction = <A, E>(
    transaction: Transaction,
    operation: string,
    work: () => Result.Result<A, E>
  ): Effect.Effect<A, E | RecorderError> =>
    Effect.flatMap(
      inTransaction(transaction, operation, () => {
        writer.exec("SAVEPOINT part")
        try {
          const result = work()
          writer.exec("RELEASE part")
          return result
        } catch (cause) {
          if (writer.isTransaction) writer.exec("ROLLBACK TO part; RELEASE part")
          throw cause
        }
      }),
      (result) => Effect.andThen(sql.afterCommit(tellFollowers), Effect.fromResult(result))
    )

  const tellFollowers = Effect.sync(() => {
    for (const signal of database.changeSignals) signal.notify()
  })

  /** Writes together with others, or in the transaction that the caller is in. */
  const write = <A, E>(
    operation: string,
    events: number,
    work: () => Result.Result<A, E>
  ): Effect.Effect<A, E | RecorderError> =>
    Effect.contextWith((context: Context.Context<never>) => {
      const transaction = currentTransaction(context)
      return transaction === undefined
        ? group.run(operation, events, work)
        : writeInTransaction(transaction, operation, work)
    })

  const headOf = ({ one }: Statements): Position | undefined => {
    const row = one("SELECT max(position) AS position FROM stored_events").get()
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
        read("read a tracking position", ({ one }) => trackingPosition(one, key))
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
      read("list streams", ({ one }) => {
        const [from, end] = categoryRange(category)
        const rows = one(LIST_STREAMS).all(after ?? from, from, end, end, end, end, atLeastNone(limit))
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
      read("load a snapshot", ({ one }) => one(LOAD_SNAPSHOT).get(stream) as StoredSnapshot | undefined),
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

/** The log as the holder of the write lock sees it. */
const exclusiveLog = (db: DatabaseSync): ExclusiveLog => {
  const last = db.prepare("SELECT version FROM stored_events WHERE stream = ? ORDER BY version DESC LIMIT 1")
  // each append queries it, and an array is created faster than an object
  last.setReturnArrays(true)
  const from = db.prepare(
    "SELECT id, position FROM stored_events WHERE stream = ? AND version >= ? ORDER BY version LIMIT ?"
  )
  const inserting = (rows: number) =>
    db.prepare(
      `INSERT INTO stored_events (stream, version, id, type, schema_version, encoding, payload, metadata, recorded_at)
       VALUES ${Array(rows).fill("(?, ?, ?, ?, ?, ?, ?, ?, ?)").join(", ")}`
    )
  const insertOne = inserting(1)
  const insertMany = inserting(MANY)
  return {
    lastVersion: (stream) => firstArray<readonly [number]>(last, stream)?.[0] ?? "NoStream",
    eventsFrom: (stream, version, count) =>
      from.all(stream, version, count).map(({ id, position }) => ({
        id: id as string,
        position: fromStorage(BigInt(position as number))
      })),
    insert: ({ stream, events }, firstVersion) => {
      const positions: Array<Position> = []
      let next = 0
      while (next < events.length) {
        const rows = events.length - next < MANY ? 1 : MANY
        const values: Array<SQLInputValue> = []
        for (const event of events.slice(next, next + rows)) {
          const { id, type, schemaVersion, encoding, payload, metadata, recordedAt } = event
          values.push(stream, firstVersion + next++, id, type, schemaVersion, encoding, payload, metadata, recordedAt)
        }
        // one statement numbers its rows one by one: nobody else writes meanwhile
        const last = BigInt((rows === 1 ? insertOne : insertMany).run(...values).lastInsertRowid)
        for (let before = rows - 1; before >= 0; before--) positions.push(fromStorage(last - BigInt(before)))
      }
      return positions
    }
  }
}

/** From this many rows on, one statement inserts many: a call costs as much as half a row. */
const MANY = 10

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

const TRACKING_POSITION = `
  SELECT position FROM stored_tracking WHERE projection = ? AND projection_version = ? AND upstream = ? AND slice = ?
`

/** The positions of another backend's log can be larger than a number represents exactly. */
const trackingPosition = (
  statement: Prepare,
  { projection, version, upstream, slice }: Tracking.Key
): Position | undefined => {
  const select = statement(TRACKING_POSITION)
  select.setReadBigInts(true)
  const row = select.get(projection, version, upstream, slice)
  return row === undefined ? undefined : fromStorage(row.position as bigint)
}

/** Refuses a key with half a surrogate pair: stored, it would become another key. */
const checkKey = ({ projection, upstream }: Tracking.Key): Effect.Effect<void, RecorderFailure> =>
  projection.isWellFormed() && upstream.isWellFormed()
    ? Effect.void
    : Effect.fail(
        new RecorderFailure({
          operation: "track a position",
          reason: `the name of a projection or an upstream contains half of a surrogate pair: ${JSON.stringify([projection, upstream])}`
        })
      )

/** The tracking of a key, for the holder of the write lock. */
const trackingOf = (statement: Prepare, move: Tracking.Move): ExclusiveTracking =>
  exclusiveTracking(move, {
    get: () => trackingPosition(statement, move.key),
    set: (position) => {
      const { projection, version, upstream, slice } = move.key
      statement(
        "INSERT OR REPLACE INTO stored_tracking (projection, projection_version, upstream, slice, position) VALUES (?, ?, ?, ?, ?)"
      ).run(projection, version, upstream, slice, position)
    }
  })
