/** Repositories inside a transaction of the user's own, on the backends that support it. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Deferred, Effect, Fiber, Layer, Schema, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { EventSourcing, MultiStreamAppend } from "effect-eventsourcing"
import { Aggregate, Recorder, Repository, SnapshotStore, StreamName } from "effect-eventsourcing"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { layerSqlClient, SqliteLayer } from "effect-eventsourcing/sqlite"
import { connect, newSchema } from "../postgres/support/database.ts"
import { temporaryDirectory } from "../support/backends.ts"
import { ada, bob, coinsOf, Purse, transfer } from "../support/purse.ts"

type Services =
  | EventSourcing.EventSourcing
  | Recorder.Recorder
  | MultiStreamAppend.MultiStreamAppend
  | SqlClient.SqlClient

/** Backends together with the client that they share with the program's own SQL. */
const backends: Readonly<Record<string, Effect.Effect<Layer.Layer<Services, unknown>, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(temporaryDirectory, (directory) => {
    const filename = `${directory}/events.db`
    return Layer.merge(SqliteLayer({ filename }), layerSqlClient({ filename }))
  }),
  PostgreSQL: Effect.gen(function* () {
    const client = yield* connect()
    const shared = Layer.succeed(PgClient.PgClient, client)
    const log = Layer.provide(PostgresLayer.fromClient({ schema: yield* newSchema }), shared)
    return Layer.merge(log, Layer.succeed(SqlClient.SqlClient, client))
  })
}

const put = (coins: number) => Purse.Put({ coins })

class Abandoned extends Schema.TaggedError<Abandoned>()("Abandoned", {}) {}
const abandon = Effect.fail(new Abandoned({}))

