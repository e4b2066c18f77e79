/** Files that can't be used: each is a typed error that says what to do, and nothing is lost. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { Recorder } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Protocol from "../support/remoteCalls.ts"
import { append, event } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import type { commands as ShellCommands } from "./support/sqlShell.ts"
import * as Temporary from "./support/temporaryFile.ts"
import type { WorkerCommands } from "./support/worker.ts"

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

const head = Recorder.Recorder.use((recorder) => recorder.head)

/** Opens a file and reads it. */
const use = (filename: string) => Effect.provide(head, SqliteLayer({ filename }))

/** Records `count` events, one in each stream, and closes the file. */
const record = (filename: string, count: number) =>
  Recorder.Recorder.use((recorder) =>
    Effect.forEach(numbers(count), (n) => recorder.append(append(`Test-${n}`)), { concurrency: "unbounded" })
  ).pipe(Effect.provide(SqliteLayer({ filename })))

describe("a full database", () => {
  /** Leaves room for this many more pages than there are. */
  const leaveRoom = Effect.fnUntraced(function* (pages: number) {
    const sql = yield* SqlClient.SqlClient
    const [row] = yield* sql<{ readonly page_count: number }>`PRAGMA page_count`
    yield* sql.unsafe(`PRAGMA max_page_count = ${(row?.page_count ?? 0) + pages}`)
  })
  const freeSpace = SqlClient.SqlClient.use((sql) => sql`PRAGMA max_page_count = 1000000`)

  const open = (filename: string) => Layer.merge(SqliteLayer({ filename }), layerSqlClient({ filename }))
  const large = (stream: string, bytes: number) => append(stream, { events: [event({ payload: "x".repeat(bytes) })] })

  it.effect("fails the append that has no room, not the others of its group", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        yield* recorder.append(append("Test-before"))
        yield* leaveRoom(10)
        const tooLarge = large("Test-large", 1_000_000)
        const [error] = yield* Effect.all(
          [
            Effect.flip(recorder.append(tooLarge)),
            ...numbers(20).map((n) => recorder.append(append(`Test-${n}`)))
          ] as const,
          { concurrency: "unbounded" }
        )
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /the database is full; free disk space, or raise PRAGMA max_page_count/)
        assert.strictEqual((yield* Stored.rows(filename)).length, 21)

        yield* freeSpace
        assert.strictEqual((yield* recorder.append(tooLarge)).version, 0)
        assert.strictEqual((yield* recorder.readAll({ limit: 100 })).length, 22)
        assert.deepStrictEqual(yield* Stored.withConnection(filename, Stored.problems), [])
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("loses no recorded event, and records the rest when there is room again", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        yield* leaveRoom(30)
        const appends = numbers(40).map((n) => large(`Test-${n}`, 10_000))
        const recorded: Array<Recorder.Append> = []
        const refused: Array<Recorder.Append> = []
        for (const one of appends) {
          yield* Effect.match(recorder.append(one), {
            onSuccess: () => recorded.push(one),
            onFailure: (error) => {
              assert.strictEqual(error._tag, "RecorderFailure")
              refused.push(one)
            }
          })
        }
        assert.isAbove(recorded.length, 0)
        assert.isAbove(refused.length, 0)
        const ids = (all: ReadonlyArray<Recorder.Append>) => all.flatMap(({ events }) => events.map(({ id }) => id))
        assert.deepStrictEqual(
          (yield* Stored.rows(filename)).map(({ id }) => id),
          ids(recorded)
        )

        yield* freeSpace
        yield* Effect.forEach(refused, recorder.append)
        const events = yield* recorder.readAll({ limit: 100 })
        assert.deepStrictEqual(
          events.map(({ id }) => id),
          ids([...recorded, ...refused])
        )
        assert.isTrue(events.every(({ payload }) => payload.length === 10_000))
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("fails the user's own transaction with its own error, and the queue continues", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const recorder = yield* Recorder.Recorder
        yield* sql`CREATE TABLE notes (text TEXT NOT NULL) STRICT`
        yield* leaveRoom(10)
        const insert = (text: string) => sql`INSERT INTO notes VALUES (${text})`
        const error = yield* Effect.flip(
          sql.withTransaction(Effect.andThen(insert("small"), insert("x".repeat(1_000_000))))
        )
        assert.strictEqual(error._tag, "SqlError")
        assert.match(error.message, /full/)
        assert.deepStrictEqual(yield* sql`SELECT * FROM notes`, [])
        assert.strictEqual((yield* recorder.append(append("Test-one"))).version, 0)
      }).pipe(Effect.provide(open(filename)))
    })
  )
})

