/** Views that are tables of a SQL database, with their tracking, their leases and what is set aside. */
import type { Context } from "effect"
import { Clock, Effect } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { SqlClient, SqlError } from "effect/sql"
import type { ProjectionHasDependents, RecorderError } from "../../EventSourcingError.ts"
import {
  isRecorderError,
  isRecorderUnavailable,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  RecorderFailure,
  RecorderUnavailable,
  TrackingConflict
} from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type {
  DeadLetter,
  Mode,
  Move,
  Opened,
  Progress,
  Seen,
  SeenEvent,
  Status,
  Transaction,
  ViewStore
} from "../../ViewStore.ts"
import { gather } from "../concurrency/gather.ts"
import type { Begun } from "../projection/beginAt.ts"
import { beginAgain, beginAt, continues } from "../projection/beginAt.ts"
import { ignoredFrom } from "../projection/ignored.ts"
import { makeLocalProgress } from "../projection/localProgress.ts"
import { WorkAborted } from "../projection/workAborted.ts"

/** What differs between databases. */
export interface Dialect {
  /** Where the library's own tables are: before their names. */
  readonly own: string
  /** The place of a version whose row names none: as every version had it once, and as most still have. */
  readonly defaultPlace: (key: Tracking.Key) => string
  /** The names of the tables and indexes of a place, quoted. */
  readonly table: (place: string, name: string) => string
  readonly index: (place: string, name: string) => string
  /** Waits until nobody else makes or removes versions of this projection. */
  readonly lock: (key: Omit<Tracking.Key, "version">) => Effect.Effect<void, SqlError.SqlError>
  /** Makes a place for the tables of a new version, which is nobody else's, and returns its name. */
  readonly makePlace: (key: Tracking.Key) => Effect.Effect<string, SqlError.SqlError | RecorderFailure>
  /** Fails if a place is somebody else's; records whose it is if nothing says so yet. */
  readonly claimPlace: (key: Tracking.Key, place: string) => Effect.Effect<void, SqlError.SqlError | RecorderFailure>
  /**
   * Removes the tables of a version, and with `keep` leaves their place, empty. Fails if the place is somebody else's,
   * or if something outside of it depends on what is in it.
   */
  readonly removePlace: (
    key: Tracking.Key,
    place: string,
    options: { readonly keep: boolean }
  ) => Effect.Effect<void, SqlError.SqlError | RecorderFailure | ProjectionHasDependents>
  /** Appends that do not keep an inline version up are refused no longer. */
  readonly release: (key: Tracking.Key, place: string) => Effect.Effect<void, SqlError.SqlError>
  /** What is behind a SELECT of rows that are about to be changed. */
  readonly forUpdate: string
  /** The time by which leases expire, in milliseconds since the epoch. */
  readonly now: Effect.Effect<bigint, SqlError.SqlError>
  /** Has the transaction of the calling fiber, if it is in one, refuse fibers whose handler has ended; see `handling.ts`. */
  readonly guard: Effect.Effect<void>
  /** Fails what is short and has no answer in time; if it is left out, there is always one. */
  readonly brief?: <A, R>(
    operation: string,
    work: Effect.Effect<A, SqlError.SqlError, R>
  ) => Effect.Effect<A, SqlError.SqlError | RecorderError, R>
  /** Runs a transaction that fails if its BEGIN has no answer in time; if it is left out, there is always one. */
  readonly transaction?: <A, E, R>(
    operation: string,
    transaction: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError.SqlError | RecorderError, R>
  /** The first statement of a transaction: no lock is waited for without end. */
  readonly boundWaits: Effect.Effect<void, SqlError.SqlError>
  /** Who holds a version's row for now, in words, where the database can tell. */
  readonly holder?: (key: Tracking.Key) => Effect.Effect<string | undefined, SqlError.SqlError>
  /** How a transaction is begun. */
  readonly begin: string
  /** Bounds what moves of tracking cost others; if it is left out, they wait for none. */
  readonly turns?: {
    /** Runs a move in its turn; `begun` is to be run when its transaction has begun, and returns how long it may take. */
    readonly take: <A, E, R>(
      operation: string,
      move: (begun: Effect.Effect<number>) => Effect.Effect<A, E, R>
    ) => Effect.Effect<A, E | RecorderError, R>
  }
  readonly toRecorderError: (operation: string, error: SqlError.SqlError) => RecorderError
}

/** The tables of the library's own. */
export const tables = (own: string): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${own}projection_tracking (
  projection text    NOT NULL,
  version    integer NOT NULL,
  upstream   text    NOT NULL,
  slice      integer NOT NULL,
  mode       text    NOT NULL,
  status     text    NOT NULL,
  log_id     text    NOT NULL,
  aggregates text    NOT NULL,
  position   bigint,
  seen       text,
  begins     text,
  PRIMARY KEY (projection, version, upstream, slice)
)`,
  `CREATE TABLE IF NOT EXISTS ${own}projection_dead_letters (
  projection     text    NOT NULL,
  version        integer NOT NULL,
  upstream       text    NOT NULL,
  slice          integer NOT NULL,
  position       bigint  NOT NULL,
  stream         text    NOT NULL,
  stream_version integer NOT NULL,
  event_id       text    NOT NULL,
  type           text    NOT NULL,
  cause          text    NOT NULL,
  attempts       integer NOT NULL,
  set_aside_at   bigint  NOT NULL,
  PRIMARY KEY (projection, version, upstream, slice, position)
)`,
  `CREATE TABLE IF NOT EXISTS ${own}projection_leases (
  projection text    NOT NULL,
  version    integer NOT NULL,
  upstream   text    NOT NULL,
  slice      integer NOT NULL,
  holder     text    NOT NULL,
  expires_at bigint  NOT NULL,
  length     bigint,
  length_of  text,
  PRIMARY KEY (projection, version, upstream, slice)
)`
]

/** What tables that an earlier version of the library made lack; that version goes on working with them. */
export const added: ReadonlyArray<{ readonly table: string; readonly column: string; readonly type: string }> = [
  { table: "projection_tracking", column: "seen", type: "text" },
  { table: "projection_tracking", column: "begins", type: "text" },
  // the types of events that it has ignored, as JSON; NULL: nothing is noted of that
  { table: "projection_tracking", column: "ignores", type: "text" },
  // the name of the version's place; NULL: the default one
  { table: "projection_tracking", column: "place", type: "text" },
  // 1: it has been level, and is read by those who are defined with it
  { table: "projection_tracking", column: "ready", type: "integer NOT NULL DEFAULT 0" },
  // how long a lease is taken for, in milliseconds, and by whom: a holder of an earlier version leaves the last one's
  { table: "projection_leases", column: "length", type: "bigint" },
  { table: "projection_leases", column: "length_of", type: "text" }
]

/** The time that has passed, in milliseconds: not the time of day, which can be set. */
const passed = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

const isAborted = (error: SqlError.SqlError): boolean =>
  error.message.includes("COMMIT rolled back an aborted transaction")

/** A failure of the work that is done in a transaction, told apart from the transaction's own. */
class WorkFailed<out E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/** What a transaction fails with, for what there is within it. */
type OutOf<E> = E extends SqlError.SqlError ? never : E extends WorkFailed<infer Own> ? Own : E

/** Numbers that may be beyond what a number tells apart come as text. */
const COLUMNS = "version, status, mode, log_id, CAST(position AS text), aggregates, seen, begins, place, ready, ignores"
const LETTER =
  "CAST(position AS text), stream, stream_version, event_id, type, cause, attempts, CAST(set_aside_at AS text)"

const OWN_TABLES = ["projection_dead_letters", "projection_leases", "projection_tracking"] as const

/** By the column itself, not by its text, which has the same name among what is selected. */
const BY_POSITION = "ORDER BY projection_dead_letters.position"

type Row = ReadonlyArray<unknown>

/** A lease that somebody else has, as it was when it was looked at. */
interface Watched {
  readonly holder: string
  readonly expiresAt: string
  /** How long it was taken for, in milliseconds. */
  readonly length: number
  /** Since when it is like this, by the time that passes here, in milliseconds. */
  readonly since: number
}

/** A lease to take, or to hold on to. */
interface Lease {
  readonly key: Tracking.Key
  readonly holder: string
  readonly milliseconds: number
}

const MOVING = "move a tracking position"

/** How long the work of a move goes on where nobody waits for it, in milliseconds: so that it shows how far it has come. */
const HOLD = 1000

/** Leases in a statement at most: a statement has a bounded number of parameters. */
const MOST_LEASES = 500

/** A version of a projection, and the name of its place. */
interface Placed {
  readonly progress: ReturnType<typeof toOpened>
  readonly place: string
}

const toProgress = ([
  version,
  status,
  mode,
  logId,
  position,
  aggregates,
  _seen,
  _begins,
  _place,
  ready
]: Row): Progress => ({
  version: Number(version),
  status: status as Status,
  ready: status === "current" || Number(ready) === 1,
  mode: mode as Mode,
  logId: String(logId),
  position: position == null ? undefined : fromStorage(BigInt(String(position))),
  aggregates: aggregates === "" ? [] : String(aggregates).split(",")
})

/** Each event is noted with each of the next few moves as well. */
const texts = new WeakMap<object, string>()
const textOf = <A extends object>(what: A, toText: (what: A) => string): string => {
  const known = texts.get(what)
  if (known !== undefined) return known
  const text = toText(what)
  texts.set(what, text)
  return text
}

const encodeEvent = ({ position, id, stream }: SeenEvent) => JSON.stringify([`${position}`, id, stream])

/** What is noted of a log, as JSON. */
const encodeSeen = ({ position, aggregates, recordedAt, events }: Seen): string => {
  let noted = ""
  for (const event of events) noted += `${noted === "" ? "" : ","}${textOf(event, encodeEvent)}`
  return `{"position":"${position}","aggregates":${textOf(aggregates, JSON.stringify)},"recordedAt":${recordedAt},"events":[${noted}]}`
}

/** What was noted of a log; nothing if somebody who knows nothing of it has moved the tracking since. */
const decodeSeen = (text: unknown, position: Position | undefined): Seen | undefined => {
  if (typeof text !== "string" || position === undefined) return undefined
  const noted: {
    readonly position: string
    readonly aggregates: ReadonlyArray<string>
    readonly recordedAt: number
    readonly events: ReadonlyArray<readonly [position: string, id: string, stream: string]>
  } = JSON.parse(text)
  if (BigInt(noted.position) !== position) return undefined
  return {
    position,
    aggregates: noted.aggregates,
    recordedAt: noted.recordedAt,
    events: noted.events.map(([at, id, stream]) => ({ position: fromStorage(BigInt(at)), id, stream }))
  }
}

const toOpened = (row: Row): Opened & { readonly begins: string | undefined } => {
  const progress = toProgress(row)
  const begins = row[7]
  return {
    ...progress,
    seen: decodeSeen(row[6], progress.position),
    ignored: typeof row[10] === "string" ? (JSON.parse(row[10]) as ReadonlyArray<string>) : undefined,
    begins: typeof begins === "string" ? begins : undefined
  }
}

const stored = ({ position, seen, begins }: Begun): ReadonlyArray<unknown> => [
  position ?? null,
  seen === undefined ? null : encodeSeen(seen),
  begins ?? null
]

const toLetter = ([position, stream, streamVersion, eventId, type, cause, attempts, setAsideAt]: Row): DeadLetter => ({
  position: fromStorage(BigInt(String(position))),
  stream: String(stream),
  streamVersion: Number(streamVersion),
  eventId: String(eventId),
  type: String(type),
  cause: String(cause),
  attempts: Number(attempts),
  setAsideAt: Number(setAsideAt)
})

/** The store of views in a database whose tables are there. */
export const make = (sql: SqlClient.SqlClient, dialect: Dialect): ViewStore<SqlView, SqlClient.SqlClient> => {
  const { own, turns } = dialect
  const localProgress = makeLocalProgress()
  const p = (n: number) => sql.onDialectOrElse({ pg: () => `$${n}`, orElse: () => `?${n}` })
  const keyed = `projection = ${p(1)} AND version = ${p(2)} AND upstream = ${p(3)} AND slice = ${p(4)}`
  const parameters = ({ projection, version, upstream, slice }: Tracking.Key): ReadonlyArray<unknown> => [
    projection,
    version,
    upstream,
    slice
  ]
  const rows = (text: string, values: ReadonlyArray<unknown>) =>
    sql.unsafe(text, values).values as Effect.Effect<ReadonlyArray<Row>, SqlError.SqlError>

  const MOVE = `UPDATE ${own}projection_tracking SET position = ${p(5)}, seen = ${p(7)}
WHERE ${keyed} AND position IS NOT DISTINCT FROM ${p(6)} AND (status <> 'retired' OR ready = 1) RETURNING place`
  const FIND = `SELECT ${COLUMNS} FROM ${own}projection_tracking WHERE ${keyed}`
  const VERSIONS = `SELECT ${COLUMNS} FROM ${own}projection_tracking
WHERE projection = ${p(1)} AND upstream = ${p(2)} AND slice = ${p(3)} ORDER BY version`
  const listed = sql.onDialectOrElse({
    pg: () => `SELECT json_array_elements_text(${p(1)}::json)`,
    orElse: () => `SELECT value FROM json_each(${p(1)})`
  })
  const VERSIONS_OF_ALL = `SELECT ${COLUMNS}, projection, upstream, slice FROM ${own}projection_tracking
WHERE projection IN (${listed}) ORDER BY version`
  const CREATE = `INSERT INTO ${own}projection_tracking
  (projection, version, upstream, slice, mode, status, log_id, aggregates, place, position, seen, begins)
VALUES (${[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map(p).join(", ")})`
  const END_AT = `UPDATE ${own}projection_tracking SET position = ${p(5)}, seen = ${p(6)} WHERE ${keyed}`
  const NOTE = `UPDATE ${own}projection_tracking SET seen = ${p(5)} WHERE ${keyed} AND position = ${p(6)}`
  const SET_STATUS = `UPDATE ${own}projection_tracking SET status = ${p(5)}, ready = ${p(6)} WHERE ${keyed}`
  const EMPTY = `UPDATE ${own}projection_tracking SET position = NULL, seen = NULL, log_id = '', aggregates = '', ignores = NULL WHERE ${keyed}`
  const ADOPT = `UPDATE ${own}projection_tracking SET log_id = ${p(5)}, aggregates = ${p(6)}, position = ${p(7)}, seen = ${p(8)}, begins = ${p(9)}
WHERE ${keyed} AND log_id = ''`
  const IGNORE = `UPDATE ${own}projection_tracking SET ignores = ${p(5)} WHERE ${keyed}`
  const LOCK = `UPDATE ${own}projection_tracking SET slice = slice WHERE ${keyed} RETURNING place`
  const SET_ASIDE = `INSERT INTO ${own}projection_dead_letters
  (projection, version, upstream, slice, position, stream, stream_version, event_id, type, cause, attempts, set_aside_at)
VALUES (${[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map(p).join(", ")})`
  const TAKE_OVER = `UPDATE ${own}projection_dead_letters SET version = ${p(5)} WHERE ${keyed}`
  const IS_SET_ASIDE = `SELECT 1 FROM ${own}projection_dead_letters WHERE ${keyed} AND stream = ${p(5)} LIMIT 1`
  const LETTERS = `SELECT ${LETTER} FROM ${own}projection_dead_letters WHERE ${keyed} ${BY_POSITION}`
  const LETTERS_OF = `SELECT ${LETTER} FROM ${own}projection_dead_letters WHERE ${keyed} AND stream = ${p(5)} ${BY_POSITION}`
  const TAKE_BACK = `DELETE FROM ${own}projection_dead_letters WHERE ${keyed} AND position = ${p(5)} AND NOT EXISTS (
  SELECT 1 FROM ${own}projection_dead_letters AS earlier
  WHERE ${keyed} AND earlier.position < ${p(5)} AND earlier.stream = projection_dead_letters.stream
) RETURNING stream`
  const TRIED = `UPDATE ${own}projection_dead_letters SET attempts = attempts + 1, cause = ${p(6)} WHERE ${keyed} AND position = ${p(5)}`
  /**
   * Takes leases: those that are free, and those of others that were watched for as long as they were taken for. The time is
   * the first parameter.
   */
  const leaseAll = (count: number, over: number) => `INSERT INTO ${own}projection_leases
  (projection, version, upstream, slice, holder, expires_at, length, length_of)
VALUES ${Array.from({ length: count }, (_, i) => `(${[2, 3, 4, 5, 6, 7, 8, 6].map((n) => p(7 * i + n)).join(", ")})`).join(", ")}
ON CONFLICT (projection, version, upstream, slice) DO UPDATE SET
  holder = excluded.holder, expires_at = excluded.expires_at, length = excluded.length, length_of = excluded.length_of
WHERE projection_leases.holder = excluded.holder OR projection_leases.expires_at <= ${p(1)}${Array.from(
    { length: over },
    (_, i) =>
      `\n  OR (${["projection", "version", "upstream", "slice", "holder", "expires_at"].map((column, n) => `projection_leases.${column} = ${p(7 * count + 2 + 6 * i + n)}`).join(" AND ")})`
  ).join("")}
RETURNING projection, version, upstream, slice`
  const LEASED = `SELECT holder, CAST(expires_at AS text), CAST(length AS text), length_of, projection, version, upstream, slice
FROM ${own}projection_leases WHERE projection IN (${listed})`
  const RELEASE = `DELETE FROM ${own}projection_leases WHERE ${keyed} AND holder = ${p(5)}`
  const DISCARD_STREAM = `DELETE FROM ${own}projection_dead_letters WHERE ${keyed} AND stream = ${p(5)} RETURNING stream`
  const DISCARD_EVENT = `DELETE FROM ${own}projection_dead_letters WHERE ${keyed} AND event_id = ${p(5)} RETURNING stream`
  const removeAll = (table: string) =>
    `DELETE FROM ${own}${table} WHERE projection = ${p(1)} AND upstream = ${p(2)} AND slice = ${p(3)}`
  const remove = (table: string) => `DELETE FROM ${own}${table} WHERE ${keyed}`

  /** Leases of others that are waited for. */
  const watching = new Map<string, Watched>()
  /**
   * Looks at the lease of somebody else. One that was not renewed for as long as it was taken for is free, whenever its holder
   * believed that it ends: the holder's clock may have been ahead.
   */
  const watch = Effect.fnUntraced(function* (keys: ReadonlyArray<Tracking.Key>) {
    if (keys.length === 0) return
    const now = yield* passed
    const found = new Map<string, Row>()
    for (const row of yield* rows(LEASED, [JSON.stringify([...new Set(keys.map((key) => key.projection))])])) {
      found.set(leaseNameOf(row.slice(4)), row)
    }
    for (const key of keys) {
      const name = nameOf(key)
      const row = found.get(name)
      if (row === undefined || row[2] == null || row[3] !== row[0]) {
        watching.delete(name)
        continue
      }
      const [holder, expiresAt] = [String(row[0]), String(row[1])]
      const before = watching.get(name)
      if (before?.holder === holder && before.expiresAt === expiresAt) continue
      watching.set(name, { holder, expiresAt, length: Number(row[2]), since: now })
    }
  })
  /** The name, see `nameOf`, of the key that begins a row. */
  const leaseNameOf = ([projection, version, upstream, slice]: Row): string =>
    JSON.stringify([String(projection), Number(version), String(upstream), Number(slice)])

  /** Places as they were when a row was last read: so that what goes on in one needs no row of its own. */
  const places = new Map<string, string>()
  const nameOf = (key: Tracking.Key): string => JSON.stringify(parameters(key))
  /** Remembers the place that is in a row, and returns it. */
  const noted = (key: Tracking.Key, place: unknown): string => {
    const name = place == null ? dialect.defaultPlace(key) : String(place)
    places.set(nameOf(key), name)
    return name
  }

  const viewIn = (place: string, { version }: Tracking.Key): SqlView => ({
    sql,
    table: (name) => sql.literal(dialect.table(place, name)),
    index: (name) => sql.literal(dialect.index(place, name)),
    version
  })

  const isInTransaction = (context: Context.Context<never>) => context.mapUnsafe.has(sql.transactionService.key)

  /** Something short; in a transaction it has the time that the transaction has. */
  const brief = <A, R>(
    operation: string,
    work: Effect.Effect<A, SqlError.SqlError, R>
  ): Effect.Effect<A, RecorderError, R> =>
    Effect.mapError(
      Effect.contextWith((context: Context.Context<R>) =>
        dialect.brief === undefined || isInTransaction(context) ? work : dialect.brief(operation, work)
      ),
      (error) => (SqlError.isSqlError(error) ? dialect.toRecorderError(operation, error) : error)
    )
  const select = (operation: string, text: string, values: ReadonlyArray<unknown>) =>
    brief(operation, rows(text, values))

  /** The user's part of a transaction, with the client of the view's database. */
  const work = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.andThen(dialect.guard, self).pipe(
      Effect.mapError((error) => new WorkFailed(error)),
      Effect.provideService(SqlClient.SqlClient, sql),
      // how this transaction was begun is nothing to those that the work begins elsewhere
      Effect.provideService(SqlClient.BeginTransaction, undefined)
    )

  /** Fails a transaction whose connection is silent when it begins, unless it is part of the caller's. */
  const beginningInTime = <A, E, R>(operation: string, transaction: Effect.Effect<A, E, R>) =>
    Effect.contextWith(
      (context: Context.Context<R>): Effect.Effect<A, E | SqlError.SqlError | RecorderError, R> =>
        dialect.transaction === undefined || isInTransaction(context)
          ? transaction
          : dialect.transaction(operation, transaction)
    )

  /** A transaction of our own, whatever the caller is in. */
  const inTransaction = <A, E, R, Aborted = never>(
    operation: string,
    self: Effect.Effect<A, E, R>,
    toAborted?: (error: SqlError.SqlError) => Aborted | undefined
  ): Effect.Effect<A, OutOf<E> | RecorderError | Aborted, R> =>
    beginningInTime(operation, sql.withTransaction(Effect.andThen(dialect.boundWaits, self))).pipe(
      Effect.mapError((error): OutOf<E> | RecorderError | Aborted => {
        if (error instanceof WorkFailed) return error.error
        if (!SqlError.isSqlError(error)) return error as OutOf<E>
        return toAborted?.(error) ?? dialect.toRecorderError(operation, error)
      }),
      // where the connection is gone nothing can be rolled back on it, and the client makes defects of what failed
      Effect.catchDefect((defect): Effect.Effect<never, OutOf<E> | RecorderError> => {
        if (SqlError.isSqlError(defect)) return Effect.fail(dialect.toRecorderError(operation, defect))
        if (defect instanceof WorkFailed) return Effect.fail(defect.error)
        return isRecorderError(defect) ? Effect.fail(defect) : Effect.die(defect)
      }),
      Effect.provideService(SqlClient.BeginTransaction, dialect.begin)
    )

  /** The same that ends with the user's {@link work}, which may go on after one of its statements has failed. */
  const inTransactionOfWork = <A, E, R>(operation: string, self: Effect.Effect<A, E, R>) =>
    inTransaction(operation, self, (error) => (isAborted(error) ? new WorkAborted() : undefined))

  /** Adds who holds a version's row to the error of a wait for it. */
  const namingHolder =
    (key: Tracking.Key) =>
    <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
      const { holder } = dialect
      if (holder === undefined) return self
      return Effect.tapError(self, (error): Effect.Effect<void, E> => {
        if (!isRecorderUnavailable(error) || error.waited === undefined) return Effect.void
        return Effect.flatMap(
          Effect.orElseSucceed(brief("find who holds a projection", holder(key)), () => undefined),
          (by) => (by === undefined ? Effect.void : Effect.fail(heldBy(error, by) as E & RecorderUnavailable))
        )
      })
    }

  const find = Effect.fnUntraced(function* (key: Tracking.Key) {
    const [row] = yield* rows(FIND, parameters(key))
    return row === undefined ? undefined : toPlaced(key, row)
  })
  const toPlaced = (key: Omit<Tracking.Key, "version">, row: Row): Placed => {
    const progress = toOpened(row)
    return { progress, place: noted({ ...key, version: progress.version }, row[8]) }
  }
  const placedOf = (key: Omit<Tracking.Key, "version">, suffix = "") =>
    Effect.map(rows(VERSIONS + suffix, [key.projection, key.upstream, key.slice]), (found) =>
      found.map((row) => toPlaced(key, row))
    )
  const versionsOf = (key: Omit<Tracking.Key, "version">, suffix = "") =>
    Effect.map(rows(VERSIONS + suffix, [key.projection, key.upstream, key.slice]), (found) =>
      found.map((row) => {
        const progress = toProgress(row)
        noted({ ...key, version: progress.version }, row[8])
        return progress
      })
    )

  /** Versions of several projections, each as {@link versionsOf} has them. */
  const versionsOfAll = Effect.fnUntraced(function* (keys: NonEmptyReadonlyArray<Omit<Tracking.Key, "version">>) {
    const asked = new Map(keys.map((key) => [nameOf({ ...key, version: 0 }), key]))
    if (asked.size === 1) {
      const found = yield* versionsOf(keys[0])
      return keys.map(() => found)
    }
    const found = new Map<string, Array<Progress>>()
    for (const row of yield* rows(VERSIONS_OF_ALL, [JSON.stringify([...new Set(keys.map((key) => key.projection))])])) {
      const of = nameOf({ projection: String(row[11]), version: 0, upstream: String(row[12]), slice: Number(row[13]) })
      const key = asked.get(of)
      if (key === undefined) continue
      const progress = toProgress(row)
      noted({ ...key, version: progress.version }, row[8])
      found.set(of, [...(found.get(of) ?? []), progress])
    }
    return keys.map((key) => found.get(nameOf({ ...key, version: 0 })) ?? [])
  })

  /** Takes leases, or holds on to them, one of a key; tells which of them it has. */
  const takeLeases = Effect.fnUntraced(function* (taken: ReadonlyArray<Lease>) {
    const now = yield* dialect.now
    // in one order: of two who take the same ones each would otherwise wait for what the other has
    const sorted = taken.toSorted((a, b) => (nameOf(a.key) < nameOf(b.key) ? -1 : 1))
    const values = sorted.flatMap(({ key, holder, milliseconds }) => {
      const length = BigInt(Math.ceil(milliseconds))
      return [...parameters(key), holder, now + length, length]
    })
    const time = yield* passed
    const over = sorted.flatMap(({ key }) => {
      const watched = watching.get(nameOf(key))
      return watched !== undefined && time - watched.since >= watched.length
        ? [[...parameters(key), watched.holder, BigInt(watched.expiresAt)]]
        : []
    })
    const held = yield* rows(leaseAll(sorted.length, over.length), [now, ...values, ...over.flat()])
    const names = new Set(held.map(leaseNameOf))
    yield* watch(sorted.filter(({ key }) => !names.has(nameOf(key))).map(({ key }) => key))
    for (const name of names) watching.delete(name)
    return names
  })

  const leaseEach = Effect.fnUntraced(function* (asked: ReadonlyArray<Lease>) {
    const answers = new Map<Lease, boolean>()
    let left = asked
    while (left.length > 0) {
      // a statement can't take one key for two holders
      const next = new Map<string, Lease>()
      for (const one of left) if (next.size < MOST_LEASES && !next.has(nameOf(one.key))) next.set(nameOf(one.key), one)
      const held = yield* takeLeases([...next.values()])
      for (const [name, one] of next) answers.set(one, held.has(name))
      left = left.filter((one) => !answers.has(one))
    }
    return asked.map((one) => answers.get(one) === true)
  })

  const refused = Effect.fnUntraced(function* ({ key, from }: Move) {
    const there = (yield* find(key))?.progress
    const { projection, version, upstream } = key
    if (there?.status === "retired" && !there.ready) {
      const current = (yield* versionsOf(key)).find(({ status }) => status === "current")
      return yield* new ProjectionSuperseded({ projection, version, by: current?.version ?? version })
    }
    return yield* new TrackingConflict({ projection, upstream, expected: from, actual: there?.position })
  })

  /** Lower versions are kept up no longer; with `keep` those go on that have a runner. */
  const retireBelow = Effect.fnUntraced(function* (key: Tracking.Key, all: ReadonlyArray<Placed>, keep: boolean) {
    for (const { progress, place } of all) {
      const { version, status, mode, ready } = progress
      if (version >= key.version) continue
      const old = { ...key, version }
      const kept = keep && mode === "followed"
      // one that is being made goes on, and is ready when it is level, too
      if (kept && status === "building") continue
      yield* rows(SET_STATUS, [...parameters(old), "retired", kept && ready ? 1 : 0])
      if (mode === "inline" && status !== "retired") yield* dialect.release(old, place)
    }
  })

  const transactionOf = (key: Tracking.Key): Pick<Transaction, "setAside" | "isSetAside" | "discard"> => ({
    setAside: ({ position, stream, streamVersion, eventId, type, cause, attempts, setAsideAt }) => {
      const letter = [position, stream, streamVersion, eventId, type, cause, attempts, BigInt(setAsideAt)]
      return Effect.asVoid(select("set an event aside", SET_ASIDE, [...parameters(key), ...letter]))
    },
    isSetAside: (stream) =>
      Effect.map(
        select("look for events that are set aside", IS_SET_ASIDE, [...parameters(key), stream]),
        (found) => found.length > 0
      ),
    discard: (stream) =>
      Effect.map(
        select("discard what is set aside", DISCARD_STREAM, [...parameters(key), stream]),
        (found) => found.length
      )
  })

  const lease = gather(
    (leases: NonEmptyReadonlyArray<Lease>) => brief("take the lease of a projection", leaseEach(leases)),
    isInTransaction
  )

  const store: ViewStore<SqlView, SqlClient.SqlClient> = {
    localProgress,

    open: (key, { mode, logId, aggregates, setup, beginning, ignored = [], existing = false, beside = false }) => {
      let tookOver = false
      const opened = inTransaction(
        "open a view",
        Effect.gen(function* () {
          tookOver = false
          const { projection, version } = key
          yield* dialect.lock(key)
          const all = yield* placedOf(key, dialect.forUpdate)
          const current = all.find(({ progress }) => progress.status === "current")?.progress
          const placed = all.find(({ progress }) => progress.version === version)
          const there = placed?.progress
          const isOver = there?.status === "retired" || (current !== undefined && current.version > version)
          if (isOver && !(beside && there !== undefined)) {
            return yield* new ProjectionSuperseded({ projection, version, by: current?.version ?? version })
          }
          if (placed === undefined || there === undefined) {
            if (existing) return yield* new ProjectionRemoved({ projection, version })
            const place = yield* dialect.makePlace(key)
            yield* work(setup(viewIn(place, key)))
            // an inline one is current when every append keeps it up
            const isCurrent = beginning !== undefined || (current === undefined && mode === "followed")
            const status: Status = isCurrent ? "current" : "building"
            const begun = beginAt(beginning, current, logId)
            const row = [mode, status, begun.logId, aggregates.join(","), place, ...stored(begun)]
            yield* rows(CREATE, [...parameters(key), ...row])
            noted(key, place)
            yield* rows(IGNORE, [...parameters(key), JSON.stringify(ignored)])
            if (beginning !== undefined) {
              // what was set aside is its business from now on
              if (continues(beginning, current)) {
                yield* rows(TAKE_OVER, [...parameters({ ...key, version: current.version }), version])
              }
              yield* retireBelow(key, all, false)
              tookOver = current !== undefined
            }
            return { version, status, ready: isCurrent, mode, aggregates, ...begun }
          }
          if (there.mode !== mode) return yield* new ProjectionModeChanged({ projection, version, mode: there.mode })
          yield* dialect.claimPlace(key, placed.place)
          // one that was left behind before it was level, or by a version of the library that kept none
          const status = there.status === "retired" && !there.ready ? "building" : there.status
          if (status !== there.status) yield* rows(SET_STATUS, [...parameters(key), status, 0])
          const ignores = ignoredFrom(there, ignored)
          if (ignores !== undefined) yield* rows(IGNORE, [...parameters(key), JSON.stringify(ignores)])
          if (there.logId !== "") return { ...there, status }
          const begun = { ...beginAgain(beginning, there, logId), begins: beginning?.from }
          yield* rows(ADOPT, [...parameters(key), logId, aggregates.join(","), ...stored(begun)])
          return { ...there, status, aggregates, ...begun, ignored: undefined }
        })
      ).pipe(namingHolder(key))
      return Effect.tap(opened, () =>
        Effect.sync(() => (tookOver ? localProgress(key.projection).switched() : undefined))
      )
    },

    versions: gather((keys) => brief("read how far projections have come", versionsOfAll(keys)), isInTransaction),

    transact: (move, f) => {
      const { key, from, to, seen } = move
      const refusal = Tracking.refusal(move)
      if (refusal !== undefined) {
        return Effect.fail(new RecorderFailure({ operation: "move a tracking position", reason: refusal }))
      }
      const tracked = localProgress(key.projection)
      const encoded = (noted: Seen | undefined) => (noted === undefined ? null : encodeSeen(noted))
      const moving = (begun: Effect.Effect<number>) => {
        let end = to
        const moved = Effect.gen(function* () {
          const clock = yield* Clock.Clock
          const until = clock.currentTimeMillisUnsafe() + (yield* begun)
          const [row] = yield* rows(MOVE, [...parameters(key), to, from ?? null, encoded(seen)])
          if (row === undefined) return yield* refused(move)
          end = to
          const transaction: Transaction = {
            ...transactionOf(key),
            left: () => until - clock.currentTimeMillisUnsafe(),
            endAt: (position, noted) =>
              Effect.map(select(MOVING, END_AT, [...parameters(key), position, encoded(noted)]), () => {
                end = position
              })
          }
          return yield* work(f(viewIn(noted(key, row[0]), key), transaction))
        })
        return Effect.tap(inTransactionOfWork(MOVING, moved).pipe(namingHolder(key)), () =>
          Effect.sync(() => tracked.reached(key.version, end))
        )
      }
      return Effect.contextWith((context: Context.Context<never>) =>
        turns === undefined || isInTransaction(context) ? moving(Effect.succeed(HOLD)) : turns.take(MOVING, moving)
      )
    },

    note: (key, seen) =>
      Effect.asVoid(select("note what a view has seen", NOTE, [...parameters(key), encodeSeen(seen), seen.position])),

    read: (key, f) => {
      const reading = (place: string) =>
        // inline handlers are in the transaction of their append
        Effect.andThen(dialect.guard, Effect.provideService(f(viewIn(place, key)), SqlClient.SqlClient, sql))
      return Effect.suspend(() => {
        const place = places.get(nameOf(key))
        if (place !== undefined) return reading(place)
        return Effect.flatMap(brief("find the place of a view", find(key)), (found) =>
          reading(found?.place ?? dialect.defaultPlace(key))
        )
      })
    },

    promote: (key, { keep = false } = {}) =>
      Effect.tap(
        inTransaction(
          "make a version the current one",
          Effect.gen(function* () {
            const placed = yield* placedOf(key, dialect.forUpdate)
            const all = placed.map(({ progress }) => progress)
            const mine = all.find(({ version }) => version === key.version)
            if (mine === undefined || mine.status !== "building") return mine?.status === "current"
            const current = all.find(({ status }) => status === "current")
            if (current !== undefined) {
              if (isBehind(mine.position, current.position)) return false
              if (current.version > key.version) {
                yield* rows(SET_STATUS, [...parameters(key), "retired", keep ? 1 : 0])
                return false
              }
            }
            yield* retireBelow(key, placed, keep)
            yield* rows(SET_STATUS, [...parameters(key), "current", keep ? 1 : 0])
            return true
          })
        ),
        () => Effect.sync(() => localProgress(key.projection).switched())
      ),

    reset: (key, setup) =>
      Effect.tap(
        inTransaction(
          "reset a view",
          Effect.gen(function* () {
            const [row] = yield* rows(LOCK, parameters(key))
            if (row === undefined) return false
            const place = noted(key, row[0])
            yield* dialect.removePlace(key, place, { keep: true })
            yield* work(setup(viewIn(place, key)))
            yield* rows(EMPTY, parameters(key))
            yield* rows(remove("projection_dead_letters"), parameters(key))
            return true
          })
        ),
        () => Effect.sync(() => localProgress(key.projection).forget(key.version))
      ),

    remove: (of, { current = false } = {}) =>
      Effect.tap(
        inTransaction(
          "remove a projection",
          Effect.gen(function* () {
            yield* dialect.lock(of)
            const all = yield* placedOf(of, dialect.forUpdate)
            const isDoomed = ({ status, version }: Progress) =>
              of.version === undefined || (of.version === version && (current || status !== "current"))
            const doomed = all.filter(({ progress }) => isDoomed(progress))
            for (const { place, progress } of doomed) {
              const key = { ...of, version: progress.version }
              if (progress.mode === "inline") yield* dialect.release(key, place)
              yield* dialect.removePlace(key, place, { keep: false })
              for (const table of OWN_TABLES) yield* rows(remove(table), parameters(key))
            }
            if (of.version === undefined) {
              // also of versions that were never made: leases
              for (const table of OWN_TABLES) yield* rows(removeAll(table), [of.projection, of.upstream, of.slice])
            }
            if (doomed.some(({ progress }) => progress.status === "current")) {
              const left = all.filter(({ progress }) => progress.ready && !isDoomed(progress))
              const next = left[left.length - 1]?.progress
              if (next !== undefined) yield* rows(SET_STATUS, [...parameters({ ...of, ...next }), "current", 1])
            }
            return doomed.map(({ progress }) => progress.version)
          })
        ),
        (removed) =>
          Effect.sync(() => {
            for (const version of removed) localProgress(of.projection).forget(version)
          })
      ).pipe(Effect.map((removed) => removed.length > 0)),

    deadLetters: (key, stream) =>
      Effect.map(
        stream === undefined
          ? select("read what is set aside", LETTERS, parameters(key))
          : select("read what is set aside", LETTERS_OF, [...parameters(key), stream]),
        (found) => found.map(toLetter)
      ),

    takeBack: (key, position, f) =>
      inTransactionOfWork(
        "take back an event that is set aside",
        Effect.gen(function* () {
          // as of now no batch of this projection is committed until this is
          const [row] = yield* rows(LOCK, parameters(key))
          const found = yield* rows(TAKE_BACK, [...parameters(key), position])
          if (row === undefined || found.length === 0) return false
          yield* work(f(viewIn(noted(key, row[0]), key)))
          return true
        })
      ),

    discard: (key, what) =>
      inTransaction(
        "discard what is set aside",
        Effect.gen(function* () {
          // no batch of this projection sets something aside meanwhile
          yield* rows(LOCK, parameters(key))
          // a letter has both, and means itself
          const [text, value] = "eventId" in what ? [DISCARD_EVENT, what.eventId] : [DISCARD_STREAM, what.stream]
          return (yield* rows(text, [...parameters(key), value])).length
        })
      ),

    triedAgain: (key, position, cause) =>
      Effect.asVoid(select("note that an event was tried again", TRIED, [...parameters(key), position, cause])),

    lease: (key, holder, milliseconds) =>
      milliseconds > 0
        ? lease({ key, holder, milliseconds })
        : Effect.as(select("give a lease back", RELEASE, [...parameters(key), holder]), false)
  }
  return store
}

const heldBy = ({ operation, reason, waited, cause }: RecorderUnavailable, by: string): RecorderUnavailable =>
  new RecorderUnavailable({
    ...{ operation, reason: `${reason}; the projection's row is held by ${by}`, cause },
    ...(waited === undefined ? {} : { waited })
  })

const isBehind = (one: Position | undefined, other: Position | undefined): boolean =>
  other !== undefined && (one === undefined || one < other)
