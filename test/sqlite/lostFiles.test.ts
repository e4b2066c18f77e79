/** A file, or what SQLite keeps beside it, that is removed or replaced while it is open: G5. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  MultiStreamAppend,
  Position,
  Recorder,
  SnapshotRecorder,
  StreamName,
  TrackedAppend,
  TransactionalAppend,
  ViewStore
} from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import * as Protocol from "../support/remoteCalls.ts"
import { append } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import type { commands as ShellCommands } from "./support/sqlShell.ts"
import * as Temporary from "./support/temporaryFile.ts"

const layerOf = (filename: string) =>
  Layer.mergeAll(SqliteLayer({ filename }), layerSqlClient({ filename }), SqliteViews({ filename }))

/** Opens a file in a scope of its own, which is closed when the test says so, or ends. */
const open = Effect.fnUntraced(function* (filename: string) {
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const services = yield* Layer.buildWithScope(layerOf(filename), scope)
  return { services, recorder: Context.get(services, Recorder.Recorder), close: Scope.close(scope, Exit.void) }
})

/** A log with three events, and a backup of it that has only the first one. */
const openWithBackup = Effect.gen(function* () {
  const filename = yield* Temporary.file
  const log = yield* open(filename)
  yield* log.recorder.append(append("Test-one"))
  yield* Stored.withConnection(filename, (db) => db.exec(`VACUUM INTO '${filename}.backup'`))
  yield* log.recorder.append(append("Test-two"))
  yield* log.recorder.append(append("Test-three"))
  return { filename, backup: `${filename}.backup`, ...log }
})

const streams = (filename: string) => Effect.map(Stored.rows(filename), (rows) => rows.map(({ stream }) => stream))

const key = { projection: "test", version: 1, upstream: "other", slice: 0 }

/** Every way to write to a file. */
const writes = Effect.gen(function* () {
  const recorder = yield* Recorder.Recorder
  const several = yield* MultiStreamAppend.MultiStreamAppend
  const tracked = yield* TrackedAppend.TrackedAppend
  const transactional = yield* TransactionalAppend.TransactionalAppend
  const snapshots = yield* SnapshotRecorder.SnapshotRecorder
  const views = yield* ViewStore.SqlViewStore
  const sql = yield* SqlClient.SqlClient
  const move = { key, from: undefined, to: Position.Position.make(1n) }
  const insert = sql`CREATE TABLE IF NOT EXISTS notes (text TEXT)`
  return {
    append: recorder.append(append("Test-a")),
    "append to several streams": several.append([append("Test-b"), append("Test-c")]),
    "tracked append": tracked.append([append("Test-d")], move),
    "append with work": transactional.append({ appends: [append("Test-e")] }, Effect.void),
    snapshot: snapshots.save({
      ...{ stream: StreamName.StreamName.make("Test-one"), version: 0, schemaVersion: 1 },
      ...{ encoding: "json", payload: "{}", createdAt: 0, modifiedAt: 0 }
    }),
    view: views.transact(move, () => Effect.void),
    "a statement": insert,
    "a stream": Stream.runDrain(sql`SELECT * FROM stored_events`.stream),
    "a transaction": sql.withTransaction(insert),
    "an append in a transaction": sql.withTransaction(recorder.append(append("Test-f")))
  }
})

/** Asserts that everything fails with the reason, and that nothing is left waiting. */
const assertLost = Effect.fnUntraced(function* (
  services: Effect.Success<ReturnType<typeof open>>["services"],
  said: RegExp
) {
  const all = yield* Effect.provide(writes, services)
  for (const [way, write] of Object.entries(all)) {
    const error = yield* Effect.flip(
      write as Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>
    )
    assert.include(["RecorderFailure", "SqlError"], error._tag, way)
    assert.match(error.message, said, way)
    assert.match(error.message, /open it again/, way)
  }
})

const removed = /log\.db" was removed or renamed, or another file was put in its place/

