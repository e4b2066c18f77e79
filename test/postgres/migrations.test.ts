/** How a log is created in a database: by the first of many processes, under any name, or by hand. */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import type { PgClient } from "@effect/sql-pg"
import { PgTypes } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Fiber, Logger, Redacted } from "effect"
import {
  MultiStreamAppend,
  Position,
  SnapshotRecorder,
  StreamCatalog,
  StreamName,
  TrackedAppend
} from "effect-eventsourcing"
import { SCHEMA_VERSION, schemaSql } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import Pg from "pg"
import * as Child from "../support/childProcess.ts"
import { eventually } from "../support/eventually.ts"
import { connect, newDatabase, newSchema, url } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { hold, openLog, watch } from "./support/openLog.ts"

const opened = (database: string) => ({ client: { url: Redacted.make(database) } })

/** Runs a text as a person would who has it in a file: all of it in one transaction. */
const runByHand = (database: string, sql: string) =>
  Effect.promise(async () => {
    const client = new Pg.Client({ connectionString: database })
    await client.connect()
    try {
      await client.query(`BEGIN;\n${sql}\nCOMMIT`)
    } finally {
      await client.end()
    }
  })

/** Everything that an application does with a log. */
const useAll = (log: Log) =>
  Effect.gen(function* () {
    const { recorder, services } = log
    const seen = yield* watch(recorder)
    const one = StreamName.StreamName.make(`Dog-${randomUUID()}`)
    const two = StreamName.StreamName.make(`Dog-${randomUUID()}`)
    yield* recorder.append({ stream: one, expected: "NoStream", events: storedEvents(1) })
    yield* Context.get(services, MultiStreamAppend.MultiStreamAppend).append([
      { stream: one, expected: 0, events: storedEvents(2) },
      { stream: two, expected: "NoStream", events: storedEvents(1) }
    ])
    yield* log.sql.withTransaction(recorder.append({ stream: two, expected: 0, events: storedEvents(3) }))
    const tracked = Context.get(services, TrackedAppend.TrackedAppend)
    const key = { projection: "p", version: 1, upstream: randomUUID(), slice: 0 }
    const [first, second] = [Position.Position.make(1n), Position.Position.make(2n)]
    for (const [from, to] of [
      [undefined, first],
      [first, second]
    ] as const) {
      yield* tracked.append([], { key, from, to, note: { logId: key.upstream, eventId: undefined } })
      assert.strictEqual(yield* tracked.position(key), to)
    }
    const snapshots = Context.get(services, SnapshotRecorder.SnapshotRecorder)
    for (const version of [0, 2]) {
      const snapshot = {
        ...{ stream: one, version, schemaVersion: 1, encoding: "json" },
        ...{ payload: `{"n":${version}}`, createdAt: 1, modifiedAt: 2 }
      }
      yield* snapshots.save(snapshot)
      assert.deepStrictEqual(yield* snapshots.load(one), snapshot)
    }
    assert.deepInclude(
      yield* Context.get(services, StreamCatalog.StreamCatalog).list({ limit: 1000, category: "Dog" }),
      { stream: two, version: 3 }
    )
    const recorded = yield* recorder.readAll({ limit: 1000 })
    yield* seen.until(recorded.length)
    assert.lengthOf(yield* recorder.readStream({ stream: one, limit: 10 }), 3)
    assert.strictEqual(yield* recorder.head, recorded.at(-1)?.position)
  })

/** Everything that a log has created in a schema, as text. */
const describeSchema = (sql: PgClient.PgClient, schema: string) =>
  Effect.map(
    sql<{ what: string }>`
      SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
        || ' ' || coalesce(column_default, '') || ' ' || coalesce(collation_name, '') AS what
      FROM information_schema.columns WHERE table_schema = ${schema}
      UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = ${schema}
      UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = ${schema}::regnamespace
      UNION ALL SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = ${schema}::regnamespace
      UNION ALL SELECT 'sequence ' || sequencename || ' ' || cache_size FROM pg_sequences WHERE schemaname = ${schema}
      ORDER BY what`,
    (rows) => rows.map(({ what }) => what.replaceAll(schema, "SCHEMA"))
  )

