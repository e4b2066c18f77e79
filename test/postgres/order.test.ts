/** Appends that wait for each other: for how long, in which order, and what happens when one ends early. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Exit, Fiber, Scope } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { eventually } from "../support/eventually.ts"
import { connect, newSchema } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { hold, openLog, untilWaiting, watch } from "./support/openLog.ts"

const places = ({ recorder }: Log) =>
  Effect.map(recorder.readAll({ limit: 10_000 }), (log) => log.map(({ stream, version }) => `${stream}@${version}`))

const appendTo = ({ recorder }: Log, name: string, expected: Recorder.ExpectedVersion, count = 1) =>
  recorder.append({ stream: StreamName.StreamName.make(name), expected, events: storedEvents(count) })

const nobodyWaits = ({ waiting }: Log) =>
  eventually(
    "nobody waits",
    Effect.map(waiting, ({ length }) => length === 0)
  )

/** Waits until the sessions are over. */
const untilGone = ({ sql }: Log, pids: ReadonlyArray<number>) =>
  eventually(
    "the sessions are over",
    Effect.map(sql`SELECT pid FROM pg_stat_activity WHERE ${sql.in("pid", pids)}`, ({ length }) => length === 0)
  )

const kill = ({ sql }: Log, pids: ReadonlyArray<number>) =>
  sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${sql.in("pid", pids)}`

describe("the wait for the position lock", () => {
  it.live("is bounded for each append, however many there are for one stream", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const others = yield* openLog(schema, { lockTimeout: "400 millis" })
      const held = yield* hold(mine, mine.append("Dog-held"))
      const start = yield* Clock.currentTimeMillis
      const errors = yield* Effect.forEach(
        Array.from({ length: 100 }),
        () => Effect.flip(appendTo(others, "Dog-a", "NoStream")),
        { concurrency: "unbounded" }
      )
      const elapsed = (yield* Clock.currentTimeMillis) - start
      for (const error of errors) assert.strictEqual(error._tag, "RecorderUnavailable")
      // one wait, and plenty of time for a slow machine; one after the other would take a hundred waits
      assert.isBelow(elapsed, 50 * 400)
      yield* held.commit
      yield* appendTo(others, "Dog-a", "NoStream")
      assert.deepStrictEqual(yield* places(mine), ["Dog-held@0", "Dog-a@0"])
    })
  )

  it.live("depends on the log's own option, and a session that has waited keeps its lock_timeout", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const client = { maxConnections: 1, startupParameters: { lock_timeout: "50ms" } }
      const impatient = yield* openLog(schema, { lockTimeout: "200 millis", client })
      const patient = yield* openLog(schema, { lockTimeout: "30 seconds", client })
      const session = ({ sql }: Log) =>
        sql<{ pid: number; value: string }>`SELECT pg_backend_pid() AS pid, current_setting('lock_timeout') AS value`
      const before = [yield* session(impatient), yield* session(patient)]
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(appendTo(patient, "Dog-a", "NoStream"), { startImmediately: true })
      yield* untilWaiting(mine)
      // waits four times as long as the session would
      const error = yield* Effect.flip(appendTo(impatient, "Dog-b", "NoStream"))
      assert.deepInclude(error, { _tag: "RecorderUnavailable", waited: 200 })
      assert.strictEqual((yield* mine.waiting).length, 1)
      yield* held.commit
      yield* Fiber.join(appending)
      assert.deepStrictEqual([yield* session(impatient), yield* session(patient)], before)
      assert.strictEqual(before[0]?.[0]?.value, "50ms")
      assert.deepStrictEqual(yield* places(mine), ["Dog-held@0", "Dog-a@0"])
    })
  )

  it.live("is independent of transactions of another log in the same database", () =>
    Effect.gen(function* () {
      const one = yield* openLog(yield* newSchema)
      const other = yield* openLog(yield* newSchema, { lockTimeout: "1 millis" })
      const held = yield* hold(one, one.append("Dog-held"))
      for (let version = 0; version < 5; version++) yield* other.append("Dog-a", 1 + (version % 2))
      yield* held.commit
      assert.strictEqual((yield* places(other)).length, 7)
    })
  )

  it.live("that closes a cycle of waits ends, and the transaction can be run again", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      // whoever checks last finds the deadlock: not before the other transaction is part of it
      const looking = (deadlock_timeout: string) => ({ client: { startupParameters: { deadlock_timeout } } })
      const mine = yield* openLog(schema, { lockTimeout: "30 seconds", ...looking("2s") })
      const others = yield* openLog(schema, looking("60s"))
      const table = mine.sql`${mine.sql(schema)}.counts`
      yield* mine.sql`CREATE TABLE ${table} (n integer)`
      yield* mine.sql`INSERT INTO ${table} VALUES (0)`
      const count = ({ sql }: Log) => sql`UPDATE ${table} SET n = n + 1`
      const counting = (meanwhile: Effect.Effect<unknown, unknown>) =>
        mine.sql.withTransaction(
          Effect.gen(function* () {
            yield* count(mine)
            yield* Effect.orDie(meanwhile)
            yield* appendTo(mine, "Dog-a", "NoStream")
          })
        )
      // holds the position lock, and wants the row that the other one holds as soon as that one wants the lock
      const both = others.sql.withTransaction(
        Effect.gen(function* () {
          yield* others.append("Dog-b")
          yield* untilWaiting(others)
          yield* count(others)
        })
      )
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      const holding = yield* Effect.flip(
        counting(
          Effect.gen(function* () {
            fibers.push(yield* Effect.forkDetach(both, { startImmediately: true }))
            yield* eventually("the lock is held", isHeld(others, schema))
          })
        )
      )
      assert.deepInclude(holding, { _tag: "RecorderUnavailable", operation: "append" })
      assert.include(holding.message, "deadlock")
      // the other one has the row now; only after it, or the same would happen again
      for (const fiber of fibers) yield* Fiber.join(fiber)
      yield* counting(Effect.void)
      assert.deepStrictEqual(yield* mine.sql`SELECT n FROM ${table}`, [{ n: 2 }])
      assert.deepStrictEqual(yield* places(mine), ["Dog-b@0", "Dog-a@0"])
    })
  )
})

/** Whether a session holds the position lock of a log. */
const isHeld = ({ sql }: Log, schema: string) =>
  Effect.map(
    sql`SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
      AND objid = to_regclass(${`"${schema}".stored_events`})`,
    ({ length }) => length > 0
  )

describe("appends of one process to one stream", () => {
  it.live("G2 are recorded in the order in which they begin", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      for (let round = 0; round < 10; round++) {
        const appends = Array.from({ length: 20 }, (_, n) => {
          const expected = n === 0 ? ("NoStream" as const) : n * (1 + (round % 2)) - 1
          return appendTo(log, `Dog-${round}`, expected, 1 + (round % 2))
        })
        const exits = yield* Effect.forEach(appends, Effect.exit, { concurrency: "unbounded" })
        assert.deepStrictEqual(
          exits.map(Exit.isSuccess),
          appends.map(() => true)
        )
      }
    })
  )
})

describe("sessions that are killed", () => {
  it.live("G7 while they are idle in the pool: the next appends succeed, and are recorded once", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema, { client: { maxConnections: 4 } })
      const others = yield* openLog(schema)
      const seen = yield* watch(others.recorder)
      /** The sessions of all connections of the pool, which are idle then. */
      const pool = Effect.gen(function* () {
        const pids: Array<number> = []
        const all = yield* Deferred.make<void>()
        const one = Effect.gen(function* () {
          if (pids.push(yield* log.pid) === 4) yield* Deferred.succeed(all, undefined)
          yield* Deferred.await(all)
        })
        yield* Effect.replicateEffect(log.sql.withTransaction(one), 4, { concurrency: 4 })
        return pids
      })
      for (let round = 0; round < 6; round++) {
        const killed = yield* pool
        yield* kill(others, killed)
        // the pool may have noticed it, or not
        if (round % 2 === 0) yield* untilGone(others, killed)
        const answers = yield* Effect.forEach(
          Array.from({ length: 8 }, (_, n) => `Dog-${round}-${n}`),
          (name, n) => appendTo(log, name, "NoStream", 1 + (n % 2)),
          { concurrency: round < 3 ? "unbounded" : 1 }
        )
        assert.deepStrictEqual(
          answers.map(({ version }) => version),
          [0, 1, 0, 1, 0, 1, 0, 1]
        )
      }
      yield* seen.until(72)
      const inLog = yield* places(log)
      assert.strictEqual(new Set(inLog).size, 72)
      assert.deepStrictEqual(seen.events, inLog)
    })
  )

  it.live(
    "G1 while an append of the user's own transaction waits: nothing of it is recorded, and it may be run again",
    () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
        const held = yield* hold(mine, mine.append("Dog-held"))
        const append = appendTo(others, "Dog-a", "NoStream", 2)
        const ended = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
        const appending = yield* Effect.forkScoped(
          others.sql.withTransaction(Effect.onExit(append, (exit) => Deferred.succeed(ended, exit))),
          { startImmediately: true }
        )
        yield* untilWaiting(mine)
        yield* kill(mine, yield* mine.waiting)
        // the error of the transaction itself is up to its client
        assert.isTrue(Exit.isFailure(yield* Fiber.await(appending)))
        assert.deepInclude(yield* Effect.flip(yield* Deferred.await(ended)), {
          _tag: "RecorderUnavailable",
          operation: "append"
        })
        yield* held.commit
        assert.strictEqual((yield* others.sql.withTransaction(append)).version, 1)
        assert.deepStrictEqual(yield* places(mine), ["Dog-held@0", "Dog-a@0", "Dog-a@1"])
      })
  )

  it.live("while they create the tables: the tables are created nevertheless", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [sql, blocking] = [yield* connect(), yield* connect({ maxConnections: 1 })]
      const [made, rollBack] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      // another transaction creates the schema, and never ends
      yield* Effect.forkScoped(
        blocking.withTransaction(
          blocking`CREATE SCHEMA ${blocking(schema)}`.pipe(
            Effect.andThen(Deferred.succeed(made, undefined)),
            Effect.andThen(Deferred.await(rollBack)),
            Effect.andThen(Effect.fail("rolled back"))
          )
        ),
        { startImmediately: true }
      )
      yield* Deferred.await(made)
      const opening = yield* Effect.forkScoped(openLog(schema), { startImmediately: true })
      const waiting = sql<{ pid: number }>`
        SELECT pid FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND query LIKE ${`CREATE SCHEMA%${schema}%`}`
      for (let round = 0; round < 2; round++) {
        const waits = eventually(
          "the tables wait to be made",
          Effect.map(waiting, ({ length }) => length > 0)
        )
        yield* Effect.raceFirst(waits, Effect.andThen(Fiber.join(opening), Effect.die(new Error("it is open"))))
        for (const { pid } of yield* waiting) yield* sql`SELECT pg_terminate_backend(${pid})`
      }
      yield* Deferred.succeed(rollBack, undefined)
      const log = yield* Fiber.join(opening)
      yield* log.append("Dog-a")
    })
  )
})

describe("interrupted work", () => {
  it.live("G10 a transaction whose append waits ends, and nothing of it is recorded", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      // a pool of one: a connection that is not returned would be missing there
      const others = yield* openLog(schema, { lockTimeout: "Infinity", client: { maxConnections: 1 } })
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(others.sql.withTransaction(others.append("Dog-a", 2)), {
        startImmediately: true
      })
      yield* untilWaiting(mine)
      yield* Fiber.interrupt(appending)
      yield* nobodyWaits(mine)
      yield* held.commit
      yield* others.append("Dog-b")
      assert.deepStrictEqual(yield* places(others), ["Dog-held@0", "Dog-b@0"])
    })
  )

  it.live("G10 a transaction that holds the lock releases it, and nothing of it is recorded", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema, { client: { maxConnections: 1 } })
      const others = yield* openLog(schema, { lockTimeout: "30 seconds" })
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(others.append("Dog-a"), { startImmediately: true })
      yield* untilWaiting(others)
      yield* Fiber.interrupt(held.fiber)
      yield* Fiber.join(appending)
      yield* mine.append("Dog-b")
      assert.deepStrictEqual(yield* places(others), ["Dog-a@0", "Dog-b@0"])
    })
  )

  it.live("G10 an append that waits ends once it is known whether it was recorded", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const [mine, others] = [yield* openLog(schema), yield* openLog(schema, { lockTimeout: "30 seconds" })]
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forkScoped(others.append("Dog-a", 2), { startImmediately: true })
      yield* untilWaiting(mine)
      const interrupting = yield* Effect.forkScoped(Fiber.interrupt(appending), { startImmediately: true })
      yield* held.commit
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(yield* places(mine), ["Dog-held@0", "Dog-a@0", "Dog-a@1"])
    })
  )

  it.live("G10 the waiting appends of a closed log end, and are not recorded later", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const mine = yield* openLog(schema)
      const scope = yield* Scope.make()
      const applicationName = `closed-${randomUUID()}`
      const leaving = yield* Scope.provide(
        openLog(schema, { lockTimeout: "Infinity", client: { applicationName } }),
        scope
      )
      const held = yield* hold(mine, mine.append("Dog-held"))
      const appending = yield* Effect.forEach(["Dog-a", "Dog-b", "Dog-c", "Dog-a"], (name, n) =>
        Effect.forkScoped(appendTo(leaving, name, "NoStream", 1 + n), { startImmediately: true })
      )
      yield* untilWaiting(mine)
      yield* Scope.close(scope, Exit.void)
      for (const fiber of appending) {
        assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "RecorderUnavailable")
      }
      const observer = yield* connect({ maxConnections: 1 })
      yield* eventually(
        "its sessions are over",
        Effect.map(
          observer`SELECT pid FROM pg_stat_activity WHERE application_name = ${applicationName}`,
          ({ length }) => length === 0
        )
      )
      yield* held.commit
      yield* mine.append("Dog-d")
      assert.deepStrictEqual(yield* places(mine), ["Dog-held@0", "Dog-d@0"])
    })
  )
})
