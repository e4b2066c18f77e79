/** The plans of the most important queries, on a log of a million events. */
import { randomUUID } from "node:crypto"
import type { PgTypes } from "@effect/sql-pg"
import { assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import Pg from "pg"
import { fromStorage } from "../../src/Position.ts"
import { pages } from "../../src/postgres/pages.ts"
import { ofAppends, ofEvent } from "../../src/postgres/parameters.ts"
import { callAppendEvent } from "../../src/postgres/sql/appendEvent.ts"
import { callAppendEvents } from "../../src/postgres/sql/appendEvents.ts"
import { listStreams, loadSnapshot, precheckAppend, trackingProgress } from "../../src/postgres/sql/queries.ts"
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

/** Each query, with the types of its parameters in SQL. */
const queries: Readonly<Record<string, readonly [sql: string, ...values: ReadonlyArray<string>]>> = {
  "a page of a stream": [ofStream({ stream, limit: 512 }).sql, "'Dog-76'::text", "-1", "2147483647", "512", "16384"],
  "a page of a stream, backward": [
    ofStream({ stream, direction: "backward", limit: 512 }).sql,
    ...["'Dog-76'::text", "2147483647", "0", "1", "16384"]
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
  "a tracking position": [trackingProgress(schema), "'p'::text", "1", "'u'::text", "0"],
  "where a repeated append stands": [
    precheckAppend(schema),
    ...["ARRAY['Dog-76', 'Dog-77']::text[]", "ARRAY[4, -1]", "ARRAY['Dog-76', 'Dog-77']::text[]", "ARRAY[5, 0]"],
    "ARRAY['00000000-0000-7000-8000-000000000005', '00000000-0000-7000-8000-000000000006']::uuid[]",
    ...["'p'::text", "1", "'u'::text", "0"]
  ]
}

const event = (n: number): StoredEvent.StoredEvent => ({
  id: `00000000-0000-7000-9000-${n.toString(16).padStart(12, "0")}`,
  type: "Type.1",
  schemaVersion: 1,
  encoding: "json",
  payload: "{}",
  metadata: "{}",
  recordedAt: 0
})
const part = (name: string, expected: number, ...events: ReadonlyArray<StoredEvent.StoredEvent>) => ({
  stream: StreamName.StreamName.make(name),
  expected,
  events
})
const move = {
  key: { projection: "p", version: 1, upstream: "u", slice: 0 },
  from: undefined,
  to: after
}
/** The version of each stream before anything is appended. */
const last = EVENTS / STREAMS - 1
const one = callAppendEvent(schema)
const many = callAppendEvents(schema)

/** Calls of the functions, each with the index that the plans of its statements have to use. */
const calls: Readonly<
  Record<string, readonly [sql: string, values: ReadonlyArray<PgTypes.Parameter>, answer: RegExp]>
> = {
  "one event": [one, ofEvent(1000, part("Dog-76", 0).stream, last, event(1)), /"append_event":\["\d+"\]/],
  "one event that is there already": [
    one,
    ofEvent(1000, part("Dog-80", 0).stream, 4, { ...event(5), id: "00000000-0000-7000-8000-00000000c3a0" }),
    /"append_event":\[null,"99","50081"\]/
  ],
  "several appends": [
    many,
    ofAppends(1000, [
      { parts: [part("Dog-70", last, event(2), event(3))] },
      { parts: [part("Dog-72", last, event(4)), part("Dog-74", last)] }
    ]),
    /"actual":null/
  ],
  "an append with a tracking move": [
    many,
    ofAppends(1000, [{ parts: [part("Dog-76", last, event(6))], move }]),
    /"actual":null/
  ],
  "appends of which one is there already, and one is refused": [
    many,
    ofAppends(1000, [
      { parts: [part("Dog-80", 4, { ...event(7), id: "00000000-0000-7000-8000-00000000c3a0" })] },
      { parts: [part("Dog-82", 3, event(8))] },
      { parts: [part("Dog-84", last, event(9))] }
    ]),
    /"refused":\[0,1\],"repeated":\["50081",null\]/
  ]
}

describe("plans on a log of 1,000,000 events", () => {
  for (const mode of ["force_custom_plan", "force_generic_plan"]) {
    for (const [name, [sql, ...values]] of Object.entries(queries)) {
      it(`${name}: uses an index, without sorting the log (${mode})`, async () => {
        await client.query(`SET plan_cache_mode = ${mode}`)
        await client.query("DEALLOCATE ALL")
        await client.query(`PREPARE query AS ${sql}`)
        const run = values.length === 0 ? "query" : `query(${values.join(", ")})`
        const { rows } = await client.query(`EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY on) EXECUTE ${run}`)
        const plan = rows.map((row) => row["QUERY PLAN"]).join("\n")
        assert.notMatch(plan, /Seq Scan on stored_events/, plan)
        assert.match(plan, /Index (Only )?Scan/, plan)
        // a short stream may be fetched at once and sorted, but never the log
        for (const [, rows] of plan.matchAll(/Sort \(actual rows=(\d+)/g)) assert.isAtMost(Number(rows), 100, plan)
        for (const [, rows] of plan.matchAll(/Removed by Filter: (\d+)/g)) assert.isAtMost(Number(rows), 10_000, plan)
      })
    }
  }

  it.each(Object.entries(calls))(
    "each statement of the functions, for %s: uses an index",
    async (_, [sql, values, answer]) => {
      await client.query("LOAD 'auto_explain'")
      await client.query("SET auto_explain.log_min_duration = 0")
      await client.query("SET auto_explain.log_nested_statements = on")
      await client.query("SET auto_explain.log_analyze = on")
      await client.query("SET auto_explain.log_timing = off")
      await client.query("SET client_min_messages = log")
      const plans: Array<string> = []
      const note = ({ message }: { readonly message?: string | undefined }) => {
        if (message?.includes("plan:") === true) plans.push(message)
      }
      client.on("notice", note)
      try {
        await client.query("BEGIN")
        const { rows } = await client.query(
          sql,
          values.map(({ value }) => value)
        )
        assert.match(JSON.stringify(rows[0]), answer)
      } finally {
        await client.query("ROLLBACK")
        client.off("notice", note)
        await client.query("RESET client_min_messages")
      }
      const reading = plans.filter((plan) => /(Scan|Index).* on stored_events/.test(plan))
      assert.isNotEmpty(reading, plans.join("\n"))
      for (const plan of reading) {
        assert.notMatch(plan, /Seq Scan on stored_events/, plan)
        for (const [, rows] of plan.matchAll(/Sort .*\(.*rows=(\d+)/g)) assert.isAtMost(Number(rows), 100, plan)
        for (const [, rows] of plan.matchAll(/Removed by Filter: (\d+)/g)) assert.isAtMost(Number(rows), 10, plan)
      }
    }
  )
})