describe("opening a log", () => {
  it.live("ten layers and two processes that open a new schema at the same moment all succeed, on one log", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [here, observer] = [yield* connect(), yield* connect()]
      const waiting = observer`SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE ${`%${schema}%`})`
      // held until all of them are waiting, so that they begin at once
      const [layers, children] = yield* here.withTransaction(
        Effect.gen(function* () {
          const lock = `effect-eventsourcing migrations of ${schema}`
          yield* here`SELECT pg_advisory_xact_lock(hashtextextended(${lock}, 0))`
          const begun = yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.forkScoped(openLog(schema)))
          const started = yield* Effect.forEach([1, 2], () => Child.start("postgres/support/opener.ts", url(), schema))
          yield* eventually(
            "all of them wait",
            Effect.map(waiting, ({ length }) => length === 12)
          )
          return [begun, started] as const
        })
      )
      const logs = yield* Effect.forEach(layers, Fiber.join)
      const ids = [
        ...logs.map(({ recorder }) => recorder.logId),
        ...(yield* Effect.forEach(children, ({ line }) => line))
      ]
      assert.lengthOf(ids, 12)
      assert.strictEqual(new Set(ids).size, 1)
      yield* Effect.forEach(logs, ({ append }, n) => append(`Dog-${n}`), { concurrency: "unbounded" })
      assert.lengthOf(yield* logs[0]!.recorder.readAll({ limit: 100 }), 10)
      // and again now that it exists
      assert.strictEqual((yield* openLog(schema)).recorder.logId, ids[0])
    })
  )

  it.live("two schemas of one database are independent logs, also their locks and followers", () =>
    Effect.gen(function* () {
      const [mine, others] = [yield* openLog(yield* newSchema), yield* openLog(yield* newSchema)]
      assert.notStrictEqual(mine.recorder.logId, others.recorder.logId)
      const [seenMine, seenOthers] = [yield* watch(mine.recorder), yield* watch(others.recorder)]
      const held = yield* hold(mine, mine.append("Dog-a", 3))
      const first = yield* others.append("Dog-a", 2)
      yield* seenOthers.until(2)
      assert.strictEqual(first.version, 1)
      yield* held.commit
      yield* seenMine.until(3)
      const positions = ({ recorder }: Log) =>
        Effect.map(recorder.readAll({ limit: 10 }), (events) => events.map(({ position }) => position))
      assert.deepStrictEqual(yield* positions(mine), [1n, 2n, 3n])
      assert.deepStrictEqual(yield* positions(others), [1n, 2n])
      assert.deepStrictEqual(seenMine.events, ["Dog-a@0", "Dog-a@1", "Dog-a@2"])
      assert.deepStrictEqual(seenOthers.events, ["Dog-a@0", "Dog-a@1"])
      // the same events are new to each of them
      const append = {
        stream: StreamName.StreamName.make("Dog-b"),
        expected: "NoStream",
        events: storedEvents(1)
      } as const
      assert.strictEqual((yield* mine.recorder.append(append)).position, 4n)
      assert.strictEqual((yield* others.recorder.append(append)).position, 3n)
    })
  )

  it.live("a schema of a newer version is refused, and left unchanged", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* log.append("Dog-a")
      yield* log.sql`UPDATE ${log.sql(schema)}.stored_log SET schema_version = ${SCHEMA_VERSION + 1}`
      for (const createTables of [true, false]) {
        const error = yield* Effect.flip(openLog(schema, { createTables }))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), `has version ${SCHEMA_VERSION + 1}`)
        assert.include(String(error), "update effect-eventsourcing")
      }
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 1)
    })
  )

  it.live("a database that is not in UTF-8 is refused, and nothing is created in it", () =>
    Effect.gen(function* () {
      for (const encoding of ["SQL_ASCII", "LATIN1"]) {
        const database = yield* newDatabase(`ENCODING '${encoding}' TEMPLATE template0 LOCALE 'C'`)
        const error = yield* Effect.flip(openLog("orders", opened(database)))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), `encoding is ${encoding}`)
        assert.include(String(error), "ENCODING 'UTF8'")
        const sql = yield* connect(opened(database).client)
        assert.deepStrictEqual(yield* sql`SELECT nspname FROM pg_namespace WHERE nspname = 'orders'`, [])
      }
    })
  )
})

