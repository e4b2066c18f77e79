/** The log of events in a PostgreSQL database. */
import { PgClient, PgTypes } from "@effect/sql-pg"
import { Context, Effect, Layer, Stream } from "effect"
import type { RecorderError, WrongExpectedVersion } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { assertDistinctStreams } from "../internal/backend/exclusiveAppend.ts"
import { categoryRange } from "../internal/backend/matching.ts"
import { decodeNote } from "../internal/backend/trackingNote.ts"
import { lastVersion } from "../internal/backend/versions.ts"
import { followLog } from "../internal/following/followPages.ts"
import type { AppendedToStreams, Check } from "../MultiStreamAppend.ts"
import { MultiStreamAppend } from "../MultiStreamAppend.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { Append, ReadAll, ReadStream } from "../Recorder.ts"
import { Recorder } from "../Recorder.ts"
import { SnapshotRecorder } from "../SnapshotRecorder.ts"
import { StreamCatalog } from "../StreamCatalog.ts"
import type { StreamName } from "../StreamName.ts"
import type { Tracked } from "../TrackedAppend.ts"
import { TrackedAppend } from "../TrackedAppend.ts"
import { TransactionalAppend } from "../TransactionalAppend.ts"
import type { AppendResult } from "./appends.ts"
import { milliseconds } from "./options.ts"
import * as PostgresDatabase from "./PostgresDatabase.ts"
import type { RecorderOptions } from "./PostgresOptions.ts"
import { limitParameter, pages } from "./pages.ts"
import type { Part } from "./parameters.ts"
import { unstorableKey } from "./parameters.ts"
import { makeReads, positionIn } from "./reads.ts"
import { makeRecord } from "./record.ts"
import { snapshots } from "./snapshots.ts"
import { listStreams, trackingProgress } from "./sql/queries.ts"
import * as Wakes from "./wakes.ts"

/** The services that the PostgreSQL recorder provides. */
export type Services =
  | Recorder
  | MultiStreamAppend
  | TrackedAppend
  | TransactionalAppend
  | StreamCatalog
  | SnapshotRecorder

/** The log in a database. It is created or migrated when the layer is built. */
export const layer = (options: RecorderOptions = {}): Layer.Layer<Services, RecorderError, PgClient.PgClient> =>
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
      const { record, recordAfter } = yield* makeRecord(database, wakes)
      const { pageOf, readAll, scan } = makeReads(database, selects, head)

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
        { position, isRepeated }: AppendResult
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
            record({ parts: [append] }) as Effect.Effect<AppendResult, WrongExpectedVersion | RecorderError>,
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
              record({ parts: partsOf(appends, checks) }) as Effect.Effect<
                AppendResult,
                WrongExpectedVersion | RecorderError
              >,
              // at least one event is appended, so there is a position
              (sent) => appended(appends, sent) as Effect.Effect<AppendedToStreams, RecorderError>
            )
          })
      })

      const progress: TrackedAppend["Service"]["progress"] = (key) => {
        const reason = unstorableKey(key)
        if (reason !== undefined) {
          return Effect.fail(new RecorderFailure({ operation: "read a tracking position", reason }))
        }
        return Effect.map(
          database.query("read a tracking position", trackingProgress(database.schema), [
            PgTypes.text(key.projection),
            PgTypes.int4(key.version),
            PgTypes.text(key.upstream),
            PgTypes.int4(key.slice)
          ]),
          ([row]) => {
            if (row === undefined) return undefined
            const position = fromStorage(BigInt(row[0] as bigint))
            return { position, note: decodeNote(row[1], position) }
          }
        )
      }

      const trackedAppend = TrackedAppend.of({
        append: (appends, move, checks = []) =>
          Effect.suspend(() => {
            assertDistinctStreams(appends, checks)
            return Effect.flatMap(record({ parts: partsOf(appends, checks), move }), (sent) => appended(appends, sent))
          }),
        position: (key) => Effect.map(progress(key), (found) => found?.position),
        progress
      })

      const transactionalAppend = TransactionalAppend.of({
        append: ({ appends, checks = [], move }, work) =>
          Effect.suspend(() => {
            assertDistinctStreams(appends, checks)
            return Effect.flatMap(recordAfter({ parts: partsOf(appends, checks), move }, work), (sent) =>
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
              limitParameter(limit)
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
 * How long reading the head of the log may take although other statements are served, as a multiple of the time for
 * connecting: the query is short, but may wait for a connection.
 */
const HEAD_TIMES = 2

/** The positions of events that were recorded by one call, which numbers them one by one, up to the last one. */
const positionsUpTo = (appends: ReadonlyArray<Append>, last: Position): ReadonlyArray<ReadonlyArray<Position>> => {
  let next = BigInt(last) - BigInt(appends.reduce((sum, { events }) => sum + events.length, 0)) + 1n
  return appends.map(({ events }) => events.map(() => fromStorage(next++)))
}

const partsOf = (appends: ReadonlyArray<Append>, checks: ReadonlyArray<Check>): ReadonlyArray<Part> => [
  ...appends,
  ...checks.map((check) => ({ ...check, events: [] }))
]
