/** The log of events in a PostgreSQL database. */
import { PgClient, PgTypes } from "@effect/sql-pg"
import type { Duration } from "effect"
import { Context, Effect, Layer, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { RecorderError, WrongExpectedVersion } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { assertDistinctStreams } from "../internal/backend/exclusiveAppend.ts"
import { categoryRange } from "../internal/backend/matching.ts"
import type { Bounds } from "../internal/backend/pageSize.ts"
import { lastVersion } from "../internal/backend/versions.ts"
import { followLog } from "../internal/following/followPages.ts"
import type { AppendedToStreams, Check } from "../MultiStreamAppend.ts"
import { MultiStreamAppend } from "../MultiStreamAppend.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { Append, ReadAll, ReadStream } from "../Recorder.ts"
import { Recorder } from "../Recorder.ts"
import { SnapshotRecorder } from "../SnapshotRecorder.ts"
import type { Notification } from "../StoredEvent.ts"
import { StreamCatalog } from "../StreamCatalog.ts"
import type { StreamName } from "../StreamName.ts"
import type { Tracked } from "../TrackedAppend.ts"
import { TrackedAppend } from "../TrackedAppend.ts"
import { TransactionalAppend } from "../TransactionalAppend.ts"
import type { Answer, Sent } from "./appends.ts"
import { looker, sender } from "./appends.ts"
import * as GroupAppend from "./groupAppend.ts"
import { milliseconds } from "./options.ts"
import * as PostgresDatabase from "./PostgresDatabase.ts"
import type { Query } from "./pages.ts"
import { cut, limitOf, pages, toNotification } from "./pages.ts"
import type { Part, Request } from "./parameters.ts"
import { unstorableKey, unstorableRequest } from "./parameters.ts"
import * as Scan from "./scan.ts"
import { snapshots } from "./snapshots.ts"
import { listStreams, trackingPosition } from "./sql/queries.ts"
import * as Wakes from "./wakes.ts"

/** The services that the PostgreSQL recorder provides. */
export type Services =
  | Recorder
  | MultiStreamAppend
  | TrackedAppend
  | TransactionalAppend
  | StreamCatalog
  | SnapshotRecorder

/** How a PostgreSQL log is stored and followed. */
export interface Options extends PostgresDatabase.Options {
  /**
   * Whether followers are woken by `LISTEN`, on one connection of its own for each process that follows. Default true.
   * Set it to false if there is a pooler in transaction mode in between, through which no notification arrives.
   */
  readonly listen?: boolean | undefined
  /** How often a process with followers looks for events of which it was not notified. Default 1 second. */
  readonly pollInterval?: Duration.Input | undefined
}

/** The log in a database. It is created or migrated when the layer is built. */
export const layer = (options: Options = {}): Layer.Layer<Services, RecorderError, PgClient.PgClient> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const database = yield* PostgresDatabase.open(yield* PgClient.PgClient, options)
      const selects = pages(database.schema)
      const head = Effect.map(database.query("read the head of the log", selects.head, [], HEAD_TIMES), positionIn)
      const pollInterval = yield* milliseconds("pollInterval", options.pollInterval ?? "1 second", { least: 1 })
      const wakes = yield* Wakes.make(database, database.outside(head), {
        listen: options.listen ?? true,
        pollInterval
      })
      const send = sender(database)
      const look = looker(database)
      const group = yield* GroupAppend.make((requests) => database.committed(send(requests)))

      const tellFollowers = (position: Position | undefined) => {
        if (position !== undefined) wakes.reached(position)
      }
      const tellFollowersAfterCommit = (position: Position | undefined) =>
        database.client.afterCommit(Effect.sync(() => tellFollowers(position)))
      const recordInTransaction = (request: Request) =>
        Effect.tap(
          PostgresDatabase.inSavepoint(
            database,
            "append",
            Effect.flatMap(send([request]), ([answer]) => answer as Answer)
          ),
          ({ position }) => tellFollowersAfterCommit(position)
        )

      /** Appends in the caller's own transaction if it has one, otherwise together with other appends. */
      const record = (request: Request): Effect.Effect<Sent, GroupAppend.Failure> =>
        Effect.contextWith((context: Context.Context<never>) => {
          const reason = unstorableRequest(request)
          if (reason !== undefined) return Effect.fail(new RecorderFailure({ operation: "append", reason }))
          return database.inTransaction(context)
            ? recordInTransaction(request)
            : Effect.map(group(request), (sent) => {
                tellFollowers(sent.position)
                return sent
              })
        })

      /**
       * Appends after some work, in a transaction of its own or as a part of the caller's.
       *
       * Before the work, the log is read without the position lock, and an outcome that is already certain is returned.
       * Others may still append in between, and the work may fail for that reason alone. The log is therefore read once
       * more after the work has failed, when what it did, and the failed state of its transaction, have been rolled
       * back.
       */
      const recordBehind = <R>(request: Request, work: Effect.Effect<unknown, RecorderError, R>) => {
        const reason = unstorableRequest(request)
        if (reason !== undefined) return Effect.fail(new RecorderFailure({ operation: "append", reason }))
        let hasWorkFailed = false
        const lookAgain = (failure: RecorderError): Effect.Effect<Sent, GroupAppend.Failure> =>
          hasWorkFailed
            ? PostgresDatabase.inTransactionOf(database.client, "append", look(request)).pipe(
                Effect.mapError(() => failure),
                Effect.flatMap((settled): Effect.Effect<Sent, GroupAppend.Failure> => settled ?? Effect.fail(failure))
              )
            : Effect.fail(failure)
        const transaction = (begun: () => void) =>
          PostgresDatabase.inTransactionOf(
            database.client,
            "append",
            Effect.gen(function* () {
              const settled = yield* look(request)
              begun()
              if (settled !== undefined) return yield* settled
              yield* work.pipe(
                Effect.onError(() =>
                  Effect.sync(() => {
                    hasWorkFailed = true
                  })
                ),
                Effect.provideService(SqlClient.BeginTransaction, undefined)
              )
              const [answer] = yield* send([request])
              const sent = yield* answer as Answer
              // the work was done before and must not be done twice: the transaction is abandoned
              if (sent.isRepeated) return yield* Effect.fail(new Repeated(sent))
              yield* tellFollowersAfterCommit(sent.position)
              return sent
            })
          )
        return database.patience.bound("append", transaction).pipe(
          Effect.catchTags({
            Repeated: ({ sent }) => Effect.succeed(sent),
            RecorderFailure: lookAgain,
            RecorderUnavailable: lookAgain
          }),
          Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL READ COMMITTED"),
          Effect.provideService(SqlClient.SqlClient, database.client)
        )
      }

      /** The page of a query, and the payloads that are too long to be read together with all of its rows. */
      const pageOf = (
        operation: string,
        { sql, parameters }: Query,
        bounds: Bounds,
        query: PostgresDatabase.PostgresDatabase["query"] = database.query
      ): Effect.Effect<ReadonlyArray<Notification>, RecorderError> =>
        Effect.flatMap(
          query(operation, sql, parameters),
          (rows): Effect.Effect<ReadonlyArray<Notification>, RecorderError> => {
            const { page, missing } = cut(rows, bounds)
            if (missing.length === 0) return Effect.succeed(page.map((row) => toNotification(row)))
            const { sql: payloads, parameters: positions } = selects.payloads(missing)
            return Effect.flatMap(query(operation, payloads, positions), (found) => {
              const payloadOf = new Map(
                found.map(([position, text, bytes]) => [BigInt(position as bigint), text ?? bytes])
              )
              // an event that was removed in the meantime is no longer in the log: the page has changed
              return missing.every((position) => payloadOf.has(position))
                ? Effect.succeed(page.map((row) => toNotification(row, payloadOf.get(BigInt(row[10] as bigint)))))
                : pageOf(operation, { sql, parameters }, bounds, query)
            })
          }
        )

      /** A page of a bounded size is given up, too, if there is no answer for so long that it must be the connection. */
      const inTime: PostgresDatabase.PostgresDatabase["query"] = (operation, sql, parameters) =>
        database.query(operation, sql, parameters, PAGE_TIMES)
      const pageOfAll = (read: ReadAll) =>
        pageOf("read the log", selects.all(read), read, read.maxBytes === undefined ? database.query : inTime)
      const scan = Scan.make({
        page: pageOfAll,
        next: (read) => {
          const { sql, parameters } = selects.next(read)
          return Effect.map(database.query("read the log", sql, parameters), positionIn)
        },
        head
      })
      const readAll = (read: ReadAll) => (read.filter === undefined ? pageOfAll(read) : scan.all(read))

      /** A follower sees only what is committed, even if it was started inside a transaction. */
      const committed = {
        head: database.outside(head),
        readAll: (read: ReadAll) => database.outside(readAll(read)),
        scan: (read: ReadAll) => database.outside(scan.some(read))
      }

      const readStream = (read: ReadStream) => pageOf("read a stream", selects.stream(read), read)

      /** The positions of events that had been recorded before, perhaps not together. */
      const positionsBefore = (append: Append): Effect.Effect<ReadonlyArray<Position>, RecorderError> => {
        const after = append.expected === "NoStream" ? undefined : append.expected
        const read = { stream: append.stream, after, upTo: lastVersion(append), limit: append.events.length }
        return Effect.map(readStream(read), (events) => events.map(({ position }) => position))
      }

      /** The result of appends that were accepted. */
      const appended = (
        appends: ReadonlyArray<Append>,
        { position, isRepeated }: Sent
      ): Effect.Effect<Tracked & Required<Pick<Tracked, "positions">>, RecorderError> => {
        const versions = appends.map(lastVersion)
        const only = appends.length === 1 ? appends[0] : undefined
        if (position === undefined) return Effect.succeed({ versions, position, positions: [] })
        if (only?.events.length === 1) return Effect.succeed({ versions, position, positions: [[position]] })
        return isRepeated
          ? Effect.map(Effect.forEach(appends, positionsBefore), (positions) => ({ versions, position, positions }))
          : Effect.succeed({ versions, position, positions: positionsUpTo(appends, position) })
      }

      const recorder = Recorder.of({
        append: (append) =>
          Effect.flatMap(
            record({ parts: [append] }) as Effect.Effect<Sent, WrongExpectedVersion | RecorderError>,
            (sent) =>
              Effect.mapEager(appended([append], sent), ({ positions }) => ({
                version: lastVersion(append),
                position: sent.position as Position,
                positions: positions?.[0]
              }))
          ),
        readStream,
        readAll,
        scan: scan.some,
        follow: (follow) =>
          Stream.unwrap(Effect.map(wakes.changes, (changes) => followLog(committed, changes)(follow))),
        head,
        inTransaction: database.inTransaction,
        logId: database.logId
      })

      const multiStreamAppend = MultiStreamAppend.of({
        append: (appends, checks = []) =>
          Effect.suspend(() => {
            assertDistinctStreams(appends, checks)
            return Effect.flatMap(
              record({ parts: partsOf(appends, checks) }) as Effect.Effect<Sent, WrongExpectedVersion | RecorderError>,
              // at least one event is appended, so there is a position
              (sent) => appended(appends, sent) as Effect.Effect<AppendedToStreams, RecorderError>
            )
          })
      })

      const trackedAppend = TrackedAppend.of({
        append: (appends, move, checks = []) =>
          Effect.suspend(() => {
            assertDistinctStreams(appends, checks)
            return Effect.flatMap(record({ parts: partsOf(appends, checks), move }), (sent) => appended(appends, sent))
          }),
        position: ({ projection, version, upstream, slice }) => {
          const reason = unstorableKey({ projection, version, upstream, slice })
          if (reason !== undefined) {
            return Effect.fail(new RecorderFailure({ operation: "read a tracking position", reason }))
          }
          return Effect.map(
            database.query("read a tracking position", trackingPosition(database.schema), [
              PgTypes.text(projection),
              PgTypes.int4(version),
              PgTypes.text(upstream),
              PgTypes.int4(slice)
            ]),
            ([row]) => (row === undefined ? undefined : fromStorage(BigInt(row[0] as bigint)))
          )
        }
      })

      const transactionalAppend = TransactionalAppend.of({
        append: ({ appends, checks = [], move }, work) =>
          Effect.suspend(() => {
            assertDistinctStreams(appends, checks)
            return Effect.flatMap(recordBehind({ parts: partsOf(appends, checks), move }, work), (sent) =>
              appended(appends, sent)
            )
          })
      })

      const streamCatalog = StreamCatalog.of({
        list: ({ category, after, limit }) => {
          const [from, end] = categoryRange(category)
          return Effect.map(
            database.query("list streams", listStreams(database.schema), [
              PgTypes.text(after ?? ""),
              PgTypes.text(from),
              PgTypes.text(end),
              limitOf(limit)
            ]),
            (rows) => rows.map(([stream, version]) => ({ stream: stream as StreamName, version: version as number }))
          )
        }
      })

      return Context.make(Recorder, recorder).pipe(
        Context.add(MultiStreamAppend, multiStreamAppend),
        Context.add(TrackedAppend, trackedAppend),
        Context.add(TransactionalAppend, transactionalAppend),
        Context.add(StreamCatalog, streamCatalog),
        Context.add(SnapshotRecorder, snapshots(database))
      )
    })
  )

