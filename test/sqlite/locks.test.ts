/** Who waits for whom: the writers of one process for each other in one queue, and for other processes by the clock. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import type { Duration } from "effect"
import { Clock, Context, Deferred, Effect, Fiber, Layer, ManagedRuntime, Stream } from "effect"
import { SqlClient, SqlError } from "effect/sql"
import { TestClock } from "effect/testing"
import {
  EventSourcingError,
  MultiStreamAppend,
  Position,
  Recorder,
  Repository,
  SnapshotRecorder,
  StreamName,
  TrackedAppend,
  TransactionalAppend,
  ViewStore
} from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import * as Protocol from "../support/remoteCalls.ts"
import { Account } from "./support/account.ts"
import { append } from "./support/appends.ts"
import * as Stored from "./support/inspectFile.ts"
import type { commands as ShellCommands } from "./support/sqlShell.ts"
import * as Temporary from "./support/temporaryFile.ts"

/** The library and the user's own SQL on one file, whose name the two may spell differently. */
const open = (filename: string, spelling = filename, lockTimeout: Duration.Input = "5 seconds") =>
  Layer.provideMerge(layerSqlClient({ filename: spelling, lockTimeout }), SqliteLayer({ filename, lockTimeout }))

/** Opens a transaction of the user's that has written, and stays open until it is released. */
const holdTransaction = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE notes (text TEXT NOT NULL) STRICT`
  const begun = yield* Deferred.make<void>()
  const goOn = yield* Deferred.make<void>()
  const fiber = yield* Effect.gen(function* () {
    yield* sql`INSERT INTO notes VALUES ('before')`
    yield* Deferred.succeed(begun, undefined)
    yield* Deferred.await(goOn)
    yield* sql`INSERT INTO notes VALUES ('after')`
  }).pipe(sql.withTransaction, Effect.forkChild)
  yield* Deferred.await(begun)
  const notes = Effect.map(sql<{ readonly text: string }>`SELECT text FROM notes`, (rows) =>
    rows.map(({ text }) => text)
  )
  return { fiber, goOn: Deferred.succeed(goOn, undefined), notes }
})

const snapshot = (stream: string) => ({
  stream: StreamName.StreamName.make(stream),
  version: 0,
  schemaVersion: 1,
  encoding: "json",
  payload: "{}",
  createdAt: 0,
  modifiedAt: 0
})

const move = {
  key: { projection: "test", version: 1, upstream: "other", slice: 0 },
  from: undefined,
  to: Position.Position.make(1n)
}

/** Every way to write through the library. */
const writes = Effect.gen(function* () {
  const recorder = yield* Recorder.Recorder
  const several = yield* MultiStreamAppend.MultiStreamAppend
  const tracked = yield* TrackedAppend.TrackedAppend
  const snapshots = yield* SnapshotRecorder.SnapshotRecorder
  const accounts = yield* Repository.of(Account)
  return {
    append: recorder.append(append("Test-one")),
    "append to several streams": several.append([append("Test-two"), append("Test-three")]),
    "tracked append": tracked.append([append("Test-four")], move),
    snapshot: snapshots.save(snapshot("Test-five")),
    command: accounts.execute(Account.id("six"), Account.Opened({ owner: "ada" }))
  }
})

const shell = (filename: string) => Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)

const isRunning = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() === undefined

describe("one queue for all writers of a process", () => {
  const spellings: Readonly<Record<string, (filename: string) => string>> = {
    "spelt the same": (filename) => filename,
    "spelt as a relative path": (filename) => Path.relative(process.cwd(), filename),
    "spelt with ..": (filename) => `${Path.dirname(filename)}/elsewhere/../${Path.basename(filename)}`,
    "behind a symlink": (filename) => {
      Fs.writeFileSync(filename, "")
      Fs.symlinkSync(filename, `${filename}.link`)
      return `${filename}.link`
    },
    "behind a symlink that was there before the file": (filename) => {
      Fs.symlinkSync(filename, `${filename}.link`)
      return `${filename}.link`
    },
    "in a symlinked directory": (filename) => {
      const link = `${Path.dirname(filename)}/link`
      Fs.symlinkSync(Path.dirname(filename), link)
      return Path.join(link, Path.basename(filename))
    }
  }
  for (const [spelt, spell] of Object.entries(spellings)) {
    it.effect(`a transaction of the user's that waits delays the other writers, and nothing else: ${spelt}`, () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        yield* Effect.gen(function* () {
          const recorder = yield* Recorder.Recorder
          const transaction = yield* holdTransaction
          const writers = yield* Effect.forEach(Object.values(yield* writes), (write) => Effect.forkChild(write))
          const appends = yield* Effect.forEach(Array.from({ length: 16 }).keys(), (n) =>
            Effect.forkChild(recorder.append(append(`Test-many ${n}`)))
          )

          // other fibers run, readers see what is committed, and no lock times out, because nothing waits for a lock
          let ticks = 0
          yield* Effect.sync(() => ticks++).pipe(Effect.delay("1 second"), Effect.forever, Effect.forkChild)
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(ticks, 60)
          assert.isUndefined(yield* recorder.head)
          assert.isTrue([...writers, ...appends].every(isRunning))

          yield* transaction.goOn
          yield* Fiber.join(transaction.fiber)
          yield* Effect.forEach(writers, (fiber) => Fiber.join<unknown, unknown>(fiber))
          yield* Fiber.joinAll(appends)
          assert.deepStrictEqual(yield* transaction.notes, ["before", "after"])
          assert.strictEqual((yield* recorder.readAll({ limit: 100 })).length, 5 + 16)
        }).pipe(Effect.provide(open(spell(filename), filename, "2 minutes")))
      })
    )
  }

  it.effect(
    "a transaction of the user's that is interrupted releases the queue, and rolls back only its own writes",
    () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        yield* Effect.gen(function* () {
          const recorder = yield* Recorder.Recorder
          const transaction = yield* holdTransaction
          const waiting = yield* Effect.forkChild(recorder.append(append("Test-one")))
          yield* Fiber.interrupt(transaction.fiber)
          assert.strictEqual((yield* Fiber.join(waiting)).version, 0)
          assert.deepStrictEqual(yield* transaction.notes, [])
        }).pipe(Effect.provide(open(filename)))
      })
  )

  it.effect("a write inside a transaction of the user's is part of it", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const recorder = yield* Recorder.Recorder
        for (const [way, write] of Object.entries(yield* writes)) {
          const undone = sql.withTransaction(Effect.andThen(write as Effect.Effect<unknown>, Effect.fail("undone")))
          assert.strictEqual(yield* Effect.flip(undone), "undone", way)
        }
        assert.deepStrictEqual(yield* recorder.readAll({ limit: 10 }), [])
        const snapshots = yield* SnapshotRecorder.SnapshotRecorder
        assert.strictEqual(yield* snapshots.load(StreamName.StreamName.make("Test-five")), undefined)
        for (const write of Object.values(yield* writes)) {
          yield* sql.withTransaction(write as Effect.Effect<unknown>)
        }
        assert.strictEqual((yield* recorder.readAll({ limit: 10 })).length, 5)
        assert.isDefined(yield* snapshots.load(StreamName.StreamName.make("Test-five")))
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("a write to another file is allowed there", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Temporary.file, yield* Temporary.file]
      const appended = yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const recorder = yield* Recorder.Recorder
        return yield* sql.withTransaction(recorder.append(append("Test-one")))
      }).pipe(Effect.provide(Layer.merge(SqliteLayer({ filename: one }), layerSqlClient({ filename: other }))))
      assert.strictEqual(appended.version, 0)
    })
  )
})

