import { randomUUID } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import type { Scope } from "effect"
import { Effect, Layer, Redacted } from "effect"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import Pg from "pg"
import { openOrders } from "../fill.ts"
import { Order } from "../order.ts"
import { texts as textsOfRows } from "../postgres/raw.ts"
import { template } from "../raw/template.ts"
import { inlineProjection, toCounts } from "./counting.ts"
import type { InlineSite, MakeLoop, Place } from "./Site.ts"
import { PAGE } from "./Site.ts"
import type { Texts } from "./sql.ts"
import { COLUMNS, clientLoop, conflict, lastOf, newName, runnerOf, skusOf, trackingOf } from "./sql.ts"

const textsOf = (schema: string): Texts => ({
  page: `SELECT ${COLUMNS.replace("payload", "payload_text")} FROM "${schema}".stored_events
WHERE position > $1 ORDER BY position LIMIT ${PAGE}`,
  tables: `${schema}.`,
  parameter: (n) => `$${n}`
})

/** Log and views in one database, in schemas of their own, which are dropped with the scope. */
export const postgres = (url: string): Place => ({
  name: "postgres",
  singly: 10 * PAGE,
  awaited: 150,
  newSite: Effect.gen(function* () {
    const schema = yield* newSchema(url)
    const services = yield* Layer.build(Layer.merge(PostgresLayer({ url, schema }), PostgresViews({ url, schema })))
    const client = PgClient.layer({ url: Redacted.make(url) })
    return {
      ...runnerOf(services),
      loop: clientLoop(client, textsOf(schema)),
      driver: driverLoop(url, textsOf(schema))
    }
  }),
  newInlineSite: Effect.gen(function* () {
    const [kept, without] = yield* Effect.all([newSchema(url), newSchema(url)])
    return {
      kept: yield* Layer.build(PostgresLayer({ url, schema: kept, viewsSchema: kept, inline: [inlineProjection] })),
      ...(yield* withoutInline(url, without))
    }
  })
})

/** The name of a schema that is not there yet. */
const newSchema = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => `views_${randomUUID().replaceAll("-", "")}`),
    (schema) => Effect.promise(() => drop(url, schema))
  )

const drop = async (url: string, schema: string) => {
  const client = new Pg.Client({ connectionString: url })
  await client.connect()
  const found = await client.query("SELECT nspname AS name FROM pg_namespace WHERE starts_with(nspname, $1)", [schema])
  for (const { name } of found.rows) await client.query(`DROP SCHEMA "${name}" CASCADE`)
  await client.end()
}

const connect = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const client = new Pg.Client({ connectionString: url })
      await client.connect()
      return client
    }),
    (client) => Effect.promise(() => client.end())
  )

/** The loop with `pg`: one connection, prepared statements. */
const driverLoop =
  (url: string, texts: Texts): MakeLoop =>
  (way, after) =>
    Effect.gen(function* () {
      const client = yield* connect(url)
      const name = newName()
      const table = texts.tables + name
      const tracking = trackingOf(texts, name)
      const query = async (text: string, values: Array<unknown> = [], label?: string) =>
        (await client.query({ text, values, rowMode: "array", ...(label === undefined ? {} : { name: label }) }))
          .rows as Array<Array<unknown>>
      const one = `INSERT INTO ${table} (sku, n) VALUES ($1, 1) ON CONFLICT (sku) DO UPDATE SET n = ${table}.n + 1`
      const many = `INSERT INTO ${table} (sku, n) SELECT key, value::integer FROM json_each_text($1::json)
ON CONFLICT (sku) DO UPDATE SET n = ${table}.n + excluded.n`
      yield* Effect.promise(async () => {
        await query(`CREATE TABLE ${table} (sku text PRIMARY KEY, n integer NOT NULL)`)
        await query(tracking.create)
        await query(tracking.begin, [after])
      })
      yield* Effect.addFinalizer(() => Effect.promise(() => query(`DROP TABLE ${table}, ${table}_tracking`)))
      let position = after
      const step = async () => {
        const rows = await query(texts.page, [position], "page")
        if (rows.length === 0) return 0
        const to = lastOf(rows)
        const skus = skusOf(rows)
        await query("BEGIN")
        if ((await query(tracking.move, [to, position], "move")).length === 0) throw conflict()
        if (way === "batched") await query(many, [toCounts(skus)], "many")
        else for (const sku of skus) await query(one, [sku], "one")
        await query("COMMIT")
        position = to
        return rows.length
      }
      return {
        step: Effect.promise(step),
        position: () => position,
        counted: Effect.promise(async () => Number((await query(`SELECT sum(n) FROM ${table}`))[0]?.[0]))
      }
    })

const withoutInline = (url: string, schema: string): Effect.Effect<Omit<InlineSite, "kept">, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const without = yield* Layer.build(PostgresLayer({ url, schema }))
    yield* Effect.provide(openOrders([Order.id("the first")]), without)
    const { encoding, metadata, schemaVersion, type } = yield* Effect.provide(template, without)
    const client = yield* connect(url)
    const table = `${schema}.counts`
    yield* Effect.promise(() => client.query(`CREATE TABLE ${table} (sku text PRIMARY KEY, n integer NOT NULL)`))
    const { one } = textsOfRows(schema)
    const count = `INSERT INTO ${table} (sku, n) VALUES ($1, 1) ON CONFLICT (sku) DO UPDATE SET n = ${table}.n + 1`
    const record: InlineSite["record"] = (stream, version, item) =>
      Effect.promise(async () => {
        const payload = JSON.stringify(item)
        const values = [stream, version, randomUUID(), type, schemaVersion, encoding, payload, metadata, Date.now()]
        await client.query("BEGIN")
        await client.query({ name: "event", text: one, values })
        await client.query({ name: "count", text: count, values: [item.sku] })
        await client.query("COMMIT")
      })
    return { without, record }
  })
