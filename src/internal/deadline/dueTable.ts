/** The index of a deadline in a table. */
import { Array as Arr, Effect } from "effect"
import type { SqlError, Statement } from "effect/sql"
import type { SqlView } from "../../View.ts"
import type { Changes, Row } from "./dueRow.ts"

export const setup = ({ index, sql, table }: SqlView): Effect.Effect<void, SqlError.SqlError> =>
  Effect.gen(function* () {
    yield* sql`CREATE TABLE ${table("due")} (
      id text NOT NULL PRIMARY KEY,
      due_at bigint NOT NULL,
      version bigint NOT NULL
    )`
    // with the id, so that a page can begin after a row
    yield* sql`CREATE INDEX ${index("due_at")} ON ${table("due")} (due_at, id)`
  })

export const change = ({ sql, table }: SqlView, { gone, rows }: Changes): Effect.Effect<void, SqlError.SqlError> =>
  Effect.gen(function* () {
    if (gone.length > 0) yield* sql`DELETE FROM ${table("due")} WHERE ${sql.in("id", gone)}`
    const values = rows.map(({ dueAt, id, version }) => ({ id, due_at: dueAt, version }))
    if (!Arr.isArrayNonEmpty(values)) return
    yield* sql`INSERT INTO ${table("due")} ${sql.insert(values)}
      ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at, version = excluded.version`
  })

interface Stored {
  readonly id: string
  /** The driver decides whether a large number is a string. */
  readonly due_at: number | bigint | string
  readonly version: number | bigint | string
}

/** Selects the first rows after a row, or from the beginning, by the index alone. */
export const pageStatement = (
  { sql, table }: SqlView,
  after: Row | undefined,
  limit: number
): Statement.Statement<Stored> => {
  const isAfter = after === undefined ? sql.literal("") : sql`WHERE (due_at, id) > (${after.dueAt}, ${after.id})`
  return sql<Stored>`SELECT id, due_at, version FROM ${table("due")} ${isAfter} ORDER BY due_at, id LIMIT ${limit}`
}

/** The first rows after a row, or from the beginning. */
export const page = (
  view: SqlView,
  after: Row | undefined,
  limit: number
): Effect.Effect<ReadonlyArray<Row>, SqlError.SqlError> =>
  Effect.map(pageStatement(view, after, limit), (stored) =>
    stored.map(({ due_at, id, version }) => ({ id, dueAt: Number(due_at), version: Number(version) }))
  )
