/** Projections that are maintained in the transactions that append. */
import { assert, describe, it } from "@effect/vitest"
import type { Layer, Scope } from "effect"
import { Deferred, Effect, Fiber } from "effect"
import { SqlClient } from "effect/sql"
import type { EventSourcing, Recorder, TransactionalAppend, View, ViewStore } from "effect-eventsourcing"
import { EventStore, Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { newSchema, url } from "../postgres/support/database.ts"
import { newViewsSchema, temporaryDirectory } from "../support/backends.ts"
import { countOne, readCounts, setup } from "../support/countsView.ts"
import { addTrick, Counter, Dog, increase } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

const fido = Dog.id("Fido")

type Services = EventSourcing.EventSourcing | Recorder.Recorder | TransactionalAppend.TransactionalAppend

/** A database, and how its log and its views are built. */
interface Database {
  readonly log: (inline: ReadonlyArray<Projection.Inline>, pageBytes?: number) => Layer.Layer<Services, unknown>
  readonly views: Layer.Layer<ViewStore.SqlViewStore, unknown>
}

const databases: Readonly<Record<string, Effect.Effect<Database, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(temporaryDirectory, (directory) => {
    const filename = `${directory}/events.db`
    return {
      log: (inline, pageBytes) => SqliteLayer({ filename, inline, pageBytes }),
      views: SqliteViews({ filename })
    }
  }),
  PostgreSQL: Effect.gen(function* () {
    const schema = yield* newSchema
    const viewsSchema = yield* newViewsSchema
    return {
      log: (inline, pageBytes) => PostgresLayer({ url: url(), schema, viewsSchema, inline, pageBytes }),
      views: PostgresViews({ url: url(), schema: viewsSchema })
    }
  })
}

type OnTrick = (trick: string, view: View.SqlView) => Effect.Effect<unknown, unknown, SqlClient.SqlClient>

/** Counts inline. */
const counts = (options: { readonly version?: number; readonly onTrick?: OnTrick } = {}) =>
  Projection.make("counts", {
    version: options.version ?? 1,
    aggregates: [Dog],
    view: Projection.sql(setup),
    inline: true,
    handlers: {
      Dog: {
        Registered: (_event, view) => countOne("Registered", view),
        TrickAdded: ({ event }, view) =>
          Effect.andThen(countOne("TrickAdded", view), options.onTrick?.(event.trick, view) ?? Effect.void),
        Rested: Projection.ignore
      }
    }
  })

const read = Projection.read(counts(), readCounts)

const register = Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, Dog.Registered({ name: "Fido" })))
const teach = (trick: string) => Effect.flatMap(Repository.of(Dog), (dogs) => dogs.execute(fido, addTrick(trick)))