describe("a transaction of this process that holds the queue", () => {
  const held = /another transaction of this process has held the queue of its writers for 5000 ms.*lockTimeout/

  const assertHeld = (error: unknown, what: string) => {
    if (!(error instanceof EventSourcingError.RecorderUnavailable)) {
      assert.isTrue(SqlError.isSqlError(error), what)
      assert.match(String((error as SqlError.SqlError).message), held, what)
      return
    }
    assert.match(error.message, held, what)
    assert.strictEqual(error.waited, 5000, what)
  }

  it.effect("is waited for as long as lockTimeout, by every way to write", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const recorder = yield* Recorder.Recorder
        const transactional = yield* TransactionalAppend.TransactionalAppend
        const views = yield* ViewStore.SqlViewStore
        const transaction = yield* holdTransaction
        const insert = sql`INSERT INTO notes VALUES ('other')`
        const ways: Readonly<Record<string, Effect.Effect<unknown, unknown>>> = {
          ...(yield* writes),
          "append with work": transactional.append({ appends: [append("Test-work")] }, Effect.void),
          view: views.transact(move, () => Effect.void),
          statement: insert,
          transaction: sql.withTransaction(insert),
          stream: Stream.runDrain(sql`SELECT * FROM notes`.stream)
        }
        const waiting = yield* Effect.forEach(Object.entries(ways), ([way, write]) =>
          Effect.map(Effect.forkChild(Effect.flip(write)), (fiber) => ({ way, fiber }))
        )
        yield* TestClock.adjust(4999)
        assert.isTrue(waiting.every(({ fiber }) => isRunning(fiber)))
        yield* TestClock.adjust(1)
        for (const { way, fiber } of waiting) assertHeld(yield* Fiber.join(fiber), way)

        // none of them takes effect later, and everything continues
        yield* transaction.goOn
        yield* Fiber.join(transaction.fiber)
        assert.deepStrictEqual(yield* transaction.notes, ["before", "after"])
        assert.strictEqual((yield* recorder.append(append("Test-one"))).version, 0)
        assert.strictEqual((yield* recorder.readAll({ limit: 100 })).length, 1)
      }).pipe(Effect.provide(Layer.provideMerge(SqliteViews({ filename }), open(filename))))
    })
  )

  it.effect("is waited for equally long by each writer, whenever it arrived", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const sql = yield* SqlClient.SqlClient
        const transaction = yield* holdTransaction
        const start = (n: number) =>
          Effect.all([
            Effect.forkChild(Effect.flip(recorder.append(append(`Test-${n}`)))),
            Effect.forkChild(Effect.flip(sql`INSERT INTO notes VALUES ('other')`))
          ])
        const first = yield* start(1)
        yield* TestClock.adjust("2 seconds")
        const second = yield* start(2)
        yield* TestClock.adjust("3 seconds")
        for (const fiber of first) assertHeld(yield* Fiber.join<unknown, unknown>(fiber), "the first")
        assert.isTrue(second.every(isRunning))
        yield* TestClock.adjust("1 second")
        const third = yield* Effect.forkChild(recorder.append(append("Test-3")))
        yield* TestClock.adjust("1 second")
        for (const fiber of second) assertHeld(yield* Fiber.join<unknown, unknown>(fiber), "the second")
        assert.isTrue(isRunning(third))
        yield* transaction.goOn
        assert.strictEqual((yield* Fiber.join(third)).version, 0)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("does not time out while the queue advances, however many writers are in it", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const sql = yield* SqlClient.SqlClient
        const all = yield* Effect.forEach(Array.from({ length: 10 }).keys(), (n) =>
          Effect.forkChild(
            sql.withTransaction(Effect.andThen(recorder.append(append(`Test-${n}`)), Effect.sleep("3 seconds")))
          )
        )
        yield* TestClock.adjust("1 second")
        const last = yield* Effect.forkChild(recorder.append(append("Test-last")))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.joinAll(all)
        assert.strictEqual((yield* Fiber.join(last)).version, 0)
        assert.strictEqual((yield* recorder.readAll({ limit: 100 })).length, 11)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect(
    "and waits for a writer that waits for it, in another runtime: that one fails, and so does the transaction",
    () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          const other = yield* Effect.acquireRelease(
            Effect.map(Clock.Clock, (clock) =>
              ManagedRuntime.make(Layer.provide(SqliteLayer({ filename }), Layer.succeed(Clock.Clock, clock)))
            ),
            (runtime) => runtime.disposeEffect
          )
          const clock = yield* Clock.Clock
          const appended = Recorder.Recorder.use((recorder) => recorder.append(append("Test-one"))).pipe(
            Effect.provideService(Clock.Clock, clock)
          )
          const waiting = yield* Effect.andThen(
            sql`CREATE TABLE notes (text TEXT NOT NULL) STRICT`,
            Effect.tryPromise({ try: () => other.runPromise(appended), catch: (error) => error })
          ).pipe(sql.withTransaction, Effect.flip, Effect.forkChild)
          // the other runtime has its own scheduler
          while (isRunning(waiting)) {
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
            yield* TestClock.adjust("1 second")
          }
          assertHeld(yield* Fiber.join(waiting), "an append of another runtime")
          assert.deepStrictEqual(yield* sql`SELECT name FROM sqlite_schema WHERE name = 'notes'`, [])
        }).pipe(Effect.provide(open(filename)))
      })
  )

  it.effect("delays the reads of :memory:, too, which has one connection", () =>
    Effect.gen(function* () {
      const database = yield* Layer.build(SqliteLayer({ filename: ":memory:" }))
      const [recorder, transactional] = [
        Context.get(database, Recorder.Recorder),
        Context.get(database, TransactionalAppend.TransactionalAppend)
      ]
      const goOn = yield* Deferred.make<void>()
      const begun = yield* Deferred.make<void>()
      const work = Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(goOn))
      const holding = yield* Effect.forkChild(transactional.append({ appends: [append("Test-one")] }, work))
      yield* Deferred.await(begun)
      const reads = yield* Effect.forEach(
        [recorder.head, recorder.readAll({ limit: 1 }), recorder.append(append("Test-two"))],
        (one) => Effect.forkChild(Effect.flip(Effect.asVoid<unknown, unknown, never>(one)))
      )
      yield* TestClock.adjust("5 seconds")
      for (const fiber of reads) assertHeld(yield* Fiber.join(fiber), ":memory:")
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.join(holding)
      assert.strictEqual(yield* recorder.head, 1n)
    })
  )

  it.effect(
    "G10 a writer that is interrupted while it waits leaves the queue to the others, whenever that happens",
    () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        yield* Effect.gen(function* () {
          const sql = yield* SqlClient.SqlClient
          for (let steps = 0; steps < 12; steps++) {
            const goOn = yield* Deferred.make<void>()
            const first = yield* Effect.forkChild(sql.withTransaction(Deferred.await(goOn)))
            const second = yield* Effect.forkChild(sql.withTransaction(Effect.yieldNow))
            const third = yield* Effect.forkChild(sql`SELECT 1`)
            yield* Effect.repeat(Effect.yieldNow, { times: 5 })
            yield* Deferred.succeed(goOn, undefined)
            yield* Effect.repeat(Effect.yieldNow, { times: steps })
            yield* Fiber.interrupt(second)
            yield* Fiber.join(first)
            yield* Fiber.join(third)
          }
        }).pipe(Effect.provide(open(filename)))
      })
  )
})

