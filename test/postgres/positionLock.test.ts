/** G3 under attack: transactions that are held, aborted, killed, or open elsewhere, on real connections. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Schedule } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { eventually } from "../support/eventually.ts"
import { connect, newSchema, url } from "./support/database.ts"
import { hold, openLog, watch } from "./support/openLog.ts"

const places = (log: ReadonlyArray<{ readonly stream: string; readonly version: number }>) =>
  log.map(({ stream, version }) => `${stream}@${version}`)

const readLog = (recorder: Recorder.Recorder["Service"]) => Effect.map(recorder.readAll({ limit: 10_000 }), places)

/** The backends that wait for an advisory lock. */
const waiting = (log: {
  readonly sql: { readonly unsafe: (sql: string) => Effect.Effect<ReadonlyArray<unknown>, unknown> }
}) => log.sql.unsafe("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

describe("a transaction held between its append and its commit", () => {
  it.live("G3 others wait and come after it; readers and followers neither stall nor see a gap", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
      yield* others.append("Dog-a")
      const seen = yield* watch(others.recorder)
      yield* seen.until(1)
      const held = yield* hold(mine, mine.append("Dog-held", 2))
      const appending = yield* Effect.forEach(["Dog-b", "Dog-c"], (name) => Effect.forkScoped(others.append(name)))
      yield* eventually(
        "an append waits",
        Effect.map(waiting(others), (pids) => pids.length > 0)
      )
      assert.deepStrictEqual(yield* readLog(others.recorder), ["Dog-a@0"])
      assert.strictEqual(yield* others.recorder.head, (yield* others.recorder.readAll({ limit: 1 }))[0]?.position)
      assert.deepStrictEqual(seen.events, ["Dog-a@0"])
      yield* held.commit
      for (const fiber of appending) yield* Fiber.join(fiber)
      yield* seen.until(5)
      const log = yield* readLog(others.recorder)
      assert.deepStrictEqual(log.slice(0, 3), ["Dog-a@0", "Dog-held@0", "Dog-held@1"])
      assert.sameMembers(log.slice(3), ["Dog-b@0", "Dog-c@0"])
      assert.deepStrictEqual(seen.events, log)
    })
  )

  it.live("G3 the wait is bounded, its error names the holder's process, and it ends for all waiters", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const others = yield* openLog(schema, { lockTimeout: "200 millis" })
      const held = yield* hold(mine, mine.append("Dog-held"))
      const errors = yield* Effect.forEach(["Dog-a", "Dog-b", "Dog-c"], (name) => Effect.flip(others.append(name)), {
        concurrency: "unbounded"
      })
      for (const error of errors) {
        assert.deepInclude(error, { _tag: "RecorderUnavailable", waited: 200 })
        assert.include(String((error as Error).message), `process ${held.pid} has held the position lock`)
      }
      yield* held.commit
      yield* others.append("Dog-a")
      assert.deepStrictEqual(yield* readLog(others.recorder), ["Dog-held@0", "Dog-a@0"])
    })
  )

  it.live("the session's own lock_timeout stays unchanged", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const other = yield* openLog(schema, { lockTimeout: "300 millis" })
      const setting = Effect.map(
        other.sql<{ value: string }>`SELECT current_setting('lock_timeout') AS value`,
        ([row]) => row?.value
      )
      const held = yield* hold(mine, mine.append("Dog-held"))
      yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql`SELECT set_config('lock_timeout', '7s', true)`
          assert.deepInclude(yield* Effect.flip(other.append("Dog-a")), { _tag: "RecorderUnavailable" })
          assert.strictEqual(yield* setting, "7s")
          const appending = yield* Effect.forkChild(Effect.retry(other.append("Dog-a"), Schedule.spaced("1 millis")), {
            startImmediately: true
          })
          yield* eventually(
            "it waits",
            Effect.map(waiting(mine), (pids) => pids.length > 0)
          )
          yield* held.commit
          yield* Fiber.join(appending)
          assert.strictEqual(yield* setting, "7s")
        })
      )
      assert.deepStrictEqual(yield* readLog(other.recorder), ["Dog-held@0", "Dog-a@0"])
    })
  )

  it.live("G3 rolled back, it leaves nothing but a gap in the positions", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema)]
      const seen = yield* watch(others.recorder)
      const { position: before } = yield* others.append("Dog-a")
      yield* (yield* hold(mine, mine.append("Dog-held", 5))).rollBack
      const { position: after } = yield* others.append("Dog-a")
      assert.isTrue(after > before + 1n)
      yield* seen.until(2)
      assert.deepStrictEqual(seen.events, ["Dog-a@0", "Dog-a@1"])
    })
  )

  it.live("G3 its session killed, others continue, and nothing of it is recorded", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
      const seen = yield* watch(others.recorder)
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(others.append("Dog-a"))
      yield* eventually(
        "an append waits",
        Effect.map(waiting(others), (pids) => pids.length > 0)
      )
      yield* others.sql`SELECT pg_terminate_backend(${held.pid})`
      yield* Fiber.join(appending)
      yield* held.commit.pipe(Effect.exit, Effect.map(Exit.isFailure), Effect.map(assert.isTrue))
      yield* seen.until(1)
      assert.deepStrictEqual(seen.events, ["Dog-a@0"])
      // the log of the killed session continues, too
      yield* mine.append("Dog-held")
      assert.deepStrictEqual(yield* readLog(mine.recorder), ["Dog-a@0", "Dog-held@0"])
    })
  )

  it.live("G4 appending twice to a stream around another writer, both streams are in order", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
      const seen = yield* watch(others.recorder)
      yield* mine.append("Dog-x")
      const appending: Array<Fiber.Fiber<unknown, unknown>> = []
      yield* mine.sql.withTransaction(
        Effect.gen(function* () {
          yield* mine.append("Dog-x")
          appending.push(yield* Effect.forkDetach(others.append("Dog-y")))
          yield* eventually(
            "the other waits",
            Effect.map(waiting(others), (pids) => pids.length > 0)
          )
          yield* mine.append("Dog-x")
        })
      )
      for (const fiber of appending) yield* Fiber.join(fiber)
      yield* seen.until(4)
      assert.deepStrictEqual(seen.events, ["Dog-x@0", "Dog-x@1", "Dog-x@2", "Dog-y@0"])
    })
  )
})

