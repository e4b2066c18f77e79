/** Logs that were restored from a backup, that lost streams, or that lag: distinguished when a view is opened. */
import * as Fs from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Deferred, Effect, Layer, Logger, Schema, Stream } from "effect"
import type { ViewStore } from "effect-eventsourcing"
import {
  Aggregate,
  EventSourcing,
  EventSourcingError,
  EventStore,
  Position,
  Projection,
  ProjectionRunner,
  Recorder
} from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { connect, newSchema, url } from "../postgres/support/database.ts"
import type { Entry, JournalProjection } from "../projection/support/journalView.ts"
import { count, entries, ignored, makeJournal, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"
import * as Memory from "../support/memoryLog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

/** An aggregate that is not in any journal. */
const Cat = Aggregate.make("Cat", { state: Schema.Int, creation: { Born: {} }, events: {}, reduce: { Born: () => 0 } })

const foreign = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const recorded = yield* store.append(Cat, yield* Cat.randomId, { expected: "NoStream", events: [Cat.Born()] })
  return recorded?.position
})

/** Waits until a journal has processed what was recorded. */
const waitFor = <E, R>(journal: JournalProjection, recorded: Effect.Effect<Position.Position | undefined, E, R>) =>
  Effect.flatMap(recorded, (position) => untilProcessed(journal, position))

const at = (position: number) => Position.Position.make(BigInt(position))

type LogServices = EventSourcing.EventSourcing | Recorder.Recorder

/** A log in a file: opened as often as a test needs, copied and changed in between. */
const makeLog = Effect.map(Temporary.file, (filename) => {
  const change = (f: (db: DatabaseSync) => void) =>
    Effect.sync(() => {
      const db = new DatabaseSync(filename)
      f(db)
      db.close()
    })
  return {
    filename,
    open: <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.provide(Effect.scoped(self), SqliteLayer({ filename }), { local: true }) as Effect.Effect<
        A,
        unknown,
        Exclude<R, LogServices | Scope.Scope>
      >,
    change,
    erase: (...names: ReadonlyArray<string>) =>
      change((db) => {
        for (const name of names) db.prepare("DELETE FROM stored_events WHERE stream LIKE ?").run(`%-${name}`)
      }),
    backUp: change((db) => db.exec(`VACUUM INTO '${filename}.backup'`)),
    restore: Effect.sync(() => {
      for (const suffix of ["", "-wal", "-shm"]) Fs.rmSync(filename + suffix, { force: true })
      Fs.copyFileSync(`${filename}.backup`, filename)
    })
  }
})

type Log = Effect.Success<typeof makeLog>

