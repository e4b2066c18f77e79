/**
 * What others have built on the tables of a view: it is named in the error, and none of it is removed with the view.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import type { View } from "effect-eventsourcing"
import { Position, Projection, ViewStore } from "effect-eventsourcing"
import { connect } from "../postgres/support/database.ts"
import { Counter } from "../support/dog.ts"
import type { Services } from "./support/harness.ts"
import { inViews } from "./support/harness.ts"
import { kinds } from "./support/viewKinds.ts"

/** A view with everything that belongs to it: tables that refer to each other, an index, a view of it, a trigger. */
const base = (version = 1) =>
  Projection.make("base", {
    version,
    aggregates: [Counter],
    view: Projection.sql(({ sql, table, index }) =>
      Effect.all([
        sql`CREATE TABLE ${table("c")} (k text PRIMARY KEY, n integer)`,
        sql`CREATE TABLE ${table("d")} (k text REFERENCES ${table("c")} (k))`,
        sql`CREATE INDEX ${index("by_n")} ON ${table("c")} (n)`,
        sql`CREATE VIEW ${table("v")} AS SELECT c.n FROM ${table("c")} AS c JOIN ${table("d")} AS d ON c.k = d.k`,
        sql`INSERT INTO ${table("c")} VALUES ('made', 1)`
      ])
    ),
    handlers: { Counter: { Started: Projection.ignore, Increased: Projection.ignore } }
  })

const key = (version = 1) => ({ projection: "base", version, upstream: "log", slice: 0 })

/** Version 1 exists and was superseded by version 2. */
const superseded = Effect.gen(function* () {
  const store = yield* ViewStore.SqlViewStore
  for (const version of [1, 2]) {
    yield* store.open(key(version), {
      ...{ mode: "followed", logId: "log-1", aggregates: ["Counter"] },
      setup: (view) => base().view.setup(view)
    })
    const to = Position.Position.make(1n)
    yield* store.transact({ key: key(version), from: undefined, to }, () => Effect.void)
  }
  assert.isTrue(yield* store.promote(key(2)))
  return store
})