describe("the name of a schema", () => {
  const names = [
    'double " quote ""',
    "UPPER and lower Case",
    " ",
    "größe 日本語 🦕",
    "x".repeat(63),
    "é".repeat(31),
    "a-b; DROP TABLE c; --",
    "back\\slash \\' \\\\",
    "$1",
    "$$ $body$",
    "it's ''",
    "select",
    "a.b",
    "%s %I /* ? :x @y",
    "new\nline\ttab"
  ]
  it.live("can be any that PostgreSQL accepts: everything works in it, and the SQL of schemaSql creates it", () =>
    Effect.gen(function* () {
      const [made, byHand] = [yield* newDatabase(), yield* newDatabase()]
      const useSchema = Effect.fnUntraced(function* (name: string) {
        yield* runByHand(byHand, schemaSql(name))
        const logs = [
          yield* openLog(name, opened(made)),
          yield* openLog(name, { ...opened(byHand), createTables: false })
        ]
        for (const log of logs) {
          yield* useAll(log)
          assert.strictEqual((yield* log.sql`SELECT nspname FROM pg_namespace WHERE nspname = ${name}`).length, 1)
        }
        // the query for the holder of the lock contains the name, too
        const other = yield* openLog(name, { ...opened(made), lockTimeout: "20 millis" })
        assert.strictEqual(other.recorder.logId, logs[0]!.recorder.logId)
        const held = yield* hold(other, other.append("Dog-held"))
        const errors = yield* Effect.forEach([1, 2], (count) => Effect.flip(other.append("Dog-a", count)))
        for (const error of errors) assert.include(String(error), `process ${held.pid} has held the position lock`)
        yield* held.commit
      }, Effect.scoped)
      // each closes its connections: a server allows 100 by default
      yield* Effect.forEach(names, useSchema, { discard: true })
    })
  )

  it.live("is refused if it is invalid", () =>
    Effect.gen(function* () {
      const invalid: ReadonlyArray<readonly [name: string, reason: string]> = [
        ["", "empty"],
        ["x".repeat(64), "more than 63 bytes"],
        [`${"é".repeat(31)}xx`, "more than 63 bytes"],
        ["nu\0l", "NUL"],
        ["half \ud800", "not well-formed Unicode"],
        ["a$function$b", "$function$"]
      ]
      for (const [name, reason] of invalid) {
        for (const createTables of [true, false]) {
          const error = yield* Effect.flip(openLog(name, { createTables }))
          assert.deepInclude(error, { _tag: "RecorderFailure" })
          assert.include(String(error), reason)
        }
        assert.throws(() => schemaSql(name), reason)
      }
      // PostgreSQL reserves these names
      const error = yield* Effect.flip(openLog("pg_dog"))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.include(String(error), "pg_dog")
    })
  )
})