describe.concurrent.each(Object.entries(kinds))("a view in %s", (_, kind) => {
  const test = (title: string, run: (log: Log, journal: JournalProjection) => Effect.Effect<unknown, unknown, never>) =>
    it.live(title, () =>
      Effect.gen(function* () {
        const place = Layer.merge(yield* kind.make, Logger.layer([]))
        yield* Effect.provide(run(yield* makeLog, kind.journal()) as Effect.Effect<unknown, unknown>, place)
      })
    )

  /** Runs a journal until it has processed what is recorded meanwhile. */
  const runWhile = (journal: JournalProjection, work: Effect.Effect<Position.Position | undefined, unknown, never>) =>
    Effect.gen(function* () {
      yield* ProjectionRunner.make(journal)
      yield* untilProcessed(journal, yield* work)
    })

  /** Opens the log, and runs a journal that stops. */
  const stopped = (log: Log, journal: JournalProjection) => log.open(Effect.flip(ProjectionRunner.run(journal)))

  const assertUpToDate = (log: Log, journal: JournalProjection, ...erased: ReadonlyArray<Entry>) =>
    Effect.gen(function* () {
      const inLog = yield* log.open(wholeLog)
      const journalled = yield* readJournal(journal)
      assert.deepStrictEqual([...journalled].sort(), [...inLog, ...erased].sort())
    })

  test("G6 a log that was restored, with new events since: the runner stops before it does anything", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 3))
      yield* log.backUp
      yield* log.open(runWhile(journal, count("lost", 3) as never))
      const before = yield* readJournal(journal)
      yield* log.restore
      // as far as before, and further
      yield* log.open(count("new", 5))
      const error = yield* stopped(log, journal)
      assert.include(error, { _tag: "UpstreamChanged", projection: "journal", position: at(6) })
      assert.include(String(error), "which the view has not seen")
      assert.deepStrictEqual(yield* readJournal(journal), before)
      // also after the stop
      assert.include(yield* stopped(log, journal), { _tag: "UpstreamChanged" })
      yield* Projection.reset(journal)
      yield* log.open(runWhile(journal, count("new") as never))
      yield* assertUpToDate(log, journal)
    }) as never)

  test("G6 a restored log that has not reached the view's position is waited for, and then detected by its other events", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 3))
      yield* log.backUp
      yield* log.open(runWhile(journal, count("lost", 3) as never))
      yield* log.restore
      const error = yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          const { cause } = yield* untilState(runner, "Retrying")
          assert.deepInclude(cause, { _tag: "UpstreamBehind", position: at(6), head: at(3) })
          // a process that appends and has no views
          yield* log.open(count("new", 4))
          return yield* Effect.flip(runner.join)
        })
      )
      assert.include(error, { _tag: "UpstreamChanged", position: at(6) })
      assert.deepStrictEqual(yield* readJournal(journal), [...entries("a", 0, 1, 2), ...entries("lost", 0, 1, 2)])
    }) as never)

  test("G6 a restored log is detected even if the view had only seen events that it ignores", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 2))
      yield* log.backUp
      const passing = Effect.andThen(ignored, Effect.andThen(ignored, Effect.andThen(foreign, foreign)))
      yield* log.open(runWhile(journal, passing as never))
      yield* log.restore
      yield* log.open(Effect.andThen(count("new", 2), Effect.andThen(foreign, Effect.andThen(foreign, foreign))))
      assert.include(yield* stopped(log, journal), { _tag: "UpstreamChanged", position: at(6) })
    }) as never)

  test("G6 a restored log is detected even if only other aggregates' events have reached the view's position", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 2))
      yield* log.backUp
      yield* log.open(runWhile(journal, Effect.andThen(count("lost"), count("a")) as never))
      yield* log.restore
      yield* log.open(Effect.andThen(foreign, Effect.andThen(foreign, foreign)))
      assert.include(yield* stopped(log, journal), { _tag: "UpstreamChanged", position: at(4) })
    }) as never)

  test("G6 a restored log whose positions were not reused is detected by streams that end too early", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 2))
      yield* log.open(runWhile(journal, count("a", 2) as never))
      // like a server that fails over to a replica, whose sequence is ahead of its rows
      yield* log.change((db) => db.exec("DELETE FROM stored_events WHERE position > 2"))
      yield* log.open(count("new"))
      const error = yield* stopped(log, journal)
      assert.include(error, { _tag: "UpstreamChanged", position: at(4) })
      assert.include(String(error), "is missing from this log")
    }) as never)

  test("G6 the stream with the newest event was erased: the runner waits for the next event, and continues", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(runWhile(journal, Effect.andThen(count("a", 2), count("gone", 2)) as never))
      yield* log.erase("gone")
      yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          const { cause } = yield* untilState(runner, "Retrying")
          assert.deepInclude(cause, { _tag: "UpstreamBehind", position: at(4), head: at(2) })
          yield* untilProcessed(journal, yield* count("b"))
          yield* untilState(runner, "Live")
        })
      )
      yield* assertUpToDate(log, journal, ...entries("gone", 0, 1))
    }) as never)

  test("G6 streams were erased and later events exist: the runner continues at once", (log, journal) =>
    Effect.gen(function* () {
      // more than is stored of a log
      const recorded = Effect.andThen(Effect.andThen(count("a", 2), count("gone", 20)), count("also-gone"))
      yield* log.open(runWhile(journal, recorded as never))
      yield* log.open(foreign)
      yield* log.erase("gone", "also-gone")
      yield* log.open(runWhile(journal, count("a") as never))
      yield* log.erase("a")
      yield* log.open(Effect.andThen(foreign, runWhile(journal, count("a") as never)))
      const journalled = yield* readJournal(journal)
      assert.strictEqual(journalled.length, 25)
      assert.deepStrictEqual(journalled.slice(-2), [...entries("a", 2), ...entries("a", 0)])
    }) as never)

  test("G6 everything was erased: the runner waits, and then continues", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(runWhile(journal, count("gone", 2) as never))
      yield* log.erase("gone")
      yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          const { cause } = yield* untilState(runner, "Retrying")
          assert.deepInclude(cause, { _tag: "UpstreamBehind", head: undefined })
          yield* untilProcessed(journal, yield* count("b"))
        })
      )
      yield* assertUpToDate(log, journal, ...entries("gone", 0, 1))
    }) as never)

  test("G6 a lagging replica is waited for, and nothing of it is processed twice", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(count("a", 2))
      yield* log.open(runWhile(journal, Effect.andThen(count("b", 2), count("a", 2)) as never))
      yield* log.backUp
      yield* log.change((db) => db.exec("DELETE FROM stored_events WHERE position > 3"))
      yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          const { cause } = yield* untilState(runner, "Retrying")
          assert.deepInclude(cause, { _tag: "UpstreamBehind", position: at(6), head: at(3) })
          // it comes nearer, and then reaches the position
          for (const upTo of [4, 6]) {
            yield* log.change((db) => {
              db.exec(`ATTACH '${log.filename}.backup' AS whole`)
              db.exec(`INSERT INTO stored_events SELECT * FROM whole.stored_events AS it
WHERE it.position <= ${upTo} AND it.position NOT IN (SELECT position FROM main.stored_events)`)
            })
          }
          yield* untilState(runner, "Live")
          yield* untilProcessed(journal, yield* count("a"))
        })
      )
      yield* assertUpToDate(log, journal)
    }) as never)

  test("G6 a reset while the runner waits for the log takes effect at once", (log, journal) =>
    Effect.gen(function* () {
      yield* log.open(runWhile(journal, Effect.andThen(count("a", 2), count("gone")) as never))
      yield* log.erase("gone")
      yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          yield* untilState(runner, "Retrying")
          yield* Projection.reset(journal)
          yield* untilState(runner, "Live")
        })
      )
      yield* assertUpToDate(log, journal)
    }) as never)
})

