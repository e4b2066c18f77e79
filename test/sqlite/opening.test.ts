/** The life of a file: created and migrated once, identified forever, and released when it is closed. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Position, Recorder, TrackedAppend } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import * as Protocol from "../support/remoteCalls.ts"
import { append } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import type { commands as ShellCommands } from "./support/sqlShell.ts"
import * as Temporary from "./support/temporaryFile.ts"

const logId = Recorder.Recorder.useSync((recorder) => recorder.logId)

/** Opens a file in a scope of its own, which is closed when the test says so, or ends. */
const openUntilClosed = (filename: string) =>
  Effect.gen(function* () {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Layer.buildWithScope(SqliteLayer({ filename }), scope)
    return { recorder: Context.get(context, Recorder.Recorder), close: Scope.close(scope, Exit.void) }
  })

const isRunning = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined

/** The statement with which a process of version 1 moves a tracking. */
const MOVE_AS_BEFORE =
  "INSERT OR REPLACE INTO stored_tracking (projection, projection_version, upstream, slice, position) VALUES ('emails', 1, 'accounts', 0, ?)"

describe("migration", () => {
  it.effect("opens a file of version 1, and the process that has it open goes on", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const before = yield* Effect.acquireRelease(
        Effect.sync(() => new DatabaseSync(filename)),
        (db) => Effect.sync(() => db.close())
      )
      before.exec(Fs.readFileSync(new URL("support/schema-1.sql", import.meta.url), "utf8"))
      const appendAsBefore = before.prepare(
        `INSERT INTO stored_events (stream, version, id, type, schema_version, encoding, payload, metadata, recorded_at)
         VALUES ('Dog-old', ?, ?, 'Old', 1, 'json', '{}', '{}', 0)`
      )
      const moveAsBefore = before.prepare(MOVE_AS_BEFORE)
      appendAsBefore.run(0, crypto.randomUUID())
      moveAsBefore.run(7n)

      const built = yield* Layer.build(SqliteLayer({ filename }))
      const recorder = Context.get(built, Recorder.Recorder)
      const tracked = Context.get(built, TrackedAppend.TrackedAppend)
      const key = { projection: "emails", version: 1, upstream: "accounts", slice: 0 }
      const at = (n: number) => Position.Position.make(BigInt(n))
      assert.strictEqual(recorder.logId, "0192aa6a-4c00-7000-8000-000000000001")
      assert.deepStrictEqual(yield* tracked.progress(key), { position: at(7), note: undefined })
      const note = { logId: "accounts", eventId: "one" }
      yield* tracked.append([], { key, from: at(7), to: at(8), note })
      assert.deepStrictEqual(yield* tracked.progress(key), { position: at(8), note })

      appendAsBefore.run(1, crypto.randomUUID())
      moveAsBefore.run(9n)
      assert.lengthOf(yield* recorder.readAll({ limit: 10 }), 2)
      assert.deepStrictEqual(yield* tracked.progress(key), { position: at(9), note: undefined })
      yield* tracked.append([], { key, from: at(9), to: at(10), note })
      assert.deepStrictEqual(yield* tracked.progress(key), { position: at(10), note })
    })
  )

  it.effect("happens once, in one transaction", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const transactions = Effect.sync(() => Stored.transactionsInWal(filename)).pipe(
        Effect.provide(SqliteLayer({ filename }))
      )
      assert.strictEqual(yield* transactions, 1)
      const made = Fs.readFileSync(filename)
      assert.strictEqual(yield* transactions, 0)
      assert.isTrue(made.equals(Fs.readFileSync(filename)))
    })
  )

  it.live("once it has happened, a file can be opened while another process holds its lock", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const layer = Layer.merge(
        SqliteLayer({ filename, lockTimeout: 100 }),
        SqliteViews({ filename, lockTimeout: 100 })
      )
      yield* Effect.provide(Effect.void, layer)
      const other = yield* Effect.acquireRelease(
        Effect.sync(() => new DatabaseSync(filename)),
        (database) => Effect.sync(() => database.close())
      )
      other.exec("BEGIN IMMEDIATE")
      assert.isString(yield* Effect.provide(logId, layer))
    })
  )

  it.effect("leaves nothing if it fails, and is done in full the next time", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const names = Stored.withConnection(filename, (db) =>
        db
          .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
          .all()
          .map(({ name }) => name)
      )
      // conflicts with a later statement of the migration
      yield* Stored.withConnection(filename, (db) => db.exec("CREATE VIEW stored_tracking AS SELECT 1"))
      const error = yield* Effect.flip(Effect.provide(logId, SqliteLayer({ filename })))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.deepStrictEqual(yield* names, ["stored_tracking"])
      yield* Stored.withConnection(filename, (db) => db.exec("DROP VIEW stored_tracking"))
      yield* Effect.provide(logId, SqliteLayer({ filename }))
      assert.deepStrictEqual(yield* names, ["stored_events", "stored_log", "stored_snapshots", "stored_tracking"])
    })
  )

  it.effect("leaves the user's own tables and user_version unchanged", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Stored.withConnection(filename, (db) =>
        db.exec("PRAGMA user_version = 7; CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('one')")
      )
      yield* Effect.provide(logId, SqliteLayer({ filename }))
      yield* Stored.withConnection(filename, (db) => {
        assert.strictEqual(db.prepare("PRAGMA user_version").get()?.user_version, 7)
        assert.strictEqual(db.prepare("SELECT text FROM notes").get()?.text, "one")
      })
    })
  )
})