describe("tables that others create", () => {
  it.live("missing tables are reported with the call whose SQL creates them, and nothing is created", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const name = `${schema}'s`
      const sql = yield* connect()
      for (const there of [false, true]) {
        if (there) yield* sql`CREATE SCHEMA ${sql(schema)}`
        const error = yield* Effect.flip(openLog(schema, { createTables: false }))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), `has no log; run the SQL of schemaSql("${schema}")`)
      }
      assert.include(
        String(yield* Effect.flip(openLog(name, { createTables: false }))),
        `the schema "${name}" has no log`
      )
      assert.deepStrictEqual(yield* sql`SELECT 1 FROM pg_tables WHERE schemaname = ${schema}`, [])
    })
  )

  it.live("the reported call of schemaSql is valid code", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      for (const name of ["dogs", "dog's", "back\\slash", '"dogs"']) {
        const error = yield* Effect.flip(openLog(name, { ...opened(database), createTables: false }))
        const [, call = ""] = /run the SQL of schemaSql\((.*)\), or/.exec(String(error)) ?? []
        const argument = yield* Effect.sync(() => new Function(`return ${call}`)() as unknown).pipe(
          Effect.catchDefect(() => Effect.succeed(`no JavaScript: schemaSql(${call})`))
        )
        assert.strictEqual(argument, name)
      }
    })
  )

  it.live("the SQL of schemaSql creates the same tables and functions as the layer", () =>
    Effect.gen(function* () {
      const [made, byHand] = [yield* newSchema, yield* newSchema]
      yield* openLog(made)
      yield* runByHand(url(), schemaSql(byHand))
      const sql = yield* connect()
      const expected = yield* describeSchema(sql, made)
      assert.isAbove(expected.length, 30)
      assert.deepStrictEqual(yield* describeSchema(sql, byHand), expected)
    })
  )

  it.live("there is nothing to run from the newest version, and running it once more fails and changes nothing", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      yield* runByHand(url(), schemaSql(schema))
      const log = yield* openLog(schema, { createTables: false })
      yield* log.append("Dog-a")
      assert.strictEqual(schemaSql(schema, SCHEMA_VERSION), "")
      assert.strictEqual((yield* Effect.exit(runByHand(url(), schemaSql(schema))))._tag, "Failure")
      assert.strictEqual((yield* openLog(schema, { createTables: false })).recorder.logId, log.recorder.logId)
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 1)
    })
  )
})

