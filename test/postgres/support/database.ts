import { randomUUID } from "node:crypto"
import { PgClient } from "@effect/sql-pg"
import type { Scope } from "effect"
import { Effect, Layer, Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import type { RecorderOptions, Services } from "effect-eventsourcing/postgres"
import { layerRecorders } from "effect-eventsourcing/postgres"

/** The server that the tests run on: see test/support/postgresSetup.ts. */
export const url = (): string => {
  const value = process.env.POSTGRES_URL
  if (value === undefined) throw new Error("POSTGRES_URL is not set: run the tests with vitest.config.ts")
  return value
}

/** A client of the test server; closed with the scope. */
export const connect = (
  options: Partial<PgClient.PgPoolConfig> = {}
): Effect.Effect<PgClient.PgClient, never, Scope.Scope> =>
  PgClient.make({ url: Redacted.make(url()), maxConnections: 4, ...options }).pipe(
    Effect.provideServiceEffect(Reactivity.Reactivity, Reactivity.make),
    Effect.orDie
  )

/** The name of a schema that does not exist, and will not exist once the scope has closed. */
export const newSchema: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => `test_${randomUUID().replaceAll("-", "")}`),
  (schema) =>
    Effect.scoped(
      Effect.flatMap(connect({ maxConnections: 1 }), (sql) =>
        sql`DROP SCHEMA IF EXISTS ${sql(schema)} CASCADE`.pipe(
          Effect.provideService(PgClient.PgClient, sql),
          Effect.orDie
        )
      )
    )
)

/** The URL of a database for one test; `how` follows its name in CREATE DATABASE. */
export const newDatabase = (how = ""): Effect.Effect<string, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const sql = yield* connect({ maxConnections: 1 })
    const name = `test_${randomUUID().replaceAll("-", "")}`
    yield* Effect.acquireRelease(sql.unsafe(`CREATE DATABASE ${name} ${how}`), () =>
      Effect.orDie(sql.unsafe(`DROP DATABASE ${name} WITH (FORCE)`))
    )
    const database = new URL(url())
    database.pathname = `/${name}`
    return database.href
  })

/** The log of a schema, on a pool of its own. */
export const layerLog = (
  schema: string,
  options: RecorderOptions & { readonly client?: Partial<PgClient.PgPoolConfig> } = {}
): Layer.Layer<Services, unknown> =>
  layerRecorders({ schema, ...options }).pipe(
    Layer.provide(PgClient.layer({ url: Redacted.make(url()), maxConnections: 4, ...options.client }))
  )
