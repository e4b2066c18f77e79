/** The view of the benchmark: how often each thing was added to an order; in memory, how often any was. */
import { Effect } from "effect"
import type { SqlClient, Statement } from "effect/sql"
import type { View } from "effect-eventsourcing"
import { Projection } from "effect-eventsourcing"
import { Order } from "../order.ts"

/** What the statements need: the client, and the name of the table. */
export interface Table {
  readonly sql: SqlClient.SqlClient
  readonly name: Statement.Identifier | Statement.Fragment
}

export const createTable = ({ sql, name }: Table) =>
  sql`CREATE TABLE ${name} (sku text PRIMARY KEY, n integer NOT NULL)`

/** Counts one event. */
export const countOne = ({ sql, name }: Table, sku: string) =>
  sql`INSERT INTO ${name} (sku, n) VALUES (${sku}, 1) ON CONFLICT (sku) DO UPDATE SET n = ${name}.n + 1`

/** The rows of a JSON object of counts, which is the parameter of one statement for a batch. */
const countsOf = (sql: SqlClient.SqlClient, counts: string) =>
  sql.onDialectOrElse({
    pg: () => sql`SELECT key, value::integer FROM json_each_text(${counts}::json)`,
    orElse: () => sql`SELECT key, value FROM json_each(${counts}) WHERE true`
  })

/** Counts many. */
export const countMany = ({ sql, name }: Table, skus: Iterable<string>) =>
  sql`INSERT INTO ${name} (sku, n) ${countsOf(sql, toCounts(skus))}
    ON CONFLICT (sku) DO UPDATE SET n = ${name}.n + excluded.n`

/** How often there is each, as JSON. */
export const toCounts = (skus: Iterable<string>): string => {
  const counts: Record<string, number> = {}
  for (const sku of skus) counts[sku] = (counts[sku] ?? 0) + 1
  return JSON.stringify(counts)
}

export const countAll = ({ sql, name }: Table) =>
  Effect.map(sql<{ readonly n: number | string | null }>`SELECT sum(n) AS n FROM ${name}`, ([row]) => Number(row?.n))

export const tableOf = ({ sql, table }: View.SqlView): Table => ({ sql, name: table("items") })

const setup = (view: View.SqlView) => createTable(tableOf(view))

/** The library's projections into tables, by the way in which they are written. */
export const sqlProjections = {
  singly: (version: number) =>
    Projection.make("singly", {
      version,
      aggregates: [Order],
      view: Projection.sql(setup),
      handlers: {
        Order: {
          Opened: Projection.ignore,
          ItemAdded: ({ event }, view) => countOne(tableOf(view), event.sku)
        }
      }
    }),
  batched: (version: number) =>
    Projection.batched("batched", {
      version,
      aggregates: [Order],
      view: Projection.sql(setup),
      handle: (events, view) => countMany(tableOf(view), added(events))
    })
}

/** The library's projection into a table, maintained inline. */
export const inlineProjection = Projection.make("inline", {
  aggregates: [Order],
  view: Projection.sql(setup),
  inline: true,
  handlers: {
    Order: {
      Opened: Projection.ignore,
      ItemAdded: ({ event }, view) => countOne(tableOf(view), event.sku)
    }
  }
})

/** The library's projections into memory. */
export const memoryProjections = {
  singly: (version: number) =>
    Projection.make("singly", {
      version,
      aggregates: [Order],
      view: Projection.memory(() => 0),
      handlers: {
        Order: {
          Opened: Projection.ignore,
          ItemAdded: (_event, view) => view.update((count) => count + 1)
        }
      }
    }),
  batched: (version: number) =>
    Projection.batched("batched", {
      version,
      aggregates: [Order],
      view: Projection.memory(() => 0),
      handle: (events, view) => view.update((count) => count + added(events).length)
    })
}

const added = (
  events: ReadonlyArray<{ readonly event: { readonly _tag: string; readonly sku?: string } }>
): ReadonlyArray<string> =>
  events.flatMap(({ event }) => (event._tag === "ItemAdded" && event.sku !== undefined ? [event.sku] : []))

/** The stored type of what is counted. */
export const ITEM_ADDED = "Order.ItemAdded"