describe("a log of version 1", () => {
  /** The schema as commit 6e72552 created it, with two events that were appended by it. */
  const make = (schema: string) => {
    const sql = Fs.readFileSync(new URL("support/schema-1.sql", import.meta.url), "utf8")
    const event = (stream: string) =>
      `SELECT version_1.append_event(1000, '${stream}', -1, gen_random_uuid(), 'Old', 1, 'json', '{}', NULL, '{}', 0);`
    return runByHand(url(), `${sql}\n${event("Dog-a")}\n${event("Dog-b")}`.replaceAll("version_1", schema))
  }

  /** The statements that a process of that version continues to send. */
  const appendAsBefore = ({ sql }: Log, schema: string, stream: string) =>
    sql.unsafe<{ answer: ReadonlyArray<bigint> }>(
      `SELECT "${schema}".append_event($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS answer`,
      [
        ...[PgTypes.int4(1000), PgTypes.text(stream), PgTypes.int4(-1), PgTypes.uuid(randomUUID())],
        ...[PgTypes.text("Old"), PgTypes.int4(1), PgTypes.text("json"), PgTypes.text("{}"), PgTypes.bytea(null)],
        ...[PgTypes.text("{}"), PgTypes.int8(0n)]
      ]
    )

  /** Rows that were loaded: version 1 appends at positions that no reader looks at. */
  const loadAhead = ({ sql }: Log, schema: string) =>
    sql.unsafe(
      `INSERT INTO "${schema}".stored_events VALUES (50, 'Cat-a', 0, gen_random_uuid(), 'Loaded', 1, 'json', '{}', NULL, '{}', 0)`
    )

  it.live("is migrated, and programs that have it open or open it now as version 1 continue", () =>
    Effect.gen(function* () {
      const [schema, newest] = [yield* newSchema, yield* newSchema]
      yield* make(schema)
      const before = yield* openLog(schema, { createTables: false })
      yield* appendAsBefore(before, schema, "Dog-c")
      const log = yield* openLog(schema)
      assert.strictEqual(log.recorder.logId, before.recorder.logId)
      assert.deepStrictEqual(
        (yield* log.recorder.readAll({ limit: 10 })).map(({ position }) => position),
        [1n, 2n, 3n]
      )
      yield* loadAhead(log, schema)
      const [answer] = yield* appendAsBefore(before, schema, "Dog-d")
      assert.deepStrictEqual(answer?.answer.map(BigInt), [51n])
      assert.strictEqual((yield* before.append("Dog-d", 2)).position, 53n)
      yield* useAll(log)
      // what a process of that version checks when it starts
      const [row] = yield* log.sql.unsafe(`SELECT schema_version FROM "${schema}".stored_log`)
      assert.deepStrictEqual(row, { schema_version: 1 })
      // the same as a new one
      yield* openLog(newest)
      assert.deepStrictEqual(yield* describeSchema(log.sql, schema), yield* describeSchema(log.sql, newest))
    })
  )

  it.live("keeps its trackings, with the note of the last move; a process of version 1 leaves none", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      yield* make(schema)
      const before = yield* openLog(schema, { createTables: false })
      const trackedBy = ({ services }: Log) => Context.get(services, TrackedAppend.TrackedAppend)
      const key = { projection: "p", version: 1, upstream: "accounts", slice: 0 }
      const note = { logId: "accounts", eventId: "one" }
      const at = (n: number) => Position.Position.make(BigInt(n))
      // the schema has no column for it
      yield* trackedBy(before).append([], { key, from: undefined, to: at(1), note })
      assert.deepStrictEqual(yield* trackedBy(before).progress(key), { position: at(1), note: undefined })

      const log = yield* openLog(schema)
      assert.deepStrictEqual(yield* trackedBy(log).progress(key), { position: at(1), note: undefined })
      yield* trackedBy(log).append([], { key, from: at(1), to: at(2), note })
      for (const one of [log, before]) {
        assert.deepStrictEqual(yield* trackedBy(one).progress(key), { position: at(2), note })
      }
      yield* trackedBy(before).append([], { key, from: at(2), to: at(3), note })
      for (const one of [log, before]) {
        assert.deepStrictEqual(yield* trackedBy(one).progress(key), { position: at(3), note: undefined })
      }
    })
  )

  it.live("is migrated by the SQL of schemaSql, too", () =>
    Effect.gen(function* () {
      const [schema, newest] = [yield* newSchema, yield* newSchema]
      yield* make(schema)
      yield* runByHand(url(), schemaSql(schema, 1))
      yield* openLog(newest)
      const log = yield* openLog(schema, { createTables: false })
      assert.deepStrictEqual(yield* describeSchema(log.sql, schema), yield* describeSchema(log.sql, newest))
      yield* useAll(log)
    })
  )

  it.live("is used unchanged, with a warning, if others have to migrate it", () =>
    Effect.gen(function* () {
      const role = `role_${randomUUID().replaceAll("-", "")}`
      const sql = yield* connect({ maxConnections: 1 })
      yield* Effect.acquireRelease(sql.unsafe(`CREATE ROLE ${role}`), () =>
        Effect.orDie(Effect.andThen(sql.unsafe(`DROP OWNED BY ${role}`), sql.unsafe(`DROP ROLE ${role}`)))
      )
      const client = { startupOptions: `-c role=${role}` }
      for (const options of [{ createTables: false }, { client }, { client, createTables: false }]) {
        const schema = yield* newSchema
        yield* make(schema)
        for (const grant of [`USAGE ON SCHEMA ${schema}`, `ALL ON ALL TABLES IN SCHEMA ${schema}`]) {
          yield* sql.unsafe(`GRANT ${grant} TO ${role}`)
        }
        yield* sql.unsafe(`GRANT USAGE ON SEQUENCE ${schema}.stored_events_position TO ${role}`)
        const logged: Array<string> = []
        const logger = Logger.make(({ message }) => void logged.push(String(message)))
        const log = yield* openLog(schema, options).pipe(Effect.provide(Logger.layer([logger])))
        assert.lengthOf(logged, 1)
        assert.include(logged[0], `run the SQL of schemaSql("${schema}", 1) as the owner`)
        yield* useAll(log)
      }
    })
  )

  it.live("of a later version that this one can work with is left unchanged", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* log.sql`UPDATE ${log.sql(schema)}.stored_log SET revision = ${SCHEMA_VERSION + 1}`
      yield* useAll(yield* openLog(schema))
      const [row] = yield* log.sql`SELECT revision FROM ${log.sql(schema)}.stored_log`
      assert.deepStrictEqual(row, { revision: SCHEMA_VERSION + 1 })
    })
  )
})

