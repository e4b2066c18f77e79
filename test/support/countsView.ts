/** The view in most tests of projections: how many events of each type there were, in tables and in memory. */
import { Effect } from "effect"
import type { View } from "effect-eventsourcing"
import { Projection } from "effect-eventsourcing"
import { Counter, Dog } from "./dog.ts"

export const setup = ({ sql, table }: View.SqlView) =>
  sql`CREATE TABLE ${table("counts")} (what text PRIMARY KEY, n integer NOT NULL)`

export const countOne = (what: string, { sql, table }: View.SqlView) =>
  sql`INSERT INTO ${table("counts")} (what, n) VALUES (${what}, 1)
    ON CONFLICT (what) DO UPDATE SET n = ${table("counts")}.n + 1`

/** Counts in a table. */
export const sqlCounts = (options: { readonly name?: string; readonly version?: number } = {}) =>
  Projection.make(options.name ?? "counts", {
    version: options.version ?? 1,
    aggregates: [Counter, Dog],
    view: Projection.sql(setup),
    handlers: {
      Counter: {
        Started: Projection.ignore,
        Increased: (_event, view) => countOne("Increased", view)
      },
      Dog: {
        Registered: (_event, view) => countOne("Registered", view),
        TrickAdded: (_event, view) => countOne("TrickAdded", view),
        Rested: Projection.ignore
      }
    }
  })

export const readCounts = ({ sql, table }: View.SqlView) =>
  Effect.map(
    sql<{ readonly what: string; readonly n: number }>`SELECT what, n FROM ${table("counts")} ORDER BY what`,
    (rows) => Object.fromEntries(rows.map(({ what, n }) => [what, n]))
  )

export const readSqlCounts = Projection.read(sqlCounts(), readCounts)

type Counts = Readonly<Record<string, number>>

const countIn = (what: string) => (counts: Counts) => ({ ...counts, [what]: (counts[what] ?? 0) + 1 })

/** Counts in memory. */
export const memoryCounts = Projection.make("counts", {
  aggregates: [Counter, Dog],
  view: Projection.memory((): Counts => ({})),
  handlers: {
    Counter: {
      Started: Projection.ignore,
      Increased: (_event, view) => view.update(countIn("Increased"))
    },
    Dog: {
      Registered: (_event, view) => view.update(countIn("Registered")),
      TrickAdded: (_event, view) => view.update(countIn("TrickAdded")),
      Rested: Projection.ignore
    }
  }
})

export const readMemoryCounts = Projection.read(memoryCounts, (view) => view.get)
