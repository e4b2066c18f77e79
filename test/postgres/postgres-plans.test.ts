/** The plans of the queries that everything stands on, on a log of a million events. */
import { randomUUID } from "node:crypto"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { StreamName } from "effect-eventsourcing"
import Pg from "pg"
import { fromStorage } from "../../src/Position.ts"
import { pages } from "../../src/postgres/pages.ts"
import { listStreams, loadSnapshot, standing, trackingPosition } from "../../src/postgres/sql/queries.ts"
import { layerLog, url } from "./support/database.ts"

const EVENTS = 1_000_000
const STREAMS = 10_000
const schema = `plans_${randomUUID().replaceAll("-", "")}`
const stream = StreamName.StreamName.make("Dog-77")

const client = new Pg.Client({ connectionString: url() })

beforeAll(async () => {
  await Effect.runPromise(Effect.scoped(Layer.build(layerLog(schema))))
  await client.connect()
  await client.query("SET synchronous_commit = off")
  await client.query(
    `INSERT INTO ${schema}.stored_events
       (position, stream, version, id, type, schema_version, encoding, payload_text, metadata, recorded_at)
     SELECT n + 1, (ARRAY['Dog', 'Cat'])[1 + n % 2] || '-' || n % ${STREAMS}, n / ${STREAMS},
       ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'Type.' || n % 10, 1, 'json', '{"n":1}', '{}', 0
     FROM generate_series(0, ${EVENTS} - 1) AS n`
  )
  await client.query(`VACUUM ANALYZE ${schema}.stored_events`)
  return async () => {
    await client.query(`DROP SCHEMA ${schema} CASCADE`)
    await client.end()
  }
}, 300_000)

const { all, head, stream: ofStream } = pages(schema)
const after = fromStorage(500_000n)

/** Each with how its parameters are written in SQL. */
const queries: Readonly<Record<string, readonly [sql: string, ...values: ReadonlyArray<string>]>> = {
  "a page of a stream": [ofStream({ stream, limit: 512 }).sql, "'Dog-76'::text", "-1", "2147483647", "512", "16384"],
  "a page of a stream, backward": [
    ofStream({ stream, direction: "backward", limit: 512 }).sql,
    ...["'Dog-76'::text", "2147483647", "0", "1", "16384"]
  ],
  "the last version of a stream": [
    `SELECT e.version FROM ${schema}.stored_events e WHERE e.stream = $1 ORDER BY e.version DESC LIMIT 1`,
    "'Dog-76'::text"
  ],
  "a repeated event": [
    `SELECT e.position FROM ${schema}.stored_events e WHERE e.stream = $1 AND e.version = $2 AND e.id = $3`,
    ...["'Dog-76'::text", "5::bigint", "'00000000-0000-7000-8000-000000000005'::uuid"]
  ],
  "a page of the log": [
    all({ after, limit: 512 }).sql,
    "500000::bigint",
    "9223372036854775807::bigint",
    "512",
    "16384"
  ],
  "a page of the log, backward": [
    all({ after, direction: "backward", limit: 512 }).sql,
    ...["500000::bigint", "0::bigint", "512", "16384"]
  ],
  "a page of some types": [
    all({ after, filter: { types: [] }, limit: 512 }).sql,
    ...["500000::bigint", "9223372036854775807::bigint", "512", "16384", "ARRAY['Type.3', 'Type.4']::text[]"]
  ],
  "a page of a category": [
    all({ after, filter: { categories: [] }, limit: 512 }).sql,
    ...["500000::bigint", "9223372036854775807::bigint", "512", "16384", "ARRAY['Dog']::text[]"]
  ],
  "the head": [head],
  "a list of streams": [listStreams(schema), "''::text", "'Dog-'::text", "'Dog.'::text", "100"],
  "a snapshot": [loadSnapshot(schema), "'Dog-76'::text"],
  "a tracking position": [trackingPosition(schema), "'p'::text", "1", "'u'::text", "0"],
  "where a repeated append stands": [
    standing(schema),
    ...["ARRAY['Dog-76', 'Dog-77']::text[]", "ARRAY[4, -1]", "ARRAY['Dog-76', 'Dog-77']::text[]", "ARRAY[5, 0]"],
    "ARRAY['00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000006']::uuid[]",
    ...["'p'::text", "1", "'u'::text", "0"]
  ]
}

describe("plans on a log of 1,000,000 events", () => {
  for (const mode of ["force_custom_plan", "force_generic_plan"]) {
    for (const [name, [sql, ...values]] of Object.entries(queries)) {
      it(`${name}: by an index, no sort of the log (${mode})`, async () => {
        await client.query(`SET plan_cache_mode = ${mode}`)
        await client.query("DEALLOCATE ALL")
        await client.query(`PREPARE query AS ${sql}`)
        const run = values.length === 0 ? "query" : `query(${values.join(", ")})`
        const { rows } = await client.query(`EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE ${run}`)
        const plan = rows.map((row) => row["QUERY PLAN"]).join("\n")
        assert.notMatch(plan, /Seq Scan on stored_events/, plan)
        assert.match(plan, /Index (Only )?Scan/, plan)
        // a short stream may be fetched at once and sorted; never the log
        for (const [, rows] of plan.matchAll(/Sort \(actual rows=(\d+)/g)) assert.isAtMost(Number(rows), 100, plan)
        for (const [, rows] of plan.matchAll(/Removed by Filter: (\d+)/g)) assert.isAtMost(Number(rows), 10_000, plan)
      })
    }
  }
})