describe("a lock that another process holds", () => {
  it.effect("is waited for with Effect's clock, while everything else continues", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TABLE notes (text TEXT NOT NULL) STRICT`
        const other = yield* shell(filename)
        yield* other.call("exec", "BEGIN IMMEDIATE; INSERT INTO notes VALUES ('theirs')")

        const writers = yield* Effect.forEach(Object.values(yield* writes), (write) => Effect.forkChild(write))
        const insert = sql`INSERT INTO notes VALUES ('ours')`
        const users = yield* Effect.forEach([insert, sql.withTransaction(insert)], (one) => Effect.forkChild(one))
        let ticks = 0
        yield* Effect.sync(() => ticks++).pipe(Effect.delay("1 second"), Effect.forever, Effect.forkChild)
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(ticks, 4)
        assert.isUndefined(yield* recorder.head)
        assert.isTrue([...writers, ...users].every(isRunning))

        yield* other.call("exec", "COMMIT")
        assert.isTrue([...writers, ...users].every(isRunning))
        yield* TestClock.adjust("100 millis")
        yield* Effect.forEach(writers, (fiber) => Fiber.join<unknown, unknown>(fiber))
        yield* Fiber.joinAll(users)
        assert.strictEqual((yield* recorder.readAll({ limit: 100 })).length, 5)
        assert.strictEqual((yield* sql`SELECT * FROM notes`).length, 3)
      }).pipe(Effect.provide(open(filename)))
    })
  )

  it.effect("is given up on after lockTimeout, and the same append succeeds later", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const other = yield* shell(filename)
        yield* other.call("exec", "BEGIN IMMEDIATE")
        const one = append("Test-one")
        const waiting = yield* Effect.forkChild(Effect.flip(recorder.append(one)))
        yield* TestClock.adjust("6 seconds")
        assert.isTrue(isRunning(waiting))
        yield* TestClock.adjust("2 seconds")
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag, "RecorderUnavailable")
        assert.match(error.message, /another process has held the lock for 7000 ms.*lockTimeout/)

        yield* other.call("exec", "COMMIT")
        assert.strictEqual((yield* recorder.append(one)).version, 0)
        assert.strictEqual((yield* recorder.readAll({ limit: 10 })).length, 1)
      }).pipe(Effect.provide(SqliteLayer({ filename, lockTimeout: "7 seconds" })))
    })
  )

  it.effect("G10 an append that is interrupted while it waits leaves nothing", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const other = yield* shell(filename)
        yield* other.call("exec", "BEGIN IMMEDIATE")
        const interrupted = yield* Effect.forkChild(recorder.append(append("Test-interrupted")))
        const patient = yield* Effect.forkChild(recorder.append(append("Test-patient")))
        yield* TestClock.adjust("1 second")
        yield* Fiber.interrupt(interrupted) // the interruption ends although the lock is still held
        assert.isTrue(isRunning(patient))

        yield* other.call("exec", "COMMIT")
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(patient)
        yield* recorder.append(append("Test-later"))
        const streams = (yield* Stored.rows(filename)).map(({ stream }) => stream)
        assert.deepStrictEqual(streams, ["Test-patient", "Test-later"])
      }).pipe(Effect.provide(SqliteLayer({ filename })))
    })
  )

  /** A process that prevents all others even from reading the file. */
  const lockOut = Effect.fnUntraced(function* (filename: string) {
    const other = yield* shell(filename)
    yield* other.call("exec", "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; CREATE TABLE notes (text TEXT)")
    return other.call("exec", "COMMIT; PRAGMA locking_mode = NORMAL; SELECT * FROM notes")
  })

  const openAndClose = (filename: string) =>
    Effect.provide(
      Recorder.Recorder.use(({ head }) => head),
      SqliteLayer({ filename })
    )

  /** Whether a fiber ends on its own: time does not pass, so anything that waits for a lock keeps waiting. */
  const endsAtOnce = (fiber: Fiber.Fiber<unknown, unknown>) =>
    Effect.map(Effect.repeat(Effect.yieldNow, { times: 1000 }), () => !isRunning(fiber))

  it.effect("on one file does not keep another file from being opened and closed", () =>
    Effect.gen(function* () {
      const [locked, free] = [yield* Temporary.file, yield* Temporary.file]
      const unlock = yield* lockOut(locked)
      const waiting = yield* Effect.forkChild(openAndClose(locked))
      yield* TestClock.adjust("1 second")
      const waits = isRunning(waiting)
      const openedMeanwhile = yield* endsAtOnce(yield* Effect.forkChild(openAndClose(free)))

      yield* unlock
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      assert.deepStrictEqual({ waits, openedMeanwhile }, { waits: true, openedMeanwhile: true })
    })
  )

  it.effect("G10 opening a file that waits for it can be interrupted", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const unlock = yield* lockOut(filename)
      const waiting = yield* Effect.forkChild(openAndClose(filename))
      yield* TestClock.adjust("1 second")
      const waits = isRunning(waiting)
      const interrupted = yield* endsAtOnce(yield* Effect.forkChild(Fiber.interrupt(waiting)))

      yield* unlock
      yield* TestClock.adjust("1 second")
      yield* openAndClose(filename)
      assert.deepStrictEqual({ waits, interrupted }, { waits: true, interrupted: true })
    })
  )
})
