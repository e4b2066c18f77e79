/**
 * What a program without the library would do to keep and read the same log: the library's own table with its indexes,
 * by each of the two drivers, with statements that are prepared once.
 */
import { randomUUID } from "node:crypto"
import { PgClient, PgTypes } from "@effect/sql-pg"
import type { Scope } from "effect"
import { Effect, Layer, Redacted, Result } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import Pg from "pg"
import type { Driver, Insert } from "../servers/Driver.ts"

/** As many as the library has by default. */
const CONNECTIONS = 10

/** Rows of one select: many, so that round trips do not count. */
const PAGE = 5000

const COLUMNS = "stream, version, id, type, schema_version, encoding, payload_text, metadata, recorded_at"
const PAYLOAD = 6
const METADATA = 7

/** The statements on the events of a schema. */
export const texts = (schema: string) => {
  const table = `"${schema}".stored_events`
  const next = `nextval('"${schema}".stored_events_position')`
  return {
    one: `INSERT INTO ${table} (position, ${COLUMNS}) VALUES (${next}, $1, $2, $3, $4, $5, $6, $7, $8, $9)`,
    many: `INSERT INTO ${table} (position, ${COLUMNS}) SELECT ${next}, * FROM unnest(
      $1::text[], $2::integer[], $3::uuid[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::bigint[])`,
    stream: `SELECT ${COLUMNS}, position FROM ${table} WHERE stream = $1 AND version > $2 ORDER BY version LIMIT ${PAGE}`,
    all: `SELECT ${COLUMNS}, position FROM ${table} WHERE position > $1 ORDER BY position LIMIT ${PAGE}`
  }
}

/** The values of rows, a column each. */
const columnsOf = (
  { type, schemaVersion, encoding, metadata }: StoredEvent.StoredEvent,
  rows: ReadonlyArray<Insert>
) => {
  const now = Date.now()
  return {
    streams: rows.map(({ stream }) => stream),
    versions: rows.map(({ version }) => version),
    ids: rows.map(() => randomUUID()),
    types: rows.map(() => type),
    schemaVersions: rows.map(() => schemaVersion),
    encodings: rows.map(() => encoding),
    payloads: rows.map(({ item }) => JSON.stringify(item)),
    metadatas: rows.map(() => metadata),
    times: rows.map(() => now)
  }
}

type Row = Array<unknown>

/** Pages from a start to the end, parsed. */
const readPages = <Place>(
  start: Place,
  placeOf: (row: Row) => Place,
  page: (after: Place) => Effect.Effect<ReadonlyArray<Row>, unknown>
): Effect.Effect<number, unknown> =>
  Effect.gen(function* () {
    let after = start
    let count = 0
    while (true) {
      const rows = yield* page(after)
      for (const row of rows) {
        row[PAYLOAD] = JSON.parse(row[PAYLOAD] as string)
        row[METADATA] = JSON.parse(row[METADATA] as string)
      }
      count += rows.length
      const last = rows[PAGE - 1]
      if (last === undefined) return count
      after = placeOf(last)
    }
  })

const nodePostgres = (
  url: string,
  schema: string,
  template: StoredEvent.StoredEvent
): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() => new Pg.Pool({ connectionString: url, max: CONNECTIONS })),
      (pool) => Effect.promise(() => pool.end())
    )
    const sql = texts(schema)
    const query = (name: string, text: string, values: Array<unknown>) =>
      Effect.promise(async () => (await pool.query({ name, text, values, rowMode: "array" })).rows as Array<Row>)
    const { type, schemaVersion, encoding, metadata } = template
    return {
      name: "pg",
      insert: ({ stream, version, item }) => {
        const payload = JSON.stringify(item)
        return query("one", sql.one, [
          ...[stream, version, randomUUID(), type, schemaVersion, encoding, payload, metadata, Date.now()]
        ])
      },
      insertMany: (rows) => Effect.suspend(() => query("many", sql.many, Object.values(columnsOf(template, rows)))),
      readStream: (stream) =>
        readPages(
          -1,
          (row) => row[1] as number,
          (after) => query("stream", sql.stream, [stream, after])
        ),
      readAll: readPages(
        "0",
        (row) => row[9] as string,
        (after) => query("all", sql.all, [after])
      )
    }
  })

const array = (oid: number, values: ReadonlyArray<unknown>) => Result.getOrThrow(PgTypes.array(values, oid))

const effectPg = (
  url: string,
  schema: string,
  template: StoredEvent.StoredEvent
): Effect.Effect<Driver, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const client = yield* Effect.map(
      Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: CONNECTIONS })),
      (services) => services.mapUnsafe.get(PgClient.PgClient.key) as PgClient.PgClient
    )
    const sql = texts(schema)
    const { text, int4, int8, uuid, OID } = PgTypes
    const query = (statement: string, values: ReadonlyArray<unknown>) =>
      client.unsafe(statement, values).values as unknown as Effect.Effect<ReadonlyArray<Row>, unknown>
    const { type, schemaVersion, encoding, metadata } = template
    return {
      name: "@effect/sql-pg",
      insert: ({ stream, version, item }) =>
        query(sql.one, [
          ...[text(stream), int4(version), uuid(randomUUID()), text(type), int4(schemaVersion), text(encoding)],
          ...[text(JSON.stringify(item)), text(metadata), int8(BigInt(Date.now()))]
        ]),
      insertMany: (rows) =>
        Effect.suspend(() => {
          const columns = columnsOf(template, rows)
          return query(sql.many, [
            array(OID.text, columns.streams),
            array(OID.int4, columns.versions),
            array(OID.uuid, columns.ids),
            array(OID.text, columns.types),
            array(OID.int4, columns.schemaVersions),
            array(OID.text, columns.encodings),
            array(OID.text, columns.payloads),
            array(OID.text, columns.metadatas),
            array(OID.int8, columns.times.map(BigInt))
          ])
        }),
      readStream: (stream) =>
        readPages(
          -1,
          (row) => row[1] as number,
          (after) => query(sql.stream, [text(stream), int4(after)])
        ),
      readAll: readPages(
        0n,
        (row) => row[9] as bigint,
        (after) => query(sql.all, [int8(after)])
      )
    }
  })

/** Both drivers on a log of the library's. */
export const drivers = (url: string, schema: string, template: StoredEvent.StoredEvent) =>
  Effect.all([nodePostgres(url, schema, template), effectPg(url, schema, template)])
