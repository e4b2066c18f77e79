/**
 * The places of views, and their owners: names that collide, places of an older version of the library, other people's
 * tables.
 */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Layer, Scope } from "effect"
import { Effect } from "effect"
import type { View } from "effect-eventsourcing"
import { Position, ViewStore } from "effect-eventsourcing"
import { PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { connect, url } from "../postgres/support/database.ts"
import { inViews } from "../projection/support/harness.ts"
import { entriesOf, setUpJournal, write } from "../projection/support/journalView.ts"
import type { AnyStore } from "../projection/support/viewKinds.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import { newViewsSchema, temporaryDirectory } from "../support/backends.ts"

const at = (position: number) => Position.Position.make(BigInt(position))
const keyOf = (projection: string, version = 1) => ({ projection, version, upstream: "log", slice: 0 })
const opening = { mode: "followed", logId: "log-1", aggregates: ["Counter"] } as const

const withStore = <A, E>(
  views: Layer.Layer<ViewStore.SqlViewStore, unknown>,
  f: (store: AnyStore) => Effect.Effect<A, E>
): Effect.Effect<A, unknown> =>
  Effect.provide(
    Effect.flatMap(ViewStore.SqlViewStore, (store) => f(store as never)),
    views,
    { local: true }
  )

/** Creates a journal and writes to it. */
const begin = (store: AnyStore, projection: string) =>
  Effect.andThen(
    store.open(keyOf(projection), { ...opening, setup: setUpJournal }),
    store.transact({ key: keyOf(projection), from: undefined, to: at(1) }, (view) => write(view, projection))
  )

const entries = (store: AnyStore, projection: string) => store.read(keyOf(projection), entriesOf)

/** The tables as commit 6e72552 created them, and a row of a version that it was working on. */
const formerly = (own: string, projection: string): string => `
CREATE TABLE ${own}projection_tracking (
  projection text NOT NULL, version integer NOT NULL, upstream text NOT NULL, slice integer NOT NULL,
  mode text NOT NULL, status text NOT NULL, log_id text NOT NULL, aggregates text NOT NULL, position bigint,
  PRIMARY KEY (projection, version, upstream, slice)
);
CREATE TABLE ${own}projection_dead_letters (
  projection text NOT NULL, version integer NOT NULL, upstream text NOT NULL, slice integer NOT NULL,
  position bigint NOT NULL, stream text NOT NULL, stream_version integer NOT NULL, event_id text NOT NULL,
  type text NOT NULL, cause text NOT NULL, attempts integer NOT NULL, set_aside_at bigint NOT NULL,
  PRIMARY KEY (projection, version, upstream, slice, position)
);
CREATE TABLE ${own}projection_leases (
  projection text NOT NULL, version integer NOT NULL, upstream text NOT NULL, slice integer NOT NULL,
  holder text NOT NULL, expires_at bigint NOT NULL,
  PRIMARY KEY (projection, version, upstream, slice)
);
INSERT INTO ${own}projection_tracking VALUES ('${projection}', 1, 'log', 0, 'followed', 'current', 'log-1', 'Counter', 1);
`

const oldJournal = (table: string) => `
CREATE TABLE ${table} (place integer NOT NULL, entry text NOT NULL);
INSERT INTO ${table} VALUES (0, 'of old');
`

/** Statements, one after the other. */
const execute = (text: string) =>
  Effect.gen(function* () {
    const sql = yield* connect({ maxConnections: 1 })
    for (const statement of text.split(";\n").filter((one) => one.trim() !== ""))
      yield* sql.unsafe(statement).unprepared
  }).pipe(Effect.scoped, Effect.orDie)

const ask = (text: string) =>
  Effect.scoped(Effect.flatMap(connect({ maxConnections: 1 }), (sql) => Effect.orDie(sql.unsafe(text).values)))

const commentOf = (schema: string) =>
  Effect.map(ask(`SELECT obj_description(to_regnamespace('"${schema}"'), 'pg_namespace')`), ([row]) => String(row?.[0]))

/** Two tenants whose schemas and projections lead to the same name. */
const tenants = Effect.map(newViewsSchema, (schema) => ({
  a: { schema, projection: "eu_orders", views: PostgresViews({ url: url(), schema }) },
  b: { schema: `${schema}_eu`, projection: "orders", views: PostgresViews({ url: url(), schema: `${schema}_eu` }) },
  place: `${schema}_eu_orders_v1`
}))

describe.concurrent("places in PostgreSQL", () => {
  const test = (title: string, run: () => Effect.Effect<unknown, unknown, Scope.Scope>): void => it.live(title, run)

  test("G6 two whose names coincide have places of their own: a reset or removal of one does not affect the other", () =>
    Effect.gen(function* () {
      const { a, b } = yield* tenants
      const side = keyOf(a.projection)
      yield* withStore(a.views, (store) => store.open(side, { ...opening, setup: () => Effect.void }))
      yield* withStore(b.views, (store) => begin(store, b.projection))
      yield* withStore(a.views, (store) => store.reset(side, () => Effect.void))
      assert.deepStrictEqual(yield* withStore(b.views, (store) => entries(store, b.projection)), ["orders"])
      // and so do those with tables
      yield* withStore(a.views, (store) => store.reset(side, setUpJournal))
      yield* withStore(a.views, (store) =>
        store.transact({ key: side, from: undefined, to: at(1) }, (view) => write(view, "eu_orders"))
      )
      yield* withStore(b.views, (store) => store.reset(keyOf(b.projection), setUpJournal))
      assert.deepStrictEqual(yield* withStore(a.views, (store) => entries(store, a.projection)), ["eu_orders"])
      assert.deepStrictEqual(yield* withStore(b.views, (store) => entries(store, b.projection)), [])
    }))

  test("G6 also if both are created concurrently, and the public schema is one of them", () =>
    Effect.gen(function* () {
      const { a, b } = yield* tenants
      const projection = `p${a.schema.slice(5, 30)}`
      const views = [a, b, { views: PostgresViews({ url: url() }), projection }] as const
      yield* Effect.forEach(views, ({ views, projection }) => withStore(views, (store) => begin(store, projection)), {
        concurrency: "unbounded"
      })
      for (const one of views) {
        assert.deepStrictEqual(yield* withStore(one.views, (store) => entries(store, one.projection)), [one.projection])
      }
      yield* execute(`DROP SCHEMA ${projection}_v1 CASCADE;
DELETE FROM public.projection_tracking WHERE projection = '${projection}'`)
    }))

  test("a place of an older version of the library is found again, and names its owner from then on", () =>
    Effect.gen(function* () {
      const schema = yield* newViewsSchema
      const place = `${schema}_journal_v1`
      yield* execute(`CREATE SCHEMA ${schema};
CREATE SCHEMA ${place};
${formerly(`${schema}.`, "journal")}${oldJournal(`${place}.journal`)}`)
      const views = PostgresViews({ url: url(), schema })
      yield* withStore(views, (store) =>
        Effect.gen(function* () {
          // a reader alone
          assert.deepStrictEqual(yield* entries(store, "journal"), ["of old"])
          const opened = yield* store.open(keyOf("journal"), { ...opening, setup: () => Effect.die("it is there") })
          assert.include(opened, { status: "current", position: at(1) })
          yield* store.transact({ key: keyOf("journal"), from: at(1), to: at(2) }, (view) => write(view, "new"))
          assert.deepStrictEqual(yield* entries(store, "journal"), ["of old", "new"])
        })
      )
      assert.include(yield* commentOf(place), `"schema":"${schema}","projection":"journal","version":1`)
      yield* withStore(views, (store) => store.reset(keyOf("journal"), setUpJournal))
      assert.include(yield* commentOf(place), `"schema":"${schema}"`)
      assert.deepStrictEqual(yield* withStore(views, (store) => entries(store, "journal")), [])
    }))

  test("G6 a place that an older version gave to two still works, and is removed by neither", () =>
    Effect.gen(function* () {
      const { a, b, place } = yield* tenants
      yield* execute(`CREATE SCHEMA ${a.schema};
CREATE SCHEMA ${b.schema};
CREATE SCHEMA ${place};
${formerly(`${a.schema}.`, a.projection)}${formerly(`${b.schema}.`, b.projection)}${oldJournal(`${place}.journal`)}`)
      for (const { views, projection, schema } of [a, b]) {
        yield* withStore(views, (store) =>
          Effect.gen(function* () {
            yield* store.open(keyOf(projection), { ...opening, setup: setUpJournal })
            const error = yield* Effect.flip(store.reset(keyOf(projection), () => Effect.void))
            assert.include(error, { _tag: "RecorderFailure" })
            assert.include(String(error), schema === a.schema ? `schema "${b.schema}"` : `schema "${a.schema}"`)
            assert.deepStrictEqual(yield* entries(store, projection), ["of old"])
          })
        )
      }
      assert.strictEqual(yield* commentOf(place), "null")
    }))

  test("G6 a place that another's tracking claims, as after the copy of a schema, is neither opened nor removed", () =>
    Effect.gen(function* () {
      const schema = yield* newViewsSchema
      const views = PostgresViews({ url: url(), schema })
      yield* withStore(views, (store) => begin(store, "journal"))
      const copy = `${schema}_copy`
      yield* withStore(PostgresViews({ url: url(), schema: copy }), (store) =>
        Effect.gen(function* () {
          yield* execute(`INSERT INTO ${copy}.projection_tracking SELECT * FROM ${schema}.projection_tracking`)
          const opened = yield* Effect.flip(store.open(keyOf("journal"), { ...opening, setup: setUpJournal }))
          assert.include(
            String(opened),
            `belongs, by its comment, to version 1 of projection "journal" whose tracking is in schema "${schema}"`
          )
          assert.include(yield* Effect.flip(store.reset(keyOf("journal"), setUpJournal)), { _tag: "RecorderFailure" })
        })
      )
      assert.deepStrictEqual(yield* withStore(views, (store) => entries(store, "journal")), ["journal"])
    }))

  test("G6 a schema with tables of other programs is not used as a place", () =>
    Effect.gen(function* () {
      const schema = yield* newViewsSchema
      yield* execute(`CREATE SCHEMA ${schema}_journal_v1;
CREATE TABLE ${schema}_journal_v1.mine ()`)
      const opened = withStore(PostgresViews({ url: url(), schema }), (store) => begin(store, "journal"))
      assert.include(String(yield* Effect.flip(opened)), "with tables that do not belong to the projection")
    }))
})

describe.concurrent.each(Object.entries({ SQLite: kinds.SQLite, PostgreSQL: kinds.PostgreSQL }))(
  "names of tables in %s",
  (name, kind) => {
    it.live("two that differ after the 63rd byte are not taken for one", () => {
      const long = "n".repeat(63)
      const setup = ({ sql, table }: View.SqlView) =>
        Effect.forEach(["a", "b"], (end) => sql`CREATE TABLE IF NOT EXISTS ${table(long + end)} (n integer)`)
      return inViews(
        kind,
        Effect.gen(function* () {
          const store = yield* ViewStore.SqlViewStore
          const exit = yield* Effect.exit(store.open(keyOf("long"), { ...opening, setup }))
          assert.strictEqual(exit._tag, name === "SQLite" ? "Success" : "Failure")
          if (exit._tag === "Failure") assert.include(String(exit.cause), "more than 63 bytes")
        })
      )
    })
  }
)

describe.concurrent("places in SQLite", () => {
  const opened = (file: string, f: (store: AnyStore) => Effect.Effect<unknown, unknown>) =>
    withStore(SqliteViews({ filename: file }), f)

  it.live("a place of an older version of the library is found again", () =>
    Effect.gen(function* () {
      const file = `${yield* temporaryDirectory}/views.db`
      const db = new DatabaseSync(file)
      db.exec(formerly("", "journal") + oldJournal("journal_v1_journal"))
      db.close()
      yield* opened(file, (store) =>
        Effect.gen(function* () {
          assert.deepStrictEqual(yield* entries(store, "journal"), ["of old"])
          const reopened = yield* store.open(keyOf("journal"), { ...opening, setup: () => Effect.die("it is there") })
          assert.include(reopened, { status: "current", position: at(1) })
          yield* store.transact({ key: keyOf("journal"), from: at(1), to: at(2) }, (view) => write(view, "new"))
        })
      )
      yield* opened(file, (store) =>
        Effect.map(entries(store, "journal"), (all) => assert.deepStrictEqual(all, ["of old", "new"]))
      )
    })
  )

  it.live("G6 other programs' tables with such names, in whatever case, are not taken for the projection's", () =>
    Effect.gen(function* () {
      for (const table of ["journal_v1_mine", "Journal_V1_mine"]) {
        const file = `${yield* temporaryDirectory}/views.db`
        const db = new DatabaseSync(file)
        db.exec(`CREATE TABLE ${table} (n integer)`)
        const error = yield* Effect.flip(opened(file, (store) => begin(store, "journal")))
        assert.include(String(error), `"${table}" that does not belong to the projection`)
        assert.isDefined(db.prepare(`SELECT 1 FROM sqlite_master WHERE name = '${table}'`).get())
        db.close()
      }
    })
  )
})
