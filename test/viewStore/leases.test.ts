/** Leases, whatever the clock showed when they were taken. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Context, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { ViewStore } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { connect, url } from "../postgres/support/database.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"

type Store = Pick<ViewStore.ViewStore<never, never>, "lease">

interface Place {
  /** A store of its own, like another process. */
  readonly open: Effect.Effect<Store, unknown, Scope.Scope>
  /** Runs SQL; `own` precedes the names of the library's tables. */
  readonly run: (sql: (own: string) => string) => Effect.Effect<void, unknown>
}

const opened = (views: Layer.Layer<ViewStore.SqlViewStore, unknown>): Place["open"] =>
  Effect.map(Layer.build(Layer.fresh(views)), (context) => Context.get(context, ViewStore.SqlViewStore) as Store)

const places: Readonly<Record<string, Effect.Effect<Place, unknown, Scope.Scope>>> = {
  SQLite: Effect.map(Temporary.file, (filename) => ({
    open: opened(SqliteViews({ filename })),
    run: (sql) =>
      Effect.sync(() => {
        const db = new DatabaseSync(filename)
        db.exec(sql(""))
        db.close()
      })
  })),
  PostgreSQL: Effect.gen(function* () {
    const schema = yield* newViewsSchema
    const client = yield* connect({ maxConnections: 1 })
    yield* client.unsafe(`CREATE SCHEMA ${schema}`)
    return {
      open: opened(PostgresViews({ url: url(), schema })),
      run: (sql) => Effect.asVoid(client.unsafe(sql(`${schema}.`)).unprepared)
    }
  })
}

/** The time that passes for a caller that requests leases; it is not the time of day. */
interface Time {
  readonly pass: (milliseconds: number) => void
  readonly during: <A, E>(self: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

const makeTime: Effect.Effect<Time> = Effect.map(Clock.Clock, (clock) => {
  let passed = 0
  const moved: Clock.Clock = Object.assign(Object.create(clock), {
    monotonicTimeNanosUnsafe: () => BigInt(passed) * 1_000_000n,
    monotonicTimeNanos: Effect.sync(() => BigInt(passed) * 1_000_000n)
  })
  return {
    pass: (milliseconds) => {
      passed += milliseconds
    },
    during: Effect.provideService(Clock.Clock, moved)
  }
})

const key = { projection: "journal", version: 1, upstream: "log", slice: 0 }
const HOUR = 3_600_000

describe.each(Object.entries(places))("leases in %s", (_, make) => {
  const test = (title: string, run: (place: Place, time: Time) => Effect.Effect<void, unknown, Scope.Scope>) =>
    it.live(title, () => Effect.flatMap(make, (place) => Effect.flatMap(makeTime, (time) => run(place, time))))
  const ahead = (own: string) => `UPDATE ${own}projection_leases SET expires_at = expires_at + ${HOUR}`

  test("G12 one that was written by a clock that is ahead ends if it is not renewed for its length", ({ open, run }, {
    during,
    pass
  }) =>
    Effect.gen(function* () {
      const [one, two] = [yield* open, yield* open]
      assert.isTrue(yield* during(one.lease(key, "one", 6000)))
      yield* run(ahead)
      assert.isFalse(yield* during(two.lease(key, "two", 60_000)))
      pass(5900)
      assert.isFalse(yield* during(two.lease(key, "two", 60_000)))
      pass(100)
      assert.isTrue(yield* during(two.lease(key, "two", 60_000)))
      assert.isFalse(yield* during(one.lease(key, "one", 6000)))
    }))

  test("G12 one that is renewed is not taken, whatever its clock", ({ open, run }, { during, pass }) =>
    Effect.gen(function* () {
      const [one, two] = [yield* open, yield* open]
      for (let n = 0; n < 10; n++) {
        assert.isTrue(yield* during(one.lease(key, "one", 6000)))
        yield* run(ahead)
        assert.isFalse(yield* during(two.lease(key, "two", 60_000)))
        pass(5000)
        assert.isFalse(yield* during(two.lease(key, "two", 60_000)))
        // so that it is renewed in another millisecond
        yield* Effect.sleep("2 millis")
      }
    }))

  test("one of an earlier version of the library, which stored no length, ends by the clock", ({ open, run }, {
    during,
    pass
  }) =>
    Effect.gen(function* () {
      const store = yield* open
      // the row keeps the length of the lease of a runner that is gone
      assert.isTrue(yield* during(store.lease(key, "one", 1000)))
      const now = yield* Clock.currentTimeMillis
      yield* run((own) => `UPDATE ${own}projection_leases SET holder = 'old', expires_at = ${now + HOUR}`)
      assert.isFalse(yield* during(store.lease(key, "two", 1000)))
      pass(60_000)
      assert.isFalse(yield* during(store.lease(key, "two", 1000)))
      yield* run((own) => `UPDATE ${own}projection_leases SET expires_at = 1`)
      assert.isTrue(yield* during(store.lease(key, "two", 1000)))
    }))

  test("the table of commit 6e72552 is migrated, and the statements of that version still work", ({ open, run }, {
    during
  }) =>
    Effect.gen(function* () {
      yield* run(
        (own) => `CREATE TABLE ${own}projection_leases (
  projection text NOT NULL, version integer NOT NULL, upstream text NOT NULL, slice integer NOT NULL,
  holder text NOT NULL, expires_at bigint NOT NULL,
  PRIMARY KEY (projection, version, upstream, slice)
)`
      )
      const store = yield* open
      const old = (holder: string, until: number, now: number) => (own: string) =>
        `INSERT INTO ${own}projection_leases
  (projection, version, upstream, slice, holder, expires_at) VALUES ('journal', 1, 'log', 0, '${holder}', ${until})
ON CONFLICT (projection, version, upstream, slice) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE projection_leases.holder = excluded.holder OR projection_leases.expires_at <= ${now}`
      const now = yield* Clock.currentTimeMillis
      yield* run(old("old", now + HOUR, now))
      assert.isFalse(yield* during(store.lease(key, "new", 1000)))
      yield* run((own) => `DELETE FROM ${own}projection_leases`)
      assert.isTrue(yield* during(store.lease(key, "new", 1000)))
      // not available before its end
      yield* run(old("old", now + HOUR, now))
      assert.isTrue(yield* during(store.lease(key, "new", 1000)))
      yield* run(old("old", now + 2 * HOUR, now + HOUR))
      assert.isFalse(yield* during(store.lease(key, "new", 1000)))
    }))
})

it.effect("a lease in memory does not depend on the time of day", () =>
  Effect.gen(function* () {
    const store = (yield* Layer.build(MemoryViews())).pipe(Context.get(ViewStore.MemoryViewStore))
    yield* TestClock.setTime(10 * HOUR)
    assert.isTrue(yield* store.lease(key, "one", 6000))
    // the clock was ahead; time passes as before
    const clock = yield* Clock.Clock
    const corrected: Clock.Clock = {
      ...clock,
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() - HOUR,
      currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now - HOUR)
    }
    yield* TestClock.adjust("6 seconds")
    assert.isTrue(yield* Effect.provideService(store.lease(key, "two", 6000), Clock.Clock, corrected))
  })
)