describe("G5 a file that is lost while it is open takes no more appends", () => {
  const losses: Readonly<Record<string, (filename: string) => void>> = {
    "removed, with what is beside it": (filename) => {
      for (const suffix of ["", "-wal", "-shm"]) Fs.rmSync(filename + suffix)
    },
    "removed alone": (filename) => Fs.rmSync(filename),
    renamed: (filename) => Fs.renameSync(filename, `${filename}.old`),
    "replaced by a backup": (filename) => Fs.renameSync(`${filename}.backup`, filename),
    "replaced by a backup, with what is beside it removed": (filename) => {
      for (const suffix of ["-wal", "-shm"]) Fs.rmSync(filename + suffix)
      Fs.renameSync(`${filename}.backup`, filename)
    },
    "in a directory that is renamed": (filename) =>
      Fs.renameSync(Path.dirname(filename), `${Path.dirname(filename)}.old`),
    "in a directory that is removed": (filename) => Fs.rmSync(Path.dirname(filename), { recursive: true })
  }
  for (const [lost, lose] of Object.entries(losses)) {
    it.effect(lost, () =>
      Effect.gen(function* () {
        const { filename, services, close } = yield* openWithBackup
        yield* Effect.addFinalizer(() =>
          Effect.sync(() => Fs.rmSync(`${Path.dirname(filename)}.old`, { recursive: true, force: true }))
        )
        lose(filename)
        yield* assertLost(services, removed)
        yield* close
        assert.deepStrictEqual(yield* Temporary.openBelow(Path.dirname(filename)), [])
      })
    )
  }

  for (const suffix of ["-wal", "-shm"]) {
    it.effect(`its ${suffix} removed`, () =>
      Effect.gen(function* () {
        const { filename, services } = yield* openWithBackup
        Fs.rmSync(filename + suffix)
        yield* assertLost(services, new RegExp(`log\\.db${suffix}" was removed or replaced.*layerSqlClient`))
      })
    )
    it.effect(`its ${suffix} replaced`, () =>
      Effect.gen(function* () {
        const { filename, services } = yield* openWithBackup
        Fs.copyFileSync(filename + suffix, `${filename}.copy`)
        Fs.renameSync(`${filename}.copy`, filename + suffix)
        yield* assertLost(services, new RegExp(`log\\.db${suffix}" was removed or replaced`))
      })
    )
  }

  it.effect("also when it is already open in a transaction of the user's: nothing is committed", () =>
    Effect.gen(function* () {
      const { filename, services, recorder } = yield* openWithBackup
      const sql = Context.get(services, SqlClient.SqlClient)
      const error = yield* recorder.append(append("Test-four")).pipe(
        Effect.tap(() => Effect.sync(() => Fs.renameSync(`${filename}.backup`, filename))),
        sql.withTransaction,
        Effect.flip
      )
      assert.isTrue(SqlError.isSqlError(error))
      assert.match(error.message, removed)
      assert.deepStrictEqual(yield* streams(filename), ["Test-one"])
    })
  )

  it.effect("also if a stream of rows is open, which ends", () =>
    Effect.gen(function* () {
      const { filename, services } = yield* openWithBackup
      const sql = Context.get(services, SqlClient.SqlClient)
      const rows = sql`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n`
        .stream
      const other = yield* open(filename)
      const exit = yield* Effect.exit(
        Stream.runForEach(rows, () =>
          Effect.sync(() => {
            if (Fs.existsSync(`${filename}.backup`)) Fs.renameSync(`${filename}.backup`, filename)
          })
        )
      )
      assert.isTrue(Exit.isSuccess(exit) || !String(exit.cause).includes("Die"))
      yield* assertLost(other.services, removed)
    })
  )

  it.effect("G12 a follower fails, and so do later reads", () =>
    Effect.gen(function* () {
      const { filename, recorder } = yield* openWithBackup
      const following = yield* Effect.forkChild(Effect.flip(Stream.runDrain(recorder.follow({}))))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(following.pollUnsafe())
      Fs.rmSync(filename)
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(following)
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, removed)
      assert.match((yield* Effect.flip(recorder.head)).message, removed)
    })
  )

  it.effect("concurrent appends all fail", () =>
    Effect.gen(function* () {
      const { filename, recorder } = yield* openWithBackup
      const appends = yield* Effect.forEach(Array.from({ length: 600 }).keys(), (n) =>
        Effect.forkChild(Effect.flip(recorder.append(append(`Test-many ${n}`))))
      )
      Fs.rmSync(filename)
      for (const error of yield* Fiber.joinAll(appends)) assert.match(error.message, removed)
    })
  )

  it.effect("in a directory that has not changed for long, too", () =>
    Effect.gen(function* () {
      const { filename, recorder } = yield* openWithBackup
      const longAgo = new Date(1_600_000_000_000)
      Fs.utimesSync(Path.dirname(filename), longAgo, longAgo)
      for (const n of [1, 2, 3]) yield* recorder.append(append(`Test-quiet ${n}`))
      Fs.renameSync(`${filename}.backup`, filename)
      assert.match((yield* Effect.flip(recorder.append(append("Test-lost")))).message, removed)
    })
  )
})