describe.concurrent.each(Object.entries({ SQLite: kinds.SQLite, PostgreSQL: kinds.PostgreSQL }))(
  "objects that depend on a view in %s",
  (name, kind) => {
    const test = (title: string, run: Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
      it.live(title, () => inViews(kind, run))
    const isPostgres = name === "PostgreSQL"

    /** Runs statements on the objects of others, in a schema of theirs if the database has schemas. */
    const theirs = (make: (of: (name: string) => string, view: View.SqlView) => ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const store = yield* ViewStore.SqlViewStore
        const schema = `others_${randomUUID().replaceAll("-", "").slice(0, 12)}`
        const of = (name: string) => (isPostgres ? `${schema}.${name}` : name)
        if (isPostgres) {
          yield* Effect.acquireRelease(
            store.read(key(), ({ sql }) => sql.unsafe(`CREATE SCHEMA ${schema}`)),
            () =>
              Effect.scoped(
                Effect.flatMap(connect({ maxConnections: 1 }), (sql) => sql.unsafe(`DROP SCHEMA ${schema} CASCADE`))
              ).pipe(Effect.orDie)
          )
        }
        yield* store.read(key(), (view) => Effect.forEach(make(of, view), (text) => view.sql.unsafe(text)))
        return of
      })
    const tableOf = ({ sql, table }: View.SqlView, name: string) => sql`${table(name)}`.compile()[0]

    test(
      "others' views and foreign keys are named by reset and remove, and stay, as does the view",
      Effect.gen(function* () {
        const store = yield* superseded
        const of = yield* theirs((of, view) => [
          `CREATE VIEW ${of("totals")} AS SELECT sum(n) AS n FROM ${tableOf(view, "c")}`,
          `CREATE VIEW ${of("deeper")} AS SELECT n FROM ${of("totals")}`,
          `CREATE TABLE ${of("notes")} (k text, CONSTRAINT notes_k FOREIGN KEY (k) REFERENCES ${tableOf(view, "c")} (k) ON DELETE CASCADE)`,
          `INSERT INTO ${of("notes")} VALUES ('made')`,
          ...(isPostgres ? [`CREATE MATERIALIZED VIEW ${of("kept")} AS SELECT n FROM ${tableOf(view, "v")}`] : [])
        ])
        for (const change of [store.remove(key()), Projection.reset(base())]) {
          const error = yield* Effect.flip(change)
          if (error._tag !== "ProjectionHasDependents") return yield* Effect.die(error)
          assert.include(error, { projection: "base", version: 1 })
          assert.deepStrictEqual(
            error.dependents,
            isPostgres
              ? [
                  `materialized view ${of("kept")}`,
                  `table constraint notes_k on ${of("notes")}`,
                  `view ${of("totals")}`
                ]
              : ["table notes", "view totals"]
          )
          for (const dependent of error.dependents) assert.include(error.message, dependent)
        }
        yield* store.read(key(), ({ sql, table }) =>
          Effect.gen(function* () {
            assert.strictEqual((yield* sql.unsafe(`SELECT n FROM ${of("deeper")}`)).length, 1)
            assert.strictEqual((yield* sql.unsafe(`SELECT k FROM ${of("notes")}`)).length, 1)
            assert.strictEqual((yield* sql`SELECT k FROM ${table("c")}`).length, 1)
          })
        )
        assert.deepStrictEqual(
          (yield* store.versions(key())).map(({ version, position }) => `${version} at ${position}`),
          ["1 at 1", "2 at 1"]
        )
        // and once they are gone
        yield* store.read(key(), ({ sql }) =>
          Effect.gen(function* () {
            if (isPostgres) yield* sql.unsafe(`DROP MATERIALIZED VIEW ${of("kept")}`)
            yield* sql.unsafe(`DROP TABLE ${of("notes")}`)
            yield* sql.unsafe(`DROP VIEW ${of("deeper")}`)
            yield* sql.unsafe(`DROP VIEW ${of("totals")}`)
          })
        )
        yield* Projection.reset(base())
        assert.isTrue(yield* store.remove(key()))
      })
    )

    test(
      "the projection's own objects do not count, nor do others' objects that refer to something else",
      Effect.gen(function* () {
        const store = yield* superseded
        yield* theirs((of, view) => [
          `CREATE TABLE ${of("base_v1_c2")} (n integer)`,
          `CREATE VIEW ${of("second")} AS SELECT * FROM ${tableOf(view, "c").replace("_v1", "_v2")}`
        ])
        yield* Projection.reset(base())
        assert.isTrue(yield* store.remove(key()))
        assert.strictEqual((yield* store.read(key(2), ({ sql, table }) => sql`SELECT n FROM ${table("c")}`)).length, 1)
      })
    )

    if (isPostgres) {
      test(
        "so are defaults, rows of a type, functions, partitions elsewhere, and a log that was created in its schema",
        Effect.gen(function* () {
          const store = yield* superseded
          const of = yield* theirs((of, view) => {
            const c = tableOf(view, "c")
            const place = c.slice(0, c.lastIndexOf("."))
            return [
              `CREATE SEQUENCE ${place}.numbers`,
              `CREATE TABLE ${place}.parts (n integer) PARTITION BY RANGE (n)`,
              `CREATE TABLE ${place}.stored_events (n integer)`,
              `CREATE TABLE ${of("numbered")} (n bigint DEFAULT nextval('${place}.numbers'))`,
              `CREATE TABLE ${of("rows")} (n integer, r ${c})`,
              `CREATE FUNCTION ${of("pick")}(${c}) RETURNS integer LANGUAGE sql AS 'SELECT 1'`,
              `CREATE TABLE ${of("part")} PARTITION OF ${place}.parts FOR VALUES FROM (0) TO (10)`
            ]
          })
          const error = yield* Effect.flip(store.remove(key()))
          if (error._tag !== "ProjectionHasDependents") return yield* Effect.die(error)
          const listed = error.dependents.join("; ")
          for (const name of ["numbered", "rows", "pick", "part"]) assert.include(listed, of(name))
          assert.include(listed, "stored_events")
          assert.strictEqual(error.dependents.length, 5)
        })
      )
    }
  }
)
