import { randomUUID } from "node:crypto"
import { DatabaseSync } from "node:sqlite"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { newFile } from "../backends/sqlite.ts"
import { openOrders } from "../fill.ts"
import { Order } from "../order.ts"
import { template } from "../raw/template.ts"
import { inlineProjection, toCounts } from "./counting.ts"
import type { InlineSite, MakeLoop, Place } from "./Site.ts"
import { PAGE } from "./Site.ts"
import type { Texts } from "./sql.ts"
import { COLUMNS, clientLoop, conflict, lastOf, newName, runnerOf, skusOf, trackingOf } from "./sql.ts"

const texts: Texts = {
  page: `SELECT ${COLUMNS} FROM stored_events WHERE position > ? ORDER BY position LIMIT ${PAGE}`,
  tables: "",
  parameter: (n) => `?${n}`
}

/** Log and views in one file. */
export const sqlite = (folder: string): Place => ({
  name: "sqlite",
  singly: 40 * PAGE,
  awaited: 300,
  newSite: Effect.gen(function* () {
    const filename = yield* newFile(folder)
    const services = yield* Layer.build(Layer.merge(SqliteLayer({ filename }), SqliteViews({ filename })))
    return {
      ...runnerOf(services),
      loop: clientLoop(layerSqlClient({ filename }), texts),
      driver: driverLoop(filename)
    }
  }),
  newInlineSite: Effect.gen(function* () {
    const [kept, without] = yield* Effect.all([newFile(folder), newFile(folder)])
    return {
      kept: yield* Layer.build(SqliteLayer({ filename: kept, inline: [inlineProjection] })),
      ...(yield* withoutInline(without))
    }
  })
})

/** As durable as the library. */
const connect = (filename: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const db = new DatabaseSync(filename)
      db.exec("PRAGMA synchronous = FULL")
      return db
    }),
    (db) => Effect.sync(() => db.close())
  )

/** The loop with `node:sqlite`: a connection that reads and one that writes. */
const driverLoop =
  (filename: string): MakeLoop =>
  (way, after) =>
    Effect.gen(function* () {
      const reader = yield* connect(filename)
      const db = yield* connect(filename)
      const name = newName()
      const tracking = trackingOf(texts, name)
      db.exec(`CREATE TABLE ${name} (sku text PRIMARY KEY, n integer NOT NULL)`)
      db.exec(tracking.create)
      db.prepare(tracking.begin).run(after)
      yield* Effect.addFinalizer(() => Effect.sync(() => db.exec(`DROP TABLE ${name}; ${tracking.drop}`)))
      const page = reader.prepare(texts.page)
      page.setReturnArrays(true)
      const begin = db.prepare("BEGIN IMMEDIATE")
      const commit = db.prepare("COMMIT")
      const move = db.prepare(tracking.move)
      const one = db.prepare(
        `INSERT INTO ${name} (sku, n) VALUES (?, 1) ON CONFLICT (sku) DO UPDATE SET n = ${name}.n + 1`
      )
      const many = db.prepare(
        `INSERT INTO ${name} (sku, n) SELECT key, value FROM json_each(?) WHERE true
         ON CONFLICT (sku) DO UPDATE SET n = ${name}.n + excluded.n`
      )
      let position = after
      return {
        step: Effect.sync(() => {
          const rows = page.all(position) as unknown as ReadonlyArray<ReadonlyArray<unknown>>
          if (rows.length === 0) return 0
          const to = lastOf(rows)
          const skus = skusOf(rows)
          begin.run()
          if (move.get(to, position) === undefined) throw conflict()
          if (way === "batched") many.run(toCounts(skus))
          else for (const sku of skus) one.run(sku)
          commit.run()
          position = to
          return rows.length
        }),
        position: () => position,
        counted: Effect.sync(() => Number(db.prepare(`SELECT sum(n) AS n FROM ${name}`).get()?.n))
      }
    })

const withoutInline = (filename: string): Effect.Effect<Omit<InlineSite, "kept">, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const without = yield* Layer.build(SqliteLayer({ filename }))
    yield* Effect.provide(openOrders([Order.id("the first")]), without)
    const { encoding, metadata, schemaVersion, type } = yield* Effect.provide(template, without)
    const db = yield* connect(filename)
    db.exec("CREATE TABLE counts (sku text PRIMARY KEY, n integer NOT NULL)")
    const insert = db.prepare(
      `INSERT INTO stored_events (stream, version, id, type, schema_version, encoding, payload, metadata, recorded_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
    )
    const count = db.prepare(
      "INSERT INTO counts (sku, n) VALUES (?, 1) ON CONFLICT (sku) DO UPDATE SET n = counts.n + 1"
    )
    const begin = db.prepare("BEGIN IMMEDIATE")
    const commit = db.prepare("COMMIT")
    const record: InlineSite["record"] = (stream, version, item) =>
      Effect.sync(() => {
        const payload = JSON.stringify(item)
        begin.run()
        insert.run(stream, version, randomUUID(), type, schemaVersion, encoding, payload, metadata, Date.now())
        count.run(item.sku)
        commit.run()
      })
    return { without, record }
  })