/** Changes the library's tables into those of an earlier version, which stored nothing of a log. */
const asBefore = (name: keyof typeof makeViews, place: string) =>
  Effect.forEach(["seen", "begins"], (column) => execute[name](place, `ALTER TABLE # DROP COLUMN ${column}`))

/** Runs a statement, in which # is the tracking table. */
const execute = {
  SQLite: (filename: string, statement: string): Effect.Effect<unknown, unknown, Scope.Scope> =>
    Effect.sync(() => {
      const db = new DatabaseSync(filename)
      db.exec(statement.replace("#", "projection_tracking"))
      db.close()
    }),
  PostgreSQL: (schema: string, statement: string): Effect.Effect<unknown, unknown, Scope.Scope> =>
    Effect.flatMap(connect({ maxConnections: 1 }), (sql) =>
      sql.unsafe(statement.replace("#", `"${schema}".projection_tracking`))
    )
}

const makeViews = {
  SQLite: Effect.map(Temporary.file, (place) => ({ place, layer: SqliteViews({ filename: place }) })),
  PostgreSQL: Effect.map(newViewsSchema, (place) => ({ place, layer: PostgresViews({ url: url(), schema: place }) }))
}

describe.concurrent.each(["SQLite", "PostgreSQL"] as const)("a view that an earlier version built in %s", (name) => {
  const journal = makeJournal("tables")
  const migrated = (
    run: (
      log: Log,
      within: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A>,
      place: string
    ) => Effect.Effect<unknown, unknown, Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const { layer, place } = yield* makeViews[name]
      const log = yield* makeLog
      const views = Layer.mergeAll(layer, MemoryViews(), Logger.layer([]))
      const within = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        log.open(Effect.provide(Effect.scoped(self), views, { local: true })) as unknown as Effect.Effect<A>
      yield* within(Effect.andThen(ProjectionRunner.make(journal), waitFor(journal, count("a", 3))))
      yield* asBefore(name, place)
      yield* run(log, within, place)
    })

  it.live("G6 continues, and what it has seen is stored at once", () =>
    migrated(
      Effect.fnUntraced(function* (log, within) {
        yield* log.backUp
        // no events arrive, so opening alone must store something
        yield* within(Effect.flatMap(ProjectionRunner.make(journal), (runner) => untilState(runner, "Live")))
        yield* log.change((db) => db.exec("DELETE FROM stored_events WHERE position > 2"))
        yield* log.change((db) => db.exec("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'stored_events'"))
        yield* log.open(count("new", 4))
        const error = yield* within(Effect.flip(ProjectionRunner.run(journal)))
        assert.include(error, { _tag: "UpstreamChanged", position: at(3) })
        yield* log.restore
        yield* within(Effect.andThen(ProjectionRunner.make(journal), waitFor(journal, count("a", 2))))
        assert.deepStrictEqual(yield* within(readJournal(journal)), entries("a", 0, 1, 2, 3, 4))
      })
    )
  )

  it.live("G6 that an earlier version has moved since: the older record is not compared with the log", () =>
    migrated(
      Effect.fnUntraced(function* (log, within, place) {
        // the tables are migrated, and store what was seen
        yield* within(Effect.andThen(ProjectionRunner.make(journal), waitFor(journal, count("a"))))
        // a process of the earlier version processes one more event
        yield* log.open(count("a"))
        yield* execute[name](place, "UPDATE # SET position = 5")
        yield* within(Effect.andThen(ProjectionRunner.make(journal), waitFor(journal, count("a"))))
        assert.deepStrictEqual(yield* within(readJournal(journal)), entries("a", 0, 1, 2, 3, 5))
      })
    )
  )

  it.live("G6 whose log lags: waits, and assumes nothing about new events up to its position", () =>
    migrated(
      Effect.fnUntraced(function* (log, within) {
        yield* log.change((db) => db.exec("DELETE FROM stored_events WHERE position > 2"))
        yield* log.change((db) => db.exec("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'stored_events'"))
        const error = yield* within(
          Effect.gen(function* () {
            const runner = yield* ProjectionRunner.make(journal)
            yield* untilState(runner, "Retrying")
            yield* log.open(count("new", 4))
            return yield* Effect.flip(runner.join)
          })
        )
        assert.include(error, { _tag: "UpstreamChanged", position: at(3) })
        assert.deepStrictEqual(yield* within(readJournal(journal)), entries("a", 0, 1, 2))
      })
    )
  )
})

