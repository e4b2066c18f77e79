/** Finding what is due among many pending aggregates: by the index, however many there are. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Deadline, Projection } from "effect-eventsourcing"
import type { Row } from "../../src/internal/deadline/dueRow.ts"
import { page, pageStatement } from "../../src/internal/deadline/dueTable.ts"
import { dueOf, Payment } from "./support/payment.ts"
import { places } from "./support/places.ts"

const Expiry = Deadline.make("expiry", { aggregate: Payment, due: dueOf, decide: () => Payment.Expired() })

/** The number of rows; `DEADLINE_ROWS=1000000` for a measurement. */
const ROWS = Number(process.env.DEADLINE_ROWS ?? 100_000)

const after: Row = { id: "payment 500", dueAt: 500, version: 0 }

const databases = {
  SQLite: {
    place: places.SQLite,
    explain: "EXPLAIN QUERY PLAN",
    isScan: /TEMP B-TREE|SCAN (?!.*USING (?:COVERING )?INDEX)/
  },
  PostgreSQL: { place: places.PostgreSQL, explain: "EXPLAIN", isScan: /Seq Scan|Sort|Bitmap/ }
}

describe.each(Object.entries(databases))("many pending deadlines in %s", (name, { explain, isScan, place }) => {
  it.live("are not looked at, but for those that are due", () =>
    Effect.gen(function* () {
      const layer = yield* place?.make ?? Effect.die("no such place")
      yield* Effect.gen(function* () {
        yield* Deadline.settle(Expiry)
        yield* Projection.read(Expiry.index, (view) =>
          Effect.gen(function* () {
            const { sql, table } = view
            yield* name === "SQLite"
              ? sql`INSERT INTO ${table("due")} (id, due_at, version)
                  WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ${ROWS})
                  SELECT 'payment ' || n, n, 0 FROM s`
              : sql`INSERT INTO ${table("due")} (id, due_at, version)
                  SELECT 'payment ' || n, n, 0 FROM generate_series(1, ${sql.literal(`${ROWS}`)}) AS n`
            yield* sql`ANALYZE`
            for (const from of [undefined, after]) {
              const plan = yield* sql`${sql.literal(explain)} ${pageStatement(view, from, 16)}`
              const text = plan.map((row) => JSON.stringify(row)).join("\n")
              assert.match(text, /due_at/)
              assert.notMatch(text, isScan)
              const rows = yield* page(view, from, 16)
              assert.strictEqual(rows[0]?.dueAt, from === undefined ? 1 : 501)
              if (ROWS < 1_000_000) continue
              const times: Array<number> = []
              for (let n = 0; n < 300; n++) {
                const began = performance.now()
                yield* page(view, from, 16)
                times.push(performance.now() - began)
              }
              times.sort((a, b) => a - b)
              console.log(`${name}: a page of ${ROWS} rows: p50 ${times[150]?.toFixed(3)} ms`)
            }
          })
        )
      }).pipe(Effect.provide(layer))
    })
  )
})