/**
 * How many times the time that connecting may take a statement may have no answer, though others are served: the head of the
 * log is short, but may wait for a connection; a page is searched for, and has some megabytes.
 */
const HEAD_TIMES = 2
const PAGE_TIMES = 6

/** The position that a statement returned as its only value. */
const positionIn = ([row]: ReadonlyArray<PostgresDatabase.Row>): Position | undefined =>
  row?.[0] == null ? undefined : fromStorage(BigInt(row[0] as bigint))

/** The events of an append had been recorded before. */
class Repeated {
  readonly _tag = "Repeated"
  readonly sent: Sent
  constructor(sent: Sent) {
    this.sent = sent
  }
}

/** The positions of events that were recorded by one call, which numbers them one by one, up to the last one. */
const positionsUpTo = (appends: ReadonlyArray<Append>, last: Position): ReadonlyArray<ReadonlyArray<Position>> => {
  let next = BigInt(last) - BigInt(appends.reduce((sum, { events }) => sum + events.length, 0)) + 1n
  return appends.map(({ events }) => events.map(() => fromStorage(next++)))
}

const partsOf = (appends: ReadonlyArray<Append>, checks: ReadonlyArray<Check>): ReadonlyArray<Part> => [
  ...appends,
  ...checks.map((check) => ({ ...check, events: [] }))
]
