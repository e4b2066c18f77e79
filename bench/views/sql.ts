/** Views as tables: the library's runner on them, and the loop with the client that handlers get. */
import { Context, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { ProjectionRunner, ViewStore } from "effect-eventsourcing"
import { countAll, countMany, countOne, createTable, ITEM_ADDED, sqlProjections, tableOf } from "./counting.ts"
import type { Loop, MakeLoop, Site } from "./Site.ts"
import { cleaner, keyOf, noted } from "./store.ts"

type Services = EventSourcing.EventSourcing | Recorder.Recorder | ViewStore.SqlViewStore

/** The runner's side of a site. */
export const runnerOf = (services: Context.Context<Services>): Omit<Site, "loop" | "driver"> => {
  const store = Context.get(services, ViewStore.SqlViewStore)
  return {
    services,
    run: (way, version, commits) =>
      Effect.asVoid(ProjectionRunner.make(sqlProjections[way](version))).pipe(
        Effect.provideService(ViewStore.SqlViewStore, noted(store, commits)),
        Effect.provide(services)
      ),
    counted: (way, version) => store.read(keyOf(way, version), (view) => countAll(tableOf(view))),
    clean: cleaner(store)
  }
}

/** What the database has its own words for. */
export interface Texts {
  /** Selects a page of {@link COLUMNS} behind a position. */
  readonly page: string
  /** Where the tables of loops are: before their names. */
  readonly tables: string
  /** The n-th parameter of a statement. */
  readonly parameter: (n: number) => string
}

/** What the library reads of an event, too. */
export const COLUMNS = "id, type, schema_version, encoding, payload, metadata, recorded_at, stream, version, position"
const [TYPE, PAYLOAD, METADATA, POSITION] = [1, 4, 5, 9] as const

/** The statements of a loop's position, which is moved if it is where it is said to be. */
export const trackingOf = ({ tables, parameter }: Texts, name: string) => {
  const table = `${tables}${name}_tracking`
  return {
    create: `CREATE TABLE ${table} (only_row integer PRIMARY KEY, position bigint)`,
    begin: `INSERT INTO ${table} (only_row, position) VALUES (1, ${parameter(1)})`,
    move: `UPDATE ${table} SET position = ${parameter(1)} WHERE only_row = 1 AND position = ${parameter(2)} RETURNING position`,
    drop: `DROP TABLE ${table}`
  }
}

export const conflict = () => new Error("somebody else has moved the position")

/** Parses an event; answers what is to be counted of it. */
export const skuOf = (type: unknown, payload: unknown, metadata: unknown): string | undefined => {
  JSON.parse(metadata as string)
  const event = JSON.parse(payload as string)
  return (type as string) === ITEM_ADDED ? event.sku : undefined
}

/** What is counted of a page. */
export const skusOf = (rows: ReadonlyArray<ReadonlyArray<unknown>>): ReadonlyArray<string> =>
  rows.flatMap((row) => skuOf(row[TYPE], row[PAYLOAD], row[METADATA]) ?? [])

export const lastOf = (rows: ReadonlyArray<ReadonlyArray<unknown>>): number => Number(rows[rows.length - 1]?.[POSITION])

let loops = 0

/** A name that no loop has had yet. */
export const newName = (): string => `loop_${loops++}`

/** The loop with effect's client. What it makes is dropped with its scope. */
export const clientLoop =
  (client: Layer.Layer<SqlClient.SqlClient, unknown>, texts: Texts): MakeLoop =>
  (way, after) =>
    Effect.gen(function* () {
      const sql = Context.get(yield* Layer.build(client), SqlClient.SqlClient)
      const name = newName()
      const table = { sql, name: sql(texts.tables + name) }
      const tracking = trackingOf(texts, name)
      yield* createTable(table)
      yield* sql.unsafe(tracking.create)
      yield* sql.unsafe(tracking.begin, [BigInt(after)])
      yield* Effect.addFinalizer(() =>
        Effect.orDie(Effect.andThen(sql`DROP TABLE ${table.name}`, sql.unsafe(tracking.drop)))
      )
      let position = after
      const step = Effect.gen(function* () {
        const rows = yield* sql.unsafe(texts.page, [BigInt(position)]).values
        if (rows.length === 0) return 0
        const to = lastOf(rows)
        const skus = skusOf(rows)
        yield* sql.withTransaction(
          Effect.gen(function* () {
            const moved = yield* sql.unsafe(tracking.move, [BigInt(to), BigInt(position)]).values
            if (moved.length === 0) return yield* Effect.die(conflict())
            if (way === "batched") yield* countMany(table, skus)
            else for (const sku of skus) yield* countOne(table, sku)
          })
        )
        position = to
        return rows.length
      })
      const loop: Loop = { step, position: () => position, counted: countAll(table) }
      return loop
    })