describe("events that were recorded before", () => {
  it.effect("stay with a file that is renamed, and do not get into the one that replaces it", () =>
    Effect.gen(function* () {
      const { filename, backup, recorder, close } = yield* openWithBackup
      Fs.renameSync(filename, `${filename}.old`)
      Fs.renameSync(backup, filename)
      yield* Effect.flip(recorder.append(append("Test-lost")))
      yield* close
      assert.deepStrictEqual(yield* streams(`${filename}.old`), ["Test-one", "Test-two", "Test-three"])
      assert.deepStrictEqual(yield* streams(filename), ["Test-one"])
      assert.deepStrictEqual(Stored.withConnection(filename, Stored.problems).pipe(Effect.runSync), [])
    })
  )

  it.effect("do not get into a backup that was restored before the log was closed", () =>
    Effect.gen(function* () {
      const { filename, backup, close } = yield* openWithBackup
      Fs.renameSync(backup, filename)
      yield* close
      assert.deepStrictEqual(yield* streams(filename), ["Test-one"])
    })
  )

  it.effect("do not keep the file of that name from being opened, even while the lost one is not closed", () =>
    Effect.gen(function* () {
      const { filename, backup, recorder, close } = yield* openWithBackup
      Fs.renameSync(backup, filename)
      const again = yield* open(filename)
      assert.match((yield* Effect.flip(recorder.append(append("Test-lost")))).message, removed)
      yield* again.recorder.append(append("Test-again"))
      yield* close
      yield* again.recorder.append(append("Test-later"))
      assert.deepStrictEqual(yield* streams(filename), ["Test-one", "Test-again", "Test-later"])
    })
  )
})

