/** Transactions of the user's own that end other than by their commit, and fibers that outlive them. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import type { View } from "effect-eventsourcing"
import { Projection, ProjectionRunner, Recorder, Repository, TransactionalAppend } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { countOne, readCounts, setup } from "../support/countsView.ts"
import { addTrick, Dog } from "../support/dog.ts"
import { append } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import * as Temporary from "./support/temporaryFile.ts"

const opened = Effect.gen(function* () {
  const filename = yield* Temporary.file
  const context = yield* Layer.build(
    Layer.mergeAll(SqliteLayer({ filename }), SqliteViews({ filename }), layerSqlClient({ filename }))
  )
  const sql = Context.get(context, SqlClient.SqlClient)
  yield* sql`CREATE TABLE names (name TEXT PRIMARY KEY)`
  yield* sql`INSERT INTO names VALUES ('there')`
  yield* sql`CREATE TRIGGER refusing BEFORE INSERT ON names WHEN NEW.name = 'refused'
    BEGIN SELECT RAISE(ROLLBACK, 'refused'); END`
  const insert = (name: string) => sql`INSERT INTO names VALUES (${name})`
  const names = Effect.map(sql<{ readonly name: string }>`SELECT name FROM names ORDER BY name`, (rows) =>
    rows.map(({ name }) => name)
  )
  return { filename, sql, context, recorder: Context.get(context, Recorder.Recorder), insert, names }
})

/** Fails if there is no result in time: a test that hangs would say less. */
const answers = Effect.timeout("1 minute")

const endings: ReadonlyArray<readonly [string, (sql: SqlClient.SqlClient) => Effect.Effect<unknown>]> = [
  ["a conflict with OR ROLLBACK", (sql) => Effect.ignore(sql`INSERT OR ROLLBACK INTO names VALUES ('there')`)],
  ["a trigger with RAISE(ROLLBACK)", (sql) => Effect.ignore(sql`INSERT INTO names VALUES ('refused')`)],
  ["a ROLLBACK of its own", (sql) => Effect.orDie(sql`ROLLBACK`)]
]

const ended = /the transaction was ended by SQLite/

describe.each(endings)("a transaction that is ended by %s, whose error is caught", (_, end) => {
  it.live(
    "fails, and so does everything after it in the transaction: statements, streams, savepoints, reads and appends",
    () =>
      Effect.gen(function* () {
        const { filename, sql, recorder, insert, names } = yield* opened
        const messages: Array<string> = []
        const isRefused = <A, E extends { readonly message: string; readonly _tag: string }>(
          tag: string,
          self: Effect.Effect<A, E>
        ) =>
          Effect.map(Effect.flip(answers(self)), (error) => {
            assert.strictEqual(error._tag, tag)
            messages.push(SqlError.isSqlError(error) ? error.reason.message : error.message)
          })
        const dog = append("Dog-1")
        const outer = yield* sql
          .withTransaction(
            Effect.gen(function* () {
              yield* insert("before")
              yield* recorder.append(append("Dog-0"))
              yield* end(sql)
              yield* isRefused("SqlError", insert("behind"))
              yield* isRefused("SqlError", sql`SELECT 1`.unprepared)
              yield* isRefused("SqlError", sql`SELECT 1`.values)
              yield* isRefused("SqlError", sql`SELECT 1`.raw)
              yield* isRefused(
                "SqlError",
                Stream.runDrain(sql`INSERT INTO names VALUES ('in a stream') RETURNING *`.stream)
              )
              yield* isRefused("SqlError", sql.withTransaction(insert("in a savepoint")))
              yield* isRefused("RecorderFailure", recorder.append(dog))
              yield* isRefused("RecorderFailure", recorder.head)
              yield* isRefused("RecorderFailure", recorder.readStream({ stream: dog.stream, limit: 1 }))
            })
          )
          .pipe(answers, Effect.flip)
        assert.isTrue(SqlError.isSqlError(outer))
        assert.match(SqlError.isSqlError(outer) ? outer.reason.message : "", ended)
        assert.strictEqual(messages.length, 9)
        for (const message of messages) assert.match(message, ended)
        assert.deepStrictEqual(yield* names, ["there"])
        assert.deepStrictEqual(yield* Stored.rows(filename), [])
        // and the next transactions are not affected
        yield* sql.withTransaction(insert("next"))
        assert.strictEqual((yield* answers(recorder.append(dog))).version, 0)
        assert.deepStrictEqual(yield* names, ["next", "there"])
      })
  )

  it.live("fails, even if it was ended within a savepoint", () =>
    Effect.gen(function* () {
      const { filename, sql, recorder, insert, names } = yield* opened
      const nested = sql.withTransaction(Effect.andThen(insert("nested"), end(sql)))
      const outer = sql.withTransaction(
        Effect.gen(function* () {
          yield* recorder.append(append("Dog-0"))
          yield* Effect.flip(nested)
        })
      )
      const error = yield* Effect.flip(answers(outer))
      assert.match(SqlError.isSqlError(error) ? error.message : "", ended)
      assert.deepStrictEqual(yield* names, ["there"])
      assert.deepStrictEqual(yield* Stored.rows(filename), [])
      assert.strictEqual((yield* answers(recorder.append(append("Dog-0")))).version, 0)
    })
  )

  it.live("G1 makes the append fail whose work it was", () =>
    Effect.gen(function* () {
      const { filename, sql, context, insert, names } = yield* opened
      const { append: appendWith } = Context.get(context, TransactionalAppend.TransactionalAppend)
      const work = Effect.andThen(Effect.orDie(insert("before")), end(sql))
      const error = yield* Effect.flip(answers(appendWith({ appends: [append("Dog-0")] }, work)))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, ended)
      assert.deepStrictEqual(yield* Stored.rows(filename), [])
      assert.deepStrictEqual(yield* names, ["there"])
    })
  )
})