describe("transactions that are open elsewhere", () => {
  it.live("G3 a long transaction that has written, in this database or another one, delays no one", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema, { lockTimeout: "200 millis" })
      const here = yield* connect()
      const name = `other_${randomUUID().replaceAll("-", "")}`
      yield* Effect.acquireRelease(here`CREATE DATABASE ${here(name)}`, () =>
        Effect.orDie(here`DROP DATABASE ${here(name)} WITH (FORCE)`)
      )
      const elsewhere = new URL(url())
      elsewhere.pathname = `/${name}`
      for (const database of [url(), elsewhere.href]) {
        const session = yield* (yield* connect({ url: Redacted.make(database) })).reserve
        const run = (sql: string) => session.executeUnprepared(sql, [], undefined)
        yield* run("BEGIN")
        yield* run("CREATE TEMPORARY TABLE held (n integer)")
        yield* Effect.addFinalizer(() => Effect.orDie(run("ROLLBACK")))
      }
      const seen = yield* watch(log.recorder)
      for (let i = 0; i < 20; i++) yield* log.append("Dog-a")
      yield* seen.until(20)
      assert.strictEqual((yield* readLog(log.recorder)).length, 20)
    })
  )
})

describe("sessions that are killed", () => {
  it.live("G7 an append whose session is killed while it waits succeeds, and is recorded once", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(others.append("Dog-a", 3))
      for (let round = 0; round < 3; round++) {
        yield* eventually(
          "it waits",
          Effect.map(waiting(mine), (pids) => pids.length > 0)
        )
        for (const row of yield* waiting(mine)) {
          yield* mine.sql`SELECT pg_terminate_backend(${(row as { pid: number }).pid})`
        }
      }
      yield* held.commit
      assert.strictEqual((yield* Fiber.join(appending)).version, 2)
      assert.deepStrictEqual(yield* readLog(others.recorder), ["Dog-held@0", "Dog-a@0", "Dog-a@1", "Dog-a@2"])
    })
  )

  it.live("G7 appends while sessions are killed repeatedly are each recorded once", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const killer = yield* connect({ maxConnections: 1, applicationName: "killer" })
      const seen = yield* watch(log.recorder)
      const count = 100
      let done = 0
      const writing = Effect.forEach(
        Array.from({ length: 8 }, (_, n) => StreamName.StreamName.make(`Dog-${n}`)),
        (stream) =>
          Effect.gen(function* () {
            for (let version = 0; version < count; version++) {
              const append = {
                stream,
                expected: version === 0 ? ("NoStream" as const) : version - 1,
                events: storedEvents(1)
              }
              // the same events again, as the event store sends them
              const answer = yield* Effect.retry(log.recorder.append(append), {
                while: (error) => error._tag === "RecorderUnavailable"
              })
              assert.strictEqual(answer.version, version)
              done++
            }
          }),
        { concurrency: "unbounded" }
      )
      const killing = killer`
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = '@effect/sql-pg' AND pid <> pg_backend_pid() AND query LIKE ${`%${schema}%`}
      `.pipe(Effect.andThen(Effect.sleep("30 millis")), Effect.forever)
      yield* Effect.raceFirst(writing, killing)
      assert.strictEqual(done, 8 * count)
      yield* seen.until(8 * count)
      const log_ = yield* readLog(log.recorder)
      assert.strictEqual(new Set(log_).size, 8 * count)
      assert.deepStrictEqual(seen.events, log_)
    })
  )
})