describe("roles", () => {
  /** A role for one test, and the URL with which it connects. */
  const newRole = (database: string): Effect.Effect<{ name: string; url: string }, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const sql = yield* connect({ maxConnections: 1 })
      const name = `role_${randomUUID().replaceAll("-", "")}`
      yield* Effect.acquireRelease(sql.unsafe(`CREATE ROLE ${name} LOGIN PASSWORD 'secret'`), () =>
        Effect.orDie(sql.unsafe(`DROP ROLE ${name}`))
      )
      const its = new URL(database)
      its.username = name
      its.password = "secret"
      return { name, url: its.href }
    })
  const forget = (database: string, role: string) =>
    Effect.addFinalizer(() => runByHand(database, `DROP OWNED BY ${role};`))

  /** The rights that the documentation names, as they are written there. */
  const grants = (schema: string, role: string): string => {
    const text = Fs.readFileSync(new URL("../../docs/postgres.md", import.meta.url), "utf8")
    const [sql] = [...text.matchAll(/```sql\n([^`]*GRANT[^`]*)```/g)].map(([, found]) => found ?? "")
    if (sql === undefined) throw new Error("docs/postgres.md has no rights")
    return sql.replaceAll(/\borders\b/g, schema).replaceAll(/\bapp\b/g, role)
  }

  const codeOf = (error: unknown) => (error as { reason?: { cause?: { code?: string } } }).reason?.cause?.code

  it.live("one with the documented rights can do all that an application does, and can't alter an event", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      const role = yield* newRole(database)
      yield* runByHand(database, schemaSql("orders"))
      yield* runByHand(database, grants("orders", role.name))
      yield* forget(database, role.name)
      for (const createTables of [false, true]) {
        const log = yield* openLog("orders", { createTables, ...opened(role.url) })
        yield* useAll(log)
        for (const statement of [
          "UPDATE orders.stored_events SET payload_text = '{}'",
          "DELETE FROM orders.stored_events",
          "TRUNCATE orders.stored_events",
          "SELECT setval('orders.stored_events_position', 1)",
          "UPDATE orders.stored_log SET log_id = ''",
          "DELETE FROM orders.stored_snapshots"
        ]) {
          assert.strictEqual(codeOf(yield* Effect.flip(log.sql.unsafe(statement))), "42501", statement)
        }
        // owned by another role: it can neither alter nor replace them
        for (const statement of [
          "ALTER TABLE orders.stored_events DROP COLUMN payload_text",
          "DROP FUNCTION orders.lock_positions"
        ]) {
          assert.strictEqual(codeOf(yield* Effect.flip(log.sql.unsafe(statement))), "42501", statement)
        }
      }
    })
  )

  it.live("one that may only read can read and follow, and its appends fail with the reason", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      const owner = yield* openLog("orders", opened(database))
      const role = yield* newRole(database)
      yield* runByHand(
        database,
        `GRANT USAGE ON SCHEMA orders TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA orders TO ${role.name};`
      )
      yield* forget(database, role.name)
      const log = yield* openLog("orders", { pollInterval: "1 hour", ...opened(role.url) })
      const seen = yield* watch(log.recorder)
      yield* owner.append("Dog-a", 2)
      yield* seen.until(2)
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 2)
      for (const count of [1, 2]) {
        const error = yield* Effect.flip(log.append("Dog-b", count))
        assert.deepInclude(error, { _tag: "RecorderFailure" })
        assert.include(String(error), "the role lacks a right")
      }
      yield* owner.append("Dog-a")
      yield* seen.until(3)
    })
  )
})
