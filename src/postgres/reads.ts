import { Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import type { Bounds } from "../internal/backend/pageSize.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { ReadAll } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { PostgresDatabase, Row } from "./PostgresDatabase.ts"
import type { pages, Query } from "./pages.ts"
import { cutToSize, toNotification } from "./pages.ts"
import * as Scan from "./scan.ts"

/**
 * How long reading a page may take although other statements are served, as a multiple of the time for connecting: the
 * server searches for it, and it may be some megabytes.
 */
const PAGE_TIMES = 6

/** Reads the pages of a log. */
export const makeReads = (
  database: PostgresDatabase,
  selects: ReturnType<typeof pages>,
  head: Effect.Effect<Position | undefined, RecorderError>
) => {
  /** The page of a query, and the payloads that are too long to be read together with all of its rows. */
  const pageOf = (
    operation: string,
    { sql, parameters }: Query,
    bounds: Bounds,
    query: PostgresDatabase["query"] = database.query
  ): Effect.Effect<ReadonlyArray<Notification>, RecorderError> =>
    Effect.flatMap(
      query(operation, sql, parameters),
      (rows): Effect.Effect<ReadonlyArray<Notification>, RecorderError> => {
        const { page, missing } = cutToSize(rows, bounds)
        if (missing.length === 0) return Effect.succeed(page.map((row) => toNotification(row)))
        const { sql: payloads, parameters: positions } = selects.payloads(missing)
        return Effect.flatMap(query(operation, payloads, positions), (found) => {
          const payloadOf = new Map(found.map(([position, text, bytes]) => [BigInt(position as bigint), text ?? bytes]))
          // an event that was removed in the meantime is no longer in the log: the page has changed
          return missing.every((position) => payloadOf.has(position))
            ? Effect.succeed(page.map((row) => toNotification(row, payloadOf.get(BigInt(row[10] as bigint)))))
            : pageOf(operation, { sql, parameters }, bounds, query)
        })
      }
    )

  /**
   * A page of a bounded size is given up, too, if it has no answer for so long that the connection must be the reason.
   */
  const inTime: PostgresDatabase["query"] = (operation, sql, parameters) =>
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

  return { pageOf, readAll, scan }
}

/** The position that a statement returned as its only value. */
export const positionIn = ([row]: ReadonlyArray<Row>): Position | undefined =>
  row?.[0] == null ? undefined : fromStorage(BigInt(row[0] as bigint))
