/** Looks at a PostgreSQL log without the library, with SQL alone. */
import type { PgClient } from "@effect/sql-pg"
import { Effect } from "effect"
import type { Acknowledged } from "../../support/acknowledgements.ts"

/** What is wrong with a log: gaps in versions, half-recorded appends, and acknowledged events that are lost. */
export const problems = (
  sql: PgClient.PgClient,
  schema: string,
  acknowledged: ReadonlyArray<ReadonlyArray<Acknowledged>>
): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Effect.gen(function* () {
    const events = sql`${sql(schema)}.stored_events`
    const holes = yield* sql`
      SELECT stream, min(version) AS first, max(version) AS last, count(*)::integer AS count FROM ${events}
      GROUP BY stream HAVING min(version) <> 0 OR max(version) <> count(*) - 1`
    const disorder = yield* sql`
      SELECT stream, version FROM (
        SELECT stream, version, position, lag(position) OVER (PARTITION BY stream ORDER BY version) AS before FROM ${events}
      ) AS placed WHERE before >= position`
    const halves = yield* sql`
      SELECT batch, count FROM (
        SELECT payload_text::jsonb ->> 'batch' AS batch, count(*)::integer AS count,
          max((payload_text::jsonb ->> 'size')::integer) AS size
        FROM ${events} GROUP BY 1
      ) AS batches WHERE count <> size`
    const rows = yield* sql<{ place: string; id: string }>`SELECT stream || '@' || version AS place, id FROM ${events}`
    const ids = new Map(rows.map(({ place, id }) => [place, id]))
    const lost = acknowledged.flat().flatMap(({ stream, version, ids: answered }) =>
      answered.flatMap((id, i) => {
        const there = ids.get(`${stream}@${version + i}`)
        return there === id ? [] : [`lost: event ${version + i} of ${stream}, ${id}; there is ${there}`]
      })
    )
    const said = (what: string, found: ReadonlyArray<unknown>) => found.map((one) => `${what}: ${JSON.stringify(one)}`)
    return [...said("holes", holes), ...said("out of order", disorder), ...said("half there", halves), ...lost]
  })

/** Creates a table of the user's own, for a row beside each batch of a stream "Held-<batch>". */
export const createBatches = (sql: PgClient.PgClient, schema: string) =>
  sql`CREATE TABLE ${sql(schema)}.batches (batch text PRIMARY KEY)`

/** The rows of the user's own whose events are missing, and the events whose row is missing. */
export const unequalBatches = (sql: PgClient.PgClient, schema: string): Effect.Effect<ReadonlyArray<string>, unknown> =>
  Effect.map(
    sql`
      SELECT batch, stream FROM ${sql(schema)}.batches
      FULL JOIN (SELECT DISTINCT stream FROM ${sql(schema)}.stored_events WHERE stream LIKE 'Held-%') AS held
        ON stream = 'Held-' || batch
      WHERE batch IS NULL OR stream IS NULL`,
    (rows) => rows.map((row) => `only one of row and events: ${JSON.stringify(row)}`)
  )