const fido = Dog.id("Fido")
const register = Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, Dog.Registered({ name: "Fido" })))
const teach = Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, addTrick("roll over")))

/** Ends the transaction at each trick, and continues. */
const onTrick = (view: View.SqlView) =>
  Effect.andThen(
    Effect.ignore(view.sql`INSERT OR ROLLBACK INTO ${view.table("counts")} (what, n) VALUES ('Registered', 1)`),
    Effect.ignore(countOne("TrickAdded", view))
  )

describe("a projection whose handler ends the transaction, and catches all errors", () => {
  it.live("G6 followed, stops without a trace in the view, however often it is retried", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const counts = Projection.make("counts", {
        aggregates: [Dog],
        view: Projection.sql(setup),
        handlers: {
          Dog: {
            Registered: (_event, view) => countOne("Registered", view),
            TrickAdded: (_event, view) => onTrick(view),
            Rested: Projection.ignore
          }
        }
      })
      yield* Effect.gen(function* () {
        yield* register
        yield* teach
        for (const _ of [1, 2]) {
          const runner = yield* ProjectionRunner.make(counts)
          const error = yield* Effect.flip(answers(runner.join))
          assert.match(error.message, ended)
          assert.deepStrictEqual(yield* Projection.read(counts, readCounts), {})
        }
      }).pipe(Effect.scoped, Effect.provide([SqliteLayer({ filename }), SqliteViews({ filename }), Logger.layer([])]))
    })
  )

  it.live("G6 inline, makes the append fail", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const counts = Projection.make("counts", {
        aggregates: [Dog],
        view: Projection.sql(setup),
        inline: true,
        handlers: {
          Dog: {
            Registered: (_event, view) => countOne("Registered", view),
            TrickAdded: (_event, view) => onTrick(view),
            Rested: Projection.ignore
          }
        }
      })
      yield* Effect.gen(function* () {
        yield* register
        assert.match((yield* Effect.flip(answers(teach))).message, ended)
        const dogs = yield* Repository.of(Dog)
        assert.strictEqual((yield* dogs.get(fido)).version, 0)
        assert.deepStrictEqual(yield* Projection.read(counts, readCounts), { Registered: 1 })
      }).pipe(
        Effect.provide([SqliteLayer({ filename, inline: [counts] }), SqliteViews({ filename }), Logger.layer([])])
      )
    })
  )
})