describe("another SQLite library in this process", () => {
  /**
   * What such a library does to a file: since locks of one process do not exclude each other, it believes that it is
   * the last to close the file, and so moves the -wal into the file and removes it. The process loses its locks, as it
   * does whenever it closes any descriptor of the file.
   */
  const openAndClose = (filename: string) =>
    Effect.gen(function* () {
      yield* Stored.withConnection(filename, (db) => db.exec("PRAGMA wal_checkpoint(PASSIVE)"))
      for (const suffix of ["-wal", "-shm"]) Fs.rmSync(filename + suffix)
      Fs.closeSync(Fs.openSync(filename, "r"))
    })

  it.effect("G5 removes the -wal, which is noticed; others' writes to the new one are left alone", () =>
    Effect.gen(function* () {
      const { filename, services, close } = yield* openWithBackup
      yield* openAndClose(filename)
      const other = yield* Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)
      yield* other.call("exec", "CREATE TABLE theirs (n INTEGER); INSERT INTO theirs VALUES (1)")
      yield* assertLost(services, /log\.db-wal" was removed or replaced/)
      yield* close
      assert.isTrue(Fs.existsSync(`${filename}-wal`))
      yield* other.call("exec", "INSERT INTO theirs VALUES (2)")
      yield* Stored.withConnection(filename, (db) => {
        assert.strictEqual(db.prepare("SELECT count(*) AS n FROM theirs").get()?.n, 2)
        assert.deepStrictEqual(Stored.problems(db), [])
      })
      assert.deepStrictEqual(yield* streams(filename), ["Test-one", "Test-two", "Test-three"])
      // the file is intact, and can be opened again once that library has closed it
      const again = yield* open(filename)
      yield* again.recorder.append(append("Test-again"))
    })
  )

  it.effect("has created a new -wal, which closing the log does not remove", () =>
    Effect.gen(function* () {
      const { filename, services, close } = yield* openWithBackup
      yield* openAndClose(filename)
      const before = Fs.readFileSync(filename)
      Fs.writeFileSync(`${filename}-wal`, "theirs")
      yield* assertLost(services, /log\.db-wal" was removed or replaced/)
      yield* close
      assert.strictEqual(Fs.readFileSync(`${filename}-wal`, "utf8"), "theirs")
      assert.isTrue(before.equals(Fs.readFileSync(filename)))
      Fs.rmSync(`${filename}-wal`)
      assert.deepStrictEqual(yield* streams(filename), ["Test-one", "Test-two", "Test-three"])
    })
  )
})

describe("changes that are not a loss", () => {
  it.effect("VACUUM, checkpoints, backups, other connections, and new files beside it", () =>
    Effect.gen(function* () {
      const { filename, services, recorder } = yield* openWithBackup
      const sql = Context.get(services, SqlClient.SqlClient)
      const harmless: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
        ["VACUUM", sql`VACUUM`],
        ["a checkpoint", sql`PRAGMA wal_checkpoint(TRUNCATE)`],
        ["VACUUM of another connection", Stored.withConnection(filename, (db) => db.exec("VACUUM"))],
        ["another checkpoint", Stored.withConnection(filename, (db) => db.exec("PRAGMA wal_checkpoint(TRUNCATE)"))],
        ["another connection", Stored.withConnection(filename, (db) => db.exec("CREATE TABLE theirs (n)"))],
        ["a new file", Effect.sync(() => Fs.writeFileSync(`${filename}.new`, ""))],
        ["a hard link", Effect.sync(() => Fs.linkSync(filename, `${filename}.hard`))]
      ]
      for (const [n, [what, self]] of harmless.entries()) {
        yield* self
        assert.strictEqual((yield* recorder.append(append(`Test-harmless ${n}`))).version, 0, what)
      }
    })
  )

  it.effect("a link to it that is removed; one that now leads to another file is a loss", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const [link, other] = [`${filename}.link`, `${filename}.other`]
      Fs.writeFileSync(filename, "")
      Fs.symlinkSync(filename, link)
      const log = yield* open(link)
      yield* log.recorder.append(append("Test-one"))
      Fs.rmSync(link)
      yield* log.recorder.append(append("Test-two"))
      Fs.writeFileSync(other, "")
      Fs.symlinkSync(other, link)
      assert.match((yield* Effect.flip(log.recorder.append(append("Test-lost")))).message, /log\.db\.link/)
      yield* log.close
      assert.deepStrictEqual(yield* streams(filename), ["Test-one", "Test-two"])
    })
  )

  it.effect("another working directory, if the file was named by a relative path", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const before = process.cwd()
      yield* Effect.addFinalizer(() => Effect.sync(() => process.chdir(before)))
      process.chdir(Path.dirname(filename))
      const log = yield* open("log.db")
      process.chdir(before)
      yield* log.recorder.append(append("Test-one"))
      assert.deepStrictEqual(yield* streams(filename), ["Test-one"])
    })
  )

  it.effect(":memory:, which has no file", () =>
    Effect.gen(function* () {
      const recorder = yield* Recorder.Recorder
      assert.strictEqual((yield* recorder.append(append("Test-one"))).version, 0)
    }).pipe(Effect.provide(SqliteLayer({ filename: ":memory:" })))
  )
})

describe("a file that has two names", () => {
  it.effect(
    "is refused under the second one, which would have a -wal of its own, as long as it is open under the first",
    () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        const log = yield* open(filename)
        yield* log.recorder.append(append("Test-one"))
        Fs.linkSync(filename, `${filename}.hard`)
        const error = yield* Effect.flip(Effect.scoped(Layer.build(SqliteLayer({ filename: `${filename}.hard` }))))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /log\.db\.hard" is another name.*log\.db", which is open in this process/)
        yield* log.recorder.append(append("Test-two"))
        assert.deepStrictEqual(Stored.withConnection(filename, Stored.problems).pipe(Effect.runSync), [])
        yield* log.close
        const other = yield* open(`${filename}.hard`)
        assert.strictEqual((yield* other.recorder.readAll({ limit: 10 })).length, 2)
      })
  )

  it.effect("is refused also if both are opened concurrently", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Stored.withConnection(filename, (db: DatabaseSync) => db.exec("PRAGMA user_version = 1"))
      Fs.linkSync(filename, `${filename}.hard`)
      const done = yield* Deferred.make<void>()
      const opened = yield* Effect.forEach([filename, `${filename}.hard`], (name) =>
        Effect.forkChild(Effect.scoped(Effect.andThen(open(name), Deferred.await(done))))
      )
      yield* Effect.repeat(Effect.yieldNow, { times: 1000 })
      assert.strictEqual(opened.filter((fiber) => fiber.pollUnsafe() !== undefined).length, 1)
      yield* Deferred.succeed(done, undefined)
      const exits = yield* Effect.forEach(opened, (fiber) => Fiber.await(fiber))
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
    })
  )
})
