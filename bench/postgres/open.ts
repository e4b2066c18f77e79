/** The log that PostgreSQL's scenarios run on. */
import { randomUUID } from "node:crypto"
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import Pg from "pg"
import { openOrders } from "../fill.ts"
import { itemAt, Order } from "../order.ts"
import { template } from "../raw/template.ts"
import type { Bench } from "../servers/scenarios.ts"
import { drivers } from "./raw.ts"
import type { Server } from "./server.ts"

/** Events of the log before anything is measured, by one statement: a thousand streams, each with its share. */
const fillTable = (url: string, schema: string, events: number) =>
  Effect.promise(async () => {
    const client = new Pg.Client({ connectionString: url })
    await client.connect()
    const table = `"${schema}".stored_events`
    await client.query(
      `INSERT INTO ${table}
         (position, stream, version, id, type, schema_version, encoding, payload_text, metadata, recorded_at)
       SELECT nextval('"${schema}".stored_events_position'), 'Filled-' || n % 1000, n / 1000, gen_random_uuid(),
         'Filled.ItemAdded', 1, 'json', $1, '{}', 1700000000000
       FROM generate_series(0, $2::integer - 1) AS n`,
      [JSON.stringify(itemAt(0)), events]
    )
    await client.query(`VACUUM ANALYZE ${table}`)
    await client.end()
  })

/** A log in a schema of its own, which is dropped with the scope. */
export const open = (server: Server, filled: number): Effect.Effect<Bench, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const { url } = server
    const schema = `bench_${randomUUID().replaceAll("-", "")}`
    yield* Effect.addFinalizer(() =>
      Effect.promise(async () => {
        const client = new Pg.Client({ connectionString: url })
        await client.connect()
        await client.query(`DROP SCHEMA "${schema}" CASCADE`)
        await client.end()
      })
    )
    const services = yield* Layer.build(PostgresLayer({ url, schema }))
    if (filled > 0) yield* fillTable(url, schema, filled)
    const { drivers: raw } = yield* Effect.gen(function* () {
      yield* openOrders([Order.id("the first")])
      return { drivers: yield* drivers(url, schema, yield* template) }
    }).pipe(Effect.provide(services))
    return { services, drivers: raw, commit: server.commit, anotherLog: open(server, 0) }
  })