describe("the id of a log", () => {
  it.effect("is stable, differs between files, and is copied with the file", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Temporary.file, yield* Temporary.file]
      const id = yield* Effect.provide(logId, SqliteLayer({ filename: one }))
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
      assert.strictEqual(yield* Effect.provide(logId, SqliteLayer({ filename: one })), id)
      assert.notStrictEqual(yield* Effect.provide(logId, SqliteLayer({ filename: other })), id)
      Fs.copyFileSync(one, `${one}.copy`)
      assert.strictEqual(yield* Effect.provide(logId, SqliteLayer({ filename: `${one}.copy` })), id)
    })
  )
})

describe("closing", () => {
  it.effect("G10 releases the file, which others can then copy, move or lock", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const directory = Path.dirname(filename)
      const log = yield* openUntilClosed(filename)
      yield* log.recorder.append(append("Test-one"))
      if (Fs.existsSync("/proc/self/fd")) assert.isNotEmpty(yield* Temporary.openBelow(directory))
      yield* log.close
      assert.deepStrictEqual(yield* Temporary.openBelow(directory), [])
      assert.deepStrictEqual(Fs.readdirSync(directory), [Path.basename(filename)])
      yield* Stored.withConnection(filename, (db) => db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"))
      Fs.renameSync(filename, `${filename}.moved`)
      assert.strictEqual((yield* Stored.rows(`${filename}.moved`)).length, 1)
    })
  )

  it.effect("is done by the last user of the file", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const [one, other] = [yield* openUntilClosed(filename), yield* openUntilClosed(filename)]
      yield* Effect.all([one.recorder.append(append("Test-one")), other.recorder.append(append("Test-other"))], {
        concurrency: "unbounded"
      })
      yield* one.close
      yield* other.recorder.append(append("Test-later"))
      assert.strictEqual((yield* other.recorder.readAll({ limit: 10 })).length, 3)
      yield* other.close
      assert.deepStrictEqual(yield* Temporary.openBelow(Path.dirname(filename)), [])
    })
  )

  it.effect("makes later operations fail with a typed error", () =>
    Effect.gen(function* () {
      const log = yield* openUntilClosed(yield* Temporary.file)
      yield* log.close
      const error = yield* Effect.flip(log.recorder.append(append("Test-one")))
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.match(error.message, /was closed/)
      assert.include(["RecorderUnavailable", "RecorderFailure"], (yield* Effect.flip(log.recorder.head))._tag)
    })
  )

  /** Closes a log while 8 appends wait for something; returns the outcome of all of them without time passing. */
  const closeWhileWaiting = (log: Effect.Success<ReturnType<typeof openUntilClosed>>) =>
    Effect.gen(function* () {
      const appends = yield* Effect.forEach(Array.from({ length: 8 }).keys(), (n) =>
        Effect.forkChild(Effect.flip(log.recorder.append(append(`Test-${n}`))))
      )
      yield* TestClock.adjust("1 second")
      assert.isTrue(appends.every(isRunning))
      const closing = yield* Effect.forkChild(log.close)
      yield* Effect.repeat(Effect.yieldNow, { times: 1000 })
      return { closing, appends, atOnce: ![closing, ...appends].some(isRunning) }
    })

  const assertClosed = Effect.fnUntraced(function* ({
    closing,
    appends,
    atOnce
  }: Effect.Success<ReturnType<typeof closeWhileWaiting>>) {
    yield* Fiber.join(closing)
    for (const error of yield* Fiber.joinAll(appends)) {
      assert.strictEqual(error._tag, "RecorderUnavailable")
      assert.match(error.message, /was closed/)
    }
    assert.isTrue(atOnce)
  })

  it.effect("G10 ends appends that wait for another process, instead of waiting with them", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const log = yield* openUntilClosed(filename)
      const other = yield* Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)
      yield* other.call("exec", "BEGIN IMMEDIATE")
      const closed = yield* closeWhileWaiting(log)
      yield* other.call("exec", "COMMIT")
      yield* TestClock.adjust("1 minute")
      yield* assertClosed(closed)
      assert.deepStrictEqual(yield* Stored.rows(filename), [])
    })
  )

  it.effect("G10 ends appends that wait for a transaction of the user's, which continues", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const log = yield* openUntilClosed(filename)
        const goOn = yield* Deferred.make<void>()
        const transaction = yield* sql`CREATE TABLE notes (text TEXT)`.pipe(
          Effect.andThen(Deferred.await(goOn)),
          Effect.andThen(sql`INSERT INTO notes VALUES ('one')`),
          sql.withTransaction,
          Effect.forkChild
        )
        const closed = yield* closeWhileWaiting(log)
        yield* Deferred.succeed(goOn, undefined)
        yield* Fiber.join(transaction)
        yield* assertClosed(closed)
        assert.strictEqual((yield* sql`SELECT * FROM notes`).length, 1)
      }).pipe(Effect.provide(layerSqlClient({ filename })))
      assert.deepStrictEqual(yield* Stored.rows(filename), [])
      assert.deepStrictEqual(yield* Temporary.openBelow(Path.dirname(filename)), [])
    })
  )
})