/** A log in PostgreSQL, whose rows a test changes. */
const makePostgresLog = Effect.gen(function* () {
  const schema = yield* newSchema
  const sql = yield* connect({ maxConnections: 1 })
  const layer = PostgresLayer({ url: url(), schema })
  return {
    open: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provide(Effect.scoped(self), layer, { local: true }),
    change: (where: string) => sql.unsafe(`DELETE FROM "${schema}".stored_events WHERE ${where}`),
    drawAgainFrom: (position: number) =>
      sql.unsafe(`SELECT setval('"${schema}".stored_events_position', ${position - 1})`)
  }
})

const inPostgres = (
  run: (
    log: Effect.Success<typeof makePostgresLog>,
    journal: JournalProjection
  ) => Effect.Effect<unknown, unknown, ViewStore.SqlViewStore | ViewStore.MemoryViewStore | Scope.Scope>
) =>
  Effect.gen(function* () {
    const views = PostgresViews({ url: url(), schema: yield* newViewsSchema })
    const all = Layer.mergeAll(views, MemoryViews(), Logger.layer([]))
    yield* Effect.provide(run(yield* makePostgresLog, makeJournal("tables")), all)
  })

it.live("G6 the runner waits for a log in PostgreSQL whose newest stream was erased, and then continues", () =>
  inPostgres((log, journal) =>
    Effect.gen(function* () {
      yield* log.open(
        Effect.andThen(
          ProjectionRunner.make(journal),
          waitFor(journal, Effect.andThen(count("a", 2), count("gone", 2)))
        )
      )
      yield* log.change("stream LIKE '%-gone'")
      yield* log.open(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(journal)
          assert.include((yield* untilState(runner, "Retrying")).cause, { _tag: "UpstreamBehind" })
          yield* waitFor(journal, count("a"))
          yield* untilState(runner, "Live")
        })
      )
      assert.deepStrictEqual(yield* readJournal(journal), [
        ...entries("a", 0, 1),
        ...entries("gone", 0, 1),
        ...entries("a", 2)
      ])
    })
  )
)