describe("a fiber that outlives the transaction that it was started in", () => {
  /**
   * Starts it in one transaction, lets it continue once that is over and another one is open, and rolls that one back:
   * what the fiber has done is not part of it.
   */
  const during = <A, E>(sql: SqlClient.SqlClient, self: Effect.Effect<A, E>) =>
    Effect.gen(function* () {
      const [open, running] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const fiber = yield* sql.withTransaction(
        Effect.forkDetach(
          Deferred.await(open).pipe(Effect.andThen(Deferred.succeed(running, undefined)), Effect.andThen(self))
        )
      )
      const other = sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO names VALUES ('of the other')`
          yield* Deferred.succeed(open, undefined)
          yield* Deferred.await(running)
          // it would have ended by now if it did not have to wait
          yield* Effect.sleep("20 millis")
          assert.isUndefined(fiber.pollUnsafe())
          return yield* Effect.fail("rolled back")
        })
      )
      assert.strictEqual(yield* Effect.flip(answers(other)), "rolled back")
      return yield* answers(Fiber.join(fiber))
    })

  it.live("appends outside of whatever other transaction is open", () =>
    Effect.gen(function* () {
      const { filename, sql, recorder } = yield* opened
      const appended = yield* during(sql, recorder.append(append("Dog-1")))
      assert.strictEqual(appended.version, 0)
      assert.strictEqual((yield* Stored.rows(filename)).length, 1)
    })
  )

  it.live("appends with work outside of it, too", () =>
    Effect.gen(function* () {
      const { filename, sql, context, insert, names } = yield* opened
      const { append: appendWith } = Context.get(context, TransactionalAppend.TransactionalAppend)
      const { versions } = yield* during(
        sql,
        appendWith({ appends: [append("Dog-1")] }, Effect.orDie(insert("of the fiber")))
      )
      assert.deepStrictEqual(versions, [0])
      assert.strictEqual((yield* Stored.rows(filename)).length, 1)
      assert.deepStrictEqual(yield* names, ["of the fiber", "there"])
    })
  )

  it.live.each([
    ["statements", (sql: SqlClient.SqlClient) => sql`INSERT INTO names VALUES ('of the fiber')`],
    [
      "streams of rows",
      (sql: SqlClient.SqlClient) => Stream.runDrain(sql`INSERT INTO names VALUES ('of the fiber') RETURNING *`.stream)
    ],
    ["transactions", (sql: SqlClient.SqlClient) => sql.withTransaction(sql`INSERT INTO names VALUES ('of the fiber')`)]
  ] as const)("has its %s outside of it", ([, run]) =>
    Effect.gen(function* () {
      const { sql, names } = yield* opened
      yield* during(sql, run(sql))
      assert.deepStrictEqual(yield* names, ["of the fiber", "there"])
    })
  )

  it.live("reads committed events, not those of the other transaction", () =>
    Effect.gen(function* () {
      const { sql, recorder } = yield* opened
      const open = yield* Deferred.make<void>()
      const { stream } = append("Dog-1")
      const reading = yield* sql.withTransaction(
        Effect.forkDetach(Effect.andThen(Deferred.await(open), recorder.readStream({ stream, limit: 10 })))
      )
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* recorder.append(append("Dog-1"))
          yield* Deferred.succeed(open, undefined)
          assert.deepStrictEqual(yield* answers(Fiber.join(reading)), [])
        })
      )
    })
  )

  it.live("G1 is refused further statements in a savepoint that ended with the transaction", () =>
    Effect.gen(function* () {
      const { filename, sql, recorder, insert, names } = yield* opened
      const [begun, over] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const refusals: Array<string> = []
      const refused = <A, E extends { readonly message: string }>(self: Effect.Effect<A, E>) =>
        Effect.map(Effect.orDie(Effect.flip(self)), ({ message }) => {
          refusals.push(message)
        })
      const inSavepoint = Effect.gen(function* () {
        yield* insert("of the savepoint")
        yield* Deferred.succeed(begun, undefined)
        yield* Deferred.await(over)
        yield* refused(insert("behind"))
        yield* refused(sql.withTransaction(insert("behind")))
        yield* refused(recorder.append(append("Dog-2")))
        yield* refused(recorder.head)
      })
      const nested = yield* sql.withTransaction(
        Effect.tap(Effect.forkDetach(sql.withTransaction(inSavepoint)), Deferred.await(begun))
      )
      // with a savepoint of the same name
      const other = sql.withTransaction(
        sql.withTransaction(
          Effect.gen(function* () {
            yield* insert("of the other")
            yield* Deferred.succeed(over, undefined)
            yield* refused(Fiber.join(nested))
            yield* recorder.append(append("Dog-1"))
          })
        )
      )
      yield* answers(other)
      assert.strictEqual(refusals.length, 5)
      for (const message of refusals) assert.match(message, /the transaction that this statement belongs to is over/)
      assert.deepStrictEqual(
        (yield* Stored.rows(filename)).map(({ stream }) => stream),
        ["Dog-1"]
      )
      assert.deepStrictEqual(yield* names, ["of the other", "of the savepoint", "there"])
    })
  )

  it.live("is refused the rest of the rows that it reads, and holds nothing open", () =>
    Effect.gen(function* () {
      const { filename, sql, recorder, insert } = yield* opened
      yield* sql`INSERT INTO names SELECT value FROM json_each(${JSON.stringify(Array.from({ length: 1000 }, (_, i) => i))})`
      const [first, over] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const reading = yield* sql.withTransaction(
        Effect.gen(function* () {
          const rows = sql`SELECT name FROM names`.stream
          const fiber = yield* Effect.forkDetach(
            Stream.runForEach(rows, () => Effect.andThen(Deferred.succeed(first, undefined), Deferred.await(over)))
          )
          yield* Deferred.await(first)
          return fiber
        })
      )
      yield* insert("next")
      yield* Deferred.succeed(over, undefined)
      const error = yield* Effect.flip(answers(Fiber.join(reading)))
      assert.match(error.message, /the transaction that this statement belongs to is over/)
      yield* Stored.withConnection(filename, (db) => db.exec("INSERT INTO names VALUES ('of another process')"))
      assert.strictEqual((yield* recorder.append(append("Dog-1"))).version, 0)
    })
  )
})

it.live("a transaction that is begun by hand on the reserved connection includes appends", () =>
  Effect.gen(function* () {
    const { filename, sql, recorder } = yield* opened
    const byHand = (end: string) =>
      Effect.gen(function* () {
        const connection = yield* sql.reserve
        const run = (statement: string) => connection.executeUnprepared(statement, [], undefined)
        yield* run("BEGIN IMMEDIATE")
        yield* recorder
          .append(append(`Dog-${end}`))
          .pipe(Effect.provideService(sql.transactionService, [connection, 0]))
        yield* run(end)
      }).pipe(Effect.scoped, answers)
    yield* byHand("ROLLBACK")
    yield* byHand("COMMIT")
    assert.deepStrictEqual(
      (yield* Stored.rows(filename)).map(({ stream }) => stream),
      ["Dog-COMMIT"]
    )
  })
)

describe(":memory:", () => {
  it.live("G6 maintains inline views in the database of the log", () =>
    Effect.gen(function* () {
      const counts = Projection.make("counts", {
        aggregates: [Dog],
        view: Projection.sql(setup),
        inline: true,
        handlers: {
          Dog: {
            Registered: (_event, view) => countOne("Registered", view),
            TrickAdded: ({ event }, view) =>
              Effect.andThen(
                countOne("TrickAdded", view),
                event.trick === "refused" ? Effect.fail(new Error("no more tricks")) : Effect.void
              ),
            Rested: Projection.ignore
          }
        }
      })
      yield* Effect.gen(function* () {
        yield* register
        yield* teach
        assert.deepStrictEqual(yield* Projection.read(counts, readCounts), { Registered: 1, TrickAdded: 1 })
        const append = Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, addTrick("refused")))
        assert.match((yield* Effect.flip(append)).message, /no more tricks/)
        assert.deepStrictEqual(yield* Projection.read(counts, readCounts), { Registered: 1, TrickAdded: 1 })
        assert.strictEqual((yield* (yield* Repository.of(Dog)).get(fido)).version, 1)
      }).pipe(Effect.provide([SqliteLayer({ filename: ":memory:", inline: [counts] }), Logger.layer([])]))
    })
  )
})