describe.concurrent.each(Object.entries(databases))("inline projections on %s", (_, make) => {
  const test = (name: string, run: (database: Database) => Effect.Effect<unknown, unknown, Scope.Scope>): void =>
    it.live(name, () => Effect.flatMap(make, run))

  test("G6 a view is current when the append returns, and across restarts", ({ log, views }) =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        yield* register
        const { position } = yield* teach("roll over")
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 1 })
        yield* untilProcessed(counts(), position)
      }).pipe(Effect.provide([log([counts()]), views]))
      yield* Effect.gen(function* () {
        yield* teach("play dead")
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 2 })
      }).pipe(Effect.provide([log([counts()]), views]))
    }))

  test("G6 existing events are in the view once the layer is built", ({ log, views }) =>
    Effect.gen(function* () {
      yield* Effect.andThen(register, teach("roll over")).pipe(Effect.provide(log([])))
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 1 })
        yield* teach("play dead")
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 2 })
      }).pipe(Effect.provide([log([counts()]), views]))
    }))

  test("G6 a view is built from pages of any size", ({ log, views }) =>
    Effect.gen(function* () {
      const history = Effect.gen(function* () {
        yield* register
        for (let i = 0; i < 12; i++) yield* teach("trick".repeat(i + 1))
      })
      yield* Effect.provide(history, log([]))
      for (const [i, pageBytes] of [1, 40, 100, 300].entries()) {
        const newer = counts({ version: i + 1 })
        const counted = Projection.read(newer, readCounts)
        const found = yield* Effect.provide(counted, [log([newer], pageBytes), views])
        assert.deepStrictEqual(found, { Registered: 1, TrickAdded: 12 })
      }
    }))

  test("G1 a handler that fails makes its own append fail, and no other", ({ log, views }) =>
    Effect.gen(function* () {
      const failing = counts({ onTrick: (trick) => (trick === "bad" ? Effect.fail("no") : Effect.void) })
      yield* Effect.gen(function* () {
        yield* register
        const dogs = yield* Repository.of(Dog)
        const rex = Dog.id("Rex")
        yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
        const [bad] = yield* Effect.all([Effect.flip(teach("bad")), dogs.execute(rex, addTrick("good"))], {
          concurrency: 2
        })
        assert.strictEqual(bad._tag, "RecorderFailure")
        assert.include(bad.message, 'update inline projection "counts": no')
        assert.deepStrictEqual(yield* read, { Registered: 2, TrickAdded: 1 })
        assert.strictEqual((yield* dogs.get(fido)).version, 0)
      }).pipe(Effect.provide([log([failing]), views]))
    }))

  test("G1 a handler that throws makes its own append fail, with an error like any other", ({ log, views }) =>
    Effect.gen(function* () {
      const throwing = counts({
        onTrick: () => {
          throw new Error("no")
        }
      })
      yield* Effect.gen(function* () {
        yield* register
        const error = yield* Effect.flip(teach("bad"))
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.include(error.message, 'update inline projection "counts": no')
        assert.deepStrictEqual(yield* read, { Registered: 1 })
      }).pipe(Effect.provide([log([throwing]), views]))
    }))

  test("G7 a repeated append leaves the view unchanged", ({ log, views }) =>
    Effect.gen(function* () {
      yield* register
      const store = yield* EventStore.EventStore
      const prepared = yield* store.prepare(Dog, fido, 0, [Dog.TrickAdded({ trick: "roll over" })])
      const first = yield* store.commit(prepared)
      yield* teach("play dead")
      assert.deepStrictEqual(yield* store.commit(prepared), first)
      assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 2 })
    }).pipe(Effect.provide([log([counts()]), views])))

  test("G2 a refused append leaves the view unchanged", ({ log, views }) =>
    Effect.gen(function* () {
      yield* register
      const store = yield* EventStore.EventStore
      const refused = yield* Effect.flip(
        store.append(Dog, fido, { expected: "NoStream", events: [Dog.Registered({ name: "Fido" })] })
      )
      assert.strictEqual(refused._tag, "WrongExpectedVersion")
      assert.deepStrictEqual(yield* read, { Registered: 1 })
    }).pipe(Effect.provide([log([counts()]), views])))

  test("a writer without them is refused, with advice what to do", ({ log, views }) =>
    Effect.gen(function* () {
      const without = log([])
      yield* Effect.andThen(register, Effect.void).pipe(Effect.provide([log([counts()]), views]))
      const refused = yield* Effect.flip(teach("roll over")).pipe(Effect.provide(without))
      assert.strictEqual(refused._tag, "RecorderFailure")
      assert.include(refused.message, "version 1 of projection counts is maintained inline")
      // events that do not concern the projection are still appended
      yield* Effect.gen(function* () {
        const counters = yield* Repository.of(Counter)
        yield* counters.execute(Counter.id("one"), Counter.Started())
        yield* counters.execute(Counter.id("one"), increase)
      }).pipe(Effect.provide(log([])))
    }))

  test("a newer version replaces the older, whose processes are refused from then on", ({ log, views }) =>
    Effect.gen(function* () {
      yield* register
      yield* Effect.gen(function* () {
        assert.deepStrictEqual(yield* read, { Registered: 1 })
        yield* teach("roll over")
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 1 })
      }).pipe(Effect.provide([log([counts({ version: 2 })]), views]))
      const refused = yield* Effect.flip(teach("play dead"))
      assert.strictEqual(refused._tag, "RecorderFailure")
      const outdated = yield* Effect.flip(Effect.scoped(Effect.provide(read, [log([counts()]), views])))
      assert.include(String(outdated), "superseded by version 2")
    }).pipe(Effect.provide([log([counts()]), views])))

  test("a projection is inline or followed, never both", ({ log, views }) =>
    Effect.gen(function* () {
      yield* Effect.provide(register, log([counts()]))
      const followed = Projection.make("counts", {
        aggregates: [Dog],
        view: Projection.sql(setup),
        handlers: {
          Dog: { Registered: Projection.ignore, TrickAdded: Projection.ignore, Rested: Projection.ignore }
        }
      })
      const error = yield* Effect.flip(ProjectionRunner.run(followed)).pipe(Effect.provide([log([]), views]))
      assert.strictEqual(error._tag, "ProjectionModeChanged")
    }))

  test("G3 others append while a handler takes its time", ({ log, views }) =>
    Effect.gen(function* () {
      const inHandler = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const slow = counts({
        onTrick: (trick) =>
          trick === "slow" ? Effect.andThen(Deferred.succeed(inHandler, undefined), Deferred.await(go)) : Effect.void
      })
      yield* Effect.gen(function* () {
        yield* register
        const writing = yield* Effect.forkChild(teach("slow"))
        yield* Deferred.await(inHandler)
        const counters = yield* Repository.of(Counter)
        const other = yield* Effect.forkChild(counters.execute(Counter.id("one"), Counter.Started()))
        if (_ === "PostgreSQL") yield* Fiber.join(other)
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(writing)
        yield* Fiber.join(other)
        assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: 1 })
      }).pipe(Effect.provide([log([slow]), views]))
    }))

  test("a removed one, also removed by name, does not block appends", ({ log, views }) =>
    Effect.gen(function* () {
      yield* Effect.provide(register, log([counts()]), { local: true })
      yield* Effect.gen(function* () {
        assert.strictEqual((yield* Effect.flip(teach("roll over")))._tag, "RecorderFailure")
        assert.isTrue(yield* Projection.remove("counts"))
        yield* teach("roll over")
        assert.deepStrictEqual(yield* Projection.versions(counts()), [])
      }).pipe(Effect.provide([log([]), views]))
    }))

  test("two processes that start concurrently build the view once", ({ log, views }) =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        yield* register
        for (let n = 0; n < 30; n++) yield* teach(`trick ${n}`)
      }).pipe(Effect.provide(log([])))
      yield* Effect.forEach([1, 2, 3], () => Effect.scoped(Effect.provide(Effect.void, log([counts()]))), {
        concurrency: 3
      })
      assert.deepStrictEqual(yield* Effect.provide(read, [log([counts()]), views]), { Registered: 1, TrickAdded: 30 })
    }))

  test("appends during the promotion are either caught up with, or processed inline", ({ log, views }) =>
    Effect.gen(function* () {
      const without = log([])
      yield* Effect.gen(function* () {
        yield* register
        const writing = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 200 }, (_, n) => n),
            (n) => teach(`trick ${n}`),
            { discard: true }
          )
        )
        yield* Effect.sleep("30 millis")
        yield* Effect.gen(function* () {
          // from here on, the other is refused
          const error = yield* Effect.flip(Fiber.join(writing))
          assert.strictEqual(error._tag, "RecorderFailure")
          yield* teach("one more")
          const dogs = yield* Repository.of(Dog)
          const { version } = yield* dogs.get(fido)
          assert.deepStrictEqual(yield* read, { Registered: 1, TrickAdded: version })
        }).pipe(Effect.provide([log([counts()]), views]))
      }).pipe(Effect.provide(without))
    }))

  test("G6 many concurrent appends to several streams", ({ log, views }) =>
    Effect.gen(function* () {
      const dogs = yield* Repository.of(Dog)
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => Dog.id(`dog ${n}`)),
        (id, n) =>
          Effect.andThen(
            dogs.execute(id, Dog.Registered({ name: `dog ${n}` })),
            Effect.forEach(["a", "b", "c"], (trick) => dogs.execute(id, addTrick(trick)), { discard: true })
          ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(yield* read, { Registered: 40, TrickAdded: 120 })
    }).pipe(Effect.provide([log([counts()]), views])))

  test("handlers get the client of their own database, whatever else the program provides", ({ log, views }) =>
    Effect.gen(function* () {
      const seen: Array<boolean> = []
      const looking = counts({
        onTrick: (_trick, { sql }) =>
          Effect.map(SqlClient.SqlClient, (found) => {
            seen.push(found === sql)
          })
      })
      yield* Effect.andThen(register, teach("roll over")).pipe(
        Effect.provide([log([looking]), views]),
        Effect.provideService(SqlClient.SqlClient, {} as SqlClient.SqlClient)
      )
      assert.deepStrictEqual(seen, [true])
    }))
})

describe("inline projections of several logs, or twice of one", () => {
  it.live("G6 a view that was built from another log is refused", () =>
    Effect.gen(function* () {
      const viewsSchema = yield* newViewsSchema
      const log = (schema: string) => PostgresLayer({ url: url(), schema, viewsSchema, inline: [counts()] })
      yield* Effect.provide(register, log(yield* newSchema), { local: true })
      const error = yield* Effect.flip(Effect.provide(register, log(yield* newSchema), { local: true }))
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(error.message, "this is a different log")
    })
  )

  it.live("one that is passed twice is refused", () =>
    Effect.gen(function* () {
      const twice = SqliteLayer({ filename: `${yield* temporaryDirectory}/events.db`, inline: [counts(), counts()] })
      const error = yield* Effect.flip(Effect.provide(register, twice))
      assert.include(error.message, 'open inline projection "counts": two inline projections have this name')
    })
  )
})