it.live("G6 a log in PostgreSQL that was restored, with new events since, stops its runner", () =>
  inPostgres((log, journal) =>
    Effect.gen(function* () {
      const recorded = Effect.andThen(count("a", 3), count("lost", 3))
      yield* log.open(Effect.andThen(ProjectionRunner.make(journal), waitFor(journal, recorded)))
      yield* log.change("stream LIKE '%-lost'")
      yield* log.drawAgainFrom(4)
      const error = yield* log.open(Effect.andThen(count("new", 5), Effect.flip(ProjectionRunner.run(journal))))
      assert.include(error, { _tag: "UpstreamChanged", delivery: "exactly-once" })
      assert.include(String(error), "rebuild the view with Projection.reset")
    })
  )
)

it.live("G6 a log that is restored while its runner can't reach it is compared before anything is processed", () =>
  Effect.gen(function* () {
    const before = yield* Memory.makeLog
    const after = yield* Memory.makeLog
    const recorderOf = (log: Memory.Log) => Context.get(log, Recorder.Recorder)
    const restored = yield* Deferred.make<void>()
    const error = new EventSourcingError.RecorderUnavailable({ operation: "read the log", reason: "it is away" })
    let now = recorderOf(before)
    const log = Memory.withRecorder(before, () => ({
      append: (append) => now.append(append),
      readAll: (read) => now.readAll(read),
      readStream: (read) => now.readStream(read),
      head: Effect.suspend(() => now.head),
      follow: (follow) => {
        let position = follow.after
        const onwards = Effect.gen(function* () {
          yield* follow.onState?.({ _tag: "Retrying", position, since: 0, attempts: 1, error }) ?? Effect.void
          return recorderOf(after).follow({ ...follow, after: position })
        })
        return now.follow(follow).pipe(
          Stream.tap((batch) =>
            Effect.sync(() => {
              position = batch.position
            })
          ),
          Stream.interruptWhen(Deferred.await(restored)),
          Stream.concat(Stream.unwrap(onwards))
        )
      }
    }))
    const library = Layer.fresh(EventSourcing.layer()).pipe(Layer.provideMerge(Layer.succeedContext(log)))
    const journal = makeJournal("memory")
    yield* Effect.gen(function* () {
      const runner = yield* ProjectionRunner.make(journal)
      yield* waitFor(journal, count("lost", 2))
      yield* untilState(runner, "Live")
      now = recorderOf(after)
      yield* count("new", 3)
      yield* Deferred.succeed(restored, undefined)
      const error = yield* Effect.flip(runner.join)
      assert.include(error, { _tag: "UpstreamChanged", position: at(2) })
      assert.deepStrictEqual(yield* readJournal(journal), entries("lost", 0, 1))
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(library, MemoryViews(), SqliteViews({ filename: ":memory:" }), Logger.layer([])))
    )
  })
)