describe.each(Object.entries(backends))("repositories inside the user's own transaction on %s", (_, backend) => {
  /** Ada has ten coins and Bob has none. */
  const purses = Effect.gen(function* () {
    const services = yield* Layer.build(yield* backend)
    const sql = Context.get(services, SqlClient.SqlClient)
    const repository = Context.get(services, Repository.Repository)
    yield* repository.of(Purse).execute(ada, Purse.Opened({ coins: 10 }))
    yield* repository.of(Purse).execute(bob, Purse.Opened({ coins: 0 }))
    return { sql, services, repository }
  })

  it.live("commands build on each other, and become visible to others with the commit", () =>
    Effect.gen(function* () {
      const { sql, repository } = yield* purses
      const inside = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* repository.of(Purse).execute(bob, put(1))
          yield* repository.of(Purse).execute(bob, put(2))
          yield* repository.of(Purse).execute(ada, put(3))
          return [yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)]
        })
      )
      assert.deepStrictEqual(inside, [13, 3])
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [13, 3])
      assert.strictEqual((yield* repository.of(Purse).execute(bob, put(4))).version, 3)
    })
  )

  it.live("G11 rolled back states are in no cache", () =>
    Effect.gen(function* () {
      const { sql, repository } = yield* purses
      const bobs = repository.of(Purse)
      yield* bobs.get(bob)
      const undone = sql.withTransaction(
        Effect.gen(function* () {
          yield* bobs.execute(bob, put(100))
          assert.strictEqual(yield* coinsOf(repository, bob), 100)
          yield* abandon
        })
      )
      assert.strictEqual((yield* Effect.flip(undone))._tag, "Abandoned")
      assert.strictEqual((yield* bobs.get(bob, { allowStale: true })).state, 0)
      assert.strictEqual(yield* coinsOf(repository, bob), 0)
      assert.deepInclude(yield* bobs.execute(bob, put(1)), { state: 1, version: 1 })
    })
  )

  it.live("no one else sees uncommitted events, not even in a cached state", () =>
    Effect.gen(function* () {
      const { sql, repository } = yield* purses
      const [appended, looked] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const writing = yield* sql
        .withTransaction(
          Effect.gen(function* () {
            yield* repository.of(Purse).execute(bob, put(5))
            yield* Deferred.succeed(appended, undefined)
            yield* Deferred.await(looked)
          })
        )
        .pipe(Effect.forkScoped({ startImmediately: true }))
      yield* Deferred.await(appended)
      assert.strictEqual(yield* coinsOf(repository, bob), 0)
      assert.strictEqual((yield* repository.of(Purse).get(bob, { allowStale: true })).state, 0)
      yield* Deferred.succeed(looked, undefined)
      yield* Fiber.join(writing)
      assert.strictEqual(yield* coinsOf(repository, bob), 5)
    })
  )

  it.live(
    "a transaction of several commands and single commands on the same aggregates wait for each other and then continue",
    () =>
      Effect.gen(function* () {
        const { sql, repository } = yield* purses
        const bothWays = (first: typeof ada, second: typeof ada) =>
          sql.withTransaction(
            Effect.andThen(repository.of(Purse).execute(first, put(1)), repository.of(Purse).execute(second, put(1)))
          )
        const singles = Effect.forEach([ada, bob, ada, bob], (id) => repository.of(Purse).execute(id, put(1)), {
          concurrency: "unbounded"
        })
        yield* Effect.all([bothWays(ada, bob), singles, bothWays(bob, ada), singles, bothWays(ada, bob)], {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [17, 7])
      })
  )

  it.live("a refused command leaves the transaction usable", () =>
    Effect.gen(function* () {
      const { sql, repository } = yield* purses
      yield* sql.withTransaction(
        Effect.gen(function* () {
          const refused = yield* Effect.flip(repository.of(Purse).execute(bob, Purse.Opened({ coins: 1 })))
          assert.strictEqual(refused._tag, "AggregateAlreadyExists")
          const stale = repository.of(Purse).execute(bob, put(1), { expectedVersion: 7 })
          assert.strictEqual((yield* Effect.flip(stale))._tag, "WrongExpectedVersion")
          yield* repository.of(Purse).execute(bob, put(2))
        })
      )
      assert.strictEqual(yield* coinsOf(repository, bob), 2)
    })
  )

  it.live("a transaction over several aggregates joins it, too", () =>
    Effect.gen(function* () {
      const { sql, repository, services } = yield* purses
      const both = sql.withTransaction(
        Effect.gen(function* () {
          yield* transfer(repository, ada, bob, 4)
          yield* transfer(repository, ada, bob, 4)
          yield* abandon
        })
      )
      yield* Effect.flip(Effect.provide(both, services))
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [10, 0])
      yield* Effect.provide(sql.withTransaction(transfer(repository, ada, bob, 4)), services)
      assert.deepStrictEqual([yield* coinsOf(repository, ada), yield* coinsOf(repository, bob)], [6, 4])
    })
  )

  it.live("no snapshot is taken during a transaction, which may be rolled back", () =>
    Effect.gen(function* () {
      const Counter = Aggregate.make("Counter", {
        state: Schema.Int,
        creation: { Started: {} },
        events: { Increased: {} },
        reduce: { Started: () => 0, Increased: (count) => count + 1 },
        snapshotEvery: 1
      })
      const { sql, services, repository } = yield* purses
      const id = Counter.Id.make("one")
      const counters = repository.of(Counter)
      const undone = sql.withTransaction(
        Effect.gen(function* () {
          yield* counters.execute(id, Counter.Started())
          yield* counters.execute(id, Counter.Increased())
          // time for anything that might have begun in the background
          yield* Effect.sleep("50 millis")
          yield* abandon
        })
      )
      yield* Effect.flip(undone)
      const snapshot = yield* Context.get(services, SnapshotStore.SnapshotStore).load(Counter, id)
      assert.strictEqual(snapshot, undefined)
      const { readStream } = Context.get(services, Recorder.Recorder)
      assert.deepStrictEqual(yield* readStream({ stream: StreamName.of("Counter", id), limit: 10 }), [])
      assert.strictEqual((yield* counters.execute(id, Counter.Started())).version, 0)
    })
  )

  it.live("a follower that is started inside sees committed events, and outlives the transaction", () =>
    Effect.gen(function* () {
      const { sql, services, repository } = yield* purses
      const recorder = Context.get(services, Recorder.Recorder)
      const seen: Array<string> = []
      const live = yield* Deferred.make<void>()
      const three = yield* Deferred.make<void>()
      const following = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* repository.of(Purse).execute(bob, put(1))
          const fiber = yield* recorder.follow({}).pipe(
            Stream.runForEach(({ notifications, caughtUp }) =>
              Effect.gen(function* () {
                seen.push(...notifications.map(({ type }) => type))
                if (caughtUp) yield* Deferred.succeed(live, undefined)
                if (seen.length === 3) yield* Deferred.succeed(three, undefined)
              })
            ),
            Effect.forkDetach({ startImmediately: true })
          )
          yield* Deferred.await(live)
          assert.deepStrictEqual(seen, ["Purse.Opened", "Purse.Opened"])
          return fiber
        })
      )
      yield* Deferred.await(three)
      yield* Fiber.interrupt(following)
    })
  )
})
