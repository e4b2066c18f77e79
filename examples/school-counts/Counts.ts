/** What the school is asked about all of its dogs: how many there are, and how many tricks they have learnt. */
import { Effect } from "effect"
import type { View } from "effect-eventsourcing"
import { Projection } from "effect-eventsourcing"
import { Dog } from "../training-school/Dog.ts"

const setup = ({ sql, table }: View.SqlView) =>
  Effect.gen(function* () {
    yield* sql`CREATE TABLE ${table("totals")} (dogs integer NOT NULL, tricks integer NOT NULL)`
    yield* sql`INSERT INTO ${table("totals")} (dogs, tricks) VALUES (0, 0)`
  })

/** One more of each would be wrong if an event came twice, and one less if one were missed: neither ever is. */
export const Counts = Projection.make("counts", {
  aggregates: [Dog],
  view: Projection.sql(setup),
  handlers: {
    Dog: {
      Registered: (_event, { sql, table }) => sql`UPDATE ${table("totals")} SET dogs = dogs + 1`,
      TrickAdded: (_event, { sql, table }) => sql`UPDATE ${table("totals")} SET tricks = tricks + 1`
    }
  }
})

export const readCounts = Projection.read(Counts, ({ sql, table }) =>
  Effect.map(
    sql<{ readonly dogs: number; readonly tricks: number }>`SELECT dogs, tricks FROM ${table("totals")}`,
    ([row]) => ({ dogs: row?.dogs ?? 0, tricks: row?.tricks ?? 0 })
  )
)