describe("a file that can't be opened", () => {
  const cases: Readonly<Record<string, readonly [make: (directory: string) => string, message: RegExp]>> = {
    "in a directory that is not there": [(directory) => `${directory}/none/log.db`, /check that its directory exists/],
    "that is a directory": [(directory) => directory, /can't be opened/],
    "without a name": [() => "", /"" is not the path of a file/],
    "named as a URI": [(directory) => `file:${directory}/log.db`, /is not the path of a file/],
    "named with a NUL": [(directory) => `${directory}/log\0.db`, /null bytes|NUL/],
    "that holds text": [
      (directory) => {
        Fs.writeFileSync(`${directory}/notes.txt`, "What was said on Monday.\n".repeat(1000))
        return `${directory}/notes.txt`
      },
      /not a SQLite database; check the filename/
    ],
    "that holds a word": [
      (directory) => {
        Fs.writeFileSync(`${directory}/word.txt`, "Monday")
        return `${directory}/word.txt`
      },
      /not a SQLite database; check the filename/
    ]
  }
  for (const [what, [make, message]] of Object.entries(cases)) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const directory = yield* Temporary.directory
        const filename = make(directory)
        const contents = () =>
          Fs.readdirSync(directory).map((name) => [name, Fs.readFileSync(Path.join(directory, name), "utf8")])
        const before = contents()
        const error = yield* Effect.flip(use(filename))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, message)
        assert.deepStrictEqual(contents(), before)
        assert.deepStrictEqual(yield* Temporary.openBelow(directory), [])
      })
    )
  }

  it.effect("because a newer version of the library made it", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* record(filename, 3)
      const setVersion = (version: number) =>
        Stored.withConnection(filename, (db) => db.exec(`UPDATE stored_log SET schema_version = ${version}`))
      const version = yield* Stored.withConnection(filename, (db) =>
        Number(db.prepare("SELECT schema_version AS version FROM stored_log").get()?.version)
      )
      yield* setVersion(99)
      const error = yield* Effect.flip(use(filename))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, /its schema has version 99, but .*; update effect-eventsourcing/)
      assert.deepStrictEqual(yield* Temporary.openBelow(Path.dirname(filename)), [])
      yield* setVersion(version)
      assert.strictEqual(yield* use(filename), 3n)
    })
  )

  it.effect("because another process has locked it", () =>
    Effect.gen(function* () {
      const locks = {
        "for writing, and it has no tables yet": ["BEGIN IMMEDIATE", "COMMIT", 0],
        "for reading too": [
          // a connection that has read nothing before could not leave the exclusive mode again
          "SELECT * FROM stored_log; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; CREATE TABLE notes (text TEXT)",
          "COMMIT; PRAGMA locking_mode = NORMAL; SELECT * FROM notes",
          3
        ]
      } as const
      for (const [how, [lock, unlock, count]] of Object.entries(locks)) {
        const filename = yield* Temporary.file
        if (count > 0) yield* record(filename, count)
        const other = yield* Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)
        yield* other.call("exec", lock)
        const opening = yield* Effect.forkChild(Effect.flip(use(filename)))
        yield* TestClock.adjust("6 seconds")
        const error = yield* Fiber.join(opening)
        assert.strictEqual(error._tag, "RecorderUnavailable", how)
        assert.match(error.message, /another process has held the lock for 5000 ms; see who has it open/, how)
        assert.deepStrictEqual(yield* Temporary.openBelow(Path.dirname(filename)), [], how)
        yield* other.call("exec", unlock)
        assert.strictEqual(yield* use(filename), count > 0 ? BigInt(count) : undefined, how)
      }
    })
  )

  it.effect("because it has tables of another program with the same names, which stay unchanged", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const schema = Stored.withConnection(filename, (db) => db.prepare("SELECT sql FROM sqlite_schema").all())
      yield* Stored.withConnection(filename, (db) => db.exec("CREATE TABLE stored_tracking (parcel TEXT)"))
      const before = yield* schema
      const error = yield* Effect.flip(use(filename))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.match(error.message, /stored_tracking already exists/)
      assert.deepStrictEqual(yield* schema, before)
    })
  )
})

describe("a file that may not be written", () => {
  // root may do everything, so the other process becomes a different user
  const isRoot = process.getuid?.() === 0

  const cases = {
    "is read-only, and its directory too": [0o444, 0o555],
    "is read-only": [0o444, 0o777],
    "can't be read": [0o000, 0o777],
    "is in a directory that is read-only": [0o666, 0o555]
  } as const
  for (const [what, [fileMode, directoryMode]] of Object.entries(cases)) {
    it.live(what, () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        const directory = Path.dirname(filename)
        /** The permissions of the file, of the files that SQLite keeps beside it, and of their directory. */
        const setModes = (file: number, directoryMode: number) =>
          Effect.sync(() => {
            for (const name of Fs.readdirSync(directory)) Fs.chmodSync(Path.join(directory, name), file)
            Fs.chmodSync(directory, directoryMode)
          })
        yield* record(filename, 3)
        yield* Effect.addFinalizer(() => setModes(0o666, 0o777))
        yield* setModes(fileMode, directoryMode)

        const other = yield* Protocol.connect<WorkerCommands>("sqlite/support/worker.ts")
        if (isRoot) yield* other.call("becomeNobody", undefined)
        // a readable file beside which SQLite can create its own is opened: its events can be read
        const openAndAppend = Effect.andThen(
          other.call("open", filename),
          other.call("openAccount", { name: "ada", owner: "ada" })
        )
        const error = yield* Effect.flip(openAndAppend)
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /make them and their directory writable|this process may write there/)
        yield* other.call("close", undefined)

        yield* setModes(0o666, 0o777)
        yield* openAndAppend
        yield* other.call("close", undefined)
        assert.strictEqual((yield* Stored.rows(filename)).length, 4)
      })
    )
  }
})
