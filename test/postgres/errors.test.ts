/** Transient errors are retried for a while, others are reported at once; retries record nothing twice. */
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Redacted, Schedule } from "effect"
import type { EventSourcingError } from "effect-eventsourcing"
import { MultiStreamAppend, Position, SnapshotRecorder, StreamName, TrackedAppend } from "effect-eventsourcing"
import { storedEvent, storedEvents } from "effect-eventsourcing/testing/backend"
import Pg from "pg"
import { eventually } from "../support/eventually.ts"
import type { Server } from "../support/postgresServer.ts"
import { startServer } from "../support/postgresServer.ts"
import { newSchema, url } from "./support/database.ts"
import type { Log } from "./support/openLog.ts"
import { openLog, watch } from "./support/openLog.ts"
import { startProxy } from "./support/proxy.ts"

const name = (of: string) => StreamName.StreamName.make(`Dog-${of}`)

const newAppend = (of: string, count = 1) =>
  ({ stream: name(of), expected: "NoStream", events: storedEvents(count) }) as const

const by = (address: string) => ({ client: { url: Redacted.make(address) } })

/** The ids of all events, in order. */
const idsOf = ({ recorder }: Log) =>
  Effect.map(recorder.readAll({ limit: 10_000 }), (events) => events.map(({ id }) => id))

const ownServer: Effect.Effect<Server, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => startServer()),
  ({ stop }) => Effect.promise(stop)
)

/**
 * Makes inserts into a log fail with a code this many times; returns how often they were tried since. They are counted
 * with a sequence, which no rollback resets.
 */
const failInserts = (
  log: Log,
  schema: string,
  code: string,
  times: number
): Effect.Effect<Effect.Effect<number, unknown>, unknown> =>
  Effect.gen(function* () {
    const s = `"${schema}"`
    yield* log.sql.unsafe(`DROP TRIGGER IF EXISTS fault ON ${s}.stored_events`)
    yield* log.sql.unsafe(`DROP SEQUENCE IF EXISTS ${s}.faults`)
    yield* log.sql.unsafe(`CREATE SEQUENCE ${s}.faults MINVALUE 0`)
    yield* log.sql.unsafe(`
      CREATE OR REPLACE FUNCTION ${s}.fault() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('${s}.faults') < TG_ARGV[1]::integer THEN
          RAISE EXCEPTION USING ERRCODE = TG_ARGV[0], MESSAGE = 'said of ' || NEW.stream, DETAIL = 'in detail', HINT = 'what helps';
        END IF;
        RETURN NULL;
      END $$`)
    yield* log.sql.unsafe(`
      CREATE TRIGGER fault AFTER INSERT ON ${s}.stored_events
      FOR EACH ROW EXECUTE FUNCTION ${s}.fault('${code}', ${times})`)
    return Effect.map(
      log.sql.unsafe<{ tried: number }>(`SELECT (last_value + 1)::integer AS tried FROM ${s}.faults`),
      ([row]) => row?.tried ?? 0
    )
  })

describe.concurrent("errors of statements", () => {
  it.live("G7 an append with a transient error is retried, and recorded once", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const recorded: Array<string> = []
      // serialization, deadlock, disk, memory, connections, canceled, read-only, shut down, crash of another, starting,
      // idle, connection
      for (const code of [
        ...["40001", "40P01", "53100", "53200", "53300", "57014", "25006"],
        ...["57P01", "57P02", "57P03", "57P05", "08000", "08006"]
      ]) {
        const tried = yield* failInserts(log, schema, code, 2)
        for (const append of [newAppend(`${code}-1`), newAppend(`${code}-2`, 2)]) {
          assert.strictEqual((yield* log.recorder.append(append)).version, append.events.length - 1, code)
          recorded.push(...append.events.map(({ id }) => id))
        }
        // twice in vain, then each event once
        assert.strictEqual(yield* tried, 5, code)
      }
      assert.deepStrictEqual(yield* idsOf(log), recorded)
    })
  )

  it.live(
    "a transient error that persists is unavailable after one or two seconds of attempts, and the append can be sent again",
    () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const log = yield* openLog(schema)
        const tried = yield* failInserts(log, schema, "40001", 1_000_000)
        const append = newAppend("a")
        const error = yield* Effect.flip(log.recorder.append(append))
        assert.deepInclude(error, { _tag: "RecorderUnavailable" })
        assert.include(error.message, "said of Dog-a. what helps")
        assert.isAbove(yield* tried, 2)
        assert.isBelow(yield* tried, 20)
        yield* failInserts(log, schema, "40001", 0)
        yield* log.recorder.append(append)
        assert.deepStrictEqual(yield* idsOf(log), [append.events[0].id])
      })
  )

  it.live("a permanent error fails at once, with the server's message", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      const codes: ReadonlyArray<readonly [code: string, said: string]> = [
        ["42501", "the role lacks a right"],
        ["23514", "said of"],
        ["P0001", "said of"],
        ["XX000", "said of"],
        ["22000", "said of"]
      ]
      for (const [code, said] of codes) {
        const tried = yield* failInserts(log, schema, code, 1_000_000)
        for (const count of [1, 2]) {
          const error = yield* Effect.flip(log.recorder.append(newAppend("a", count)))
          assert.deepInclude(error, { _tag: "RecorderFailure" }, code)
          assert.include(error.message, said)
          assert.include(error.message, "said of Dog-a")
          assert.include(error.message, "what helps")
          assert.notInclude(error.message, "in detail")
        }
        assert.strictEqual(yield* tried, 2, code)
      }
      assert.deepStrictEqual(yield* idsOf(log), [])
    })
  )

  it.live("the error of a row that the database refuses contains nothing of the event or snapshot", () =>
    Effect.gen(function* () {
      const SECRET = "Tr0ub4dor"
      const events = (s: string) => `${s}.stored_events`
      const refusals: ReadonlyArray<readonly [said: string, statements: (s: string) => ReadonlyArray<string>]> = [
        ["of_mine", (s) => [`ALTER TABLE ${events(s)} ADD CONSTRAINT of_mine CHECK (payload_text NOT LIKE '%dog%')`]],
        [
          "of_mine",
          (s) => [
            `CREATE DOMAIN ${s}.of_mine AS text CHECK (VALUE NOT LIKE '%dog%')`,
            `ALTER TABLE ${events(s)} ALTER COLUMN payload_text TYPE ${s}.of_mine`
          ]
        ],
        ["mine", (s) => [`ALTER TABLE ${events(s)} ADD COLUMN mine text NOT NULL`]],
        ["of_mine", (s) => [`CREATE UNIQUE INDEX of_mine ON ${events(s)} ((payload_text::json ->> 'name'))`]],
        [
          "of_mine",
          (s) => [
            `CREATE TABLE ${s}.names (name text PRIMARY KEY)`,
            `ALTER TABLE ${events(s)} ADD CONSTRAINT of_mine FOREIGN KEY (payload_text) REFERENCES ${s}.names`
          ]
        ],
        [
          "of_mine",
          (s) => [`ALTER TABLE ${events(s)} ADD CONSTRAINT of_mine EXCLUDE ((payload_text::json ->> 'name') WITH =)`]
        ],
        ["type integer", (s) => [`CREATE INDEX of_mine ON ${events(s)} (((payload_text::json ->> 'name')::integer))`]],
        ["type json", (s) => [`CREATE INDEX of_mine ON ${events(s)} (((payload_text || '?')::jsonb))`]],
        [
          "not this one",
          (s) => [
            `CREATE FUNCTION ${s}.of_mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              RAISE EXCEPTION USING ERRCODE = '55000', MESSAGE = 'not this one', DETAIL = NEW.payload_text; END $$`,
            `CREATE TRIGGER of_mine BEFORE INSERT ON ${events(s)} FOR EACH ROW EXECUTE FUNCTION ${s}.of_mine()`
          ]
        ]
      ]
      const payload = JSON.stringify({ name: SECRET, is: "dog" })
      for (const [said, statements] of refusals) {
        const schema = yield* newSchema
        const log = yield* openLog(schema)
        const isOfTwo = statements(schema).some((statement) => /UNIQUE|EXCLUDE/.test(statement))
        for (const statement of statements(`"${schema}"`)) yield* log.sql.unsafe(statement)
        if (isOfTwo) yield* log.recorder.append({ ...newAppend("0"), events: [storedEvent({ payload })] })
        for (const count of [1, 2]) {
          const append = { ...newAppend("a"), events: storedEvents(count, { payload, metadata: payload }) }
          const exit = yield* Effect.exit(log.recorder.append(append))
          if (Exit.isSuccess(exit)) return yield* Effect.die(new Error(`it is recorded: ${statements(schema)}`))
          const error = Cause.squash(exit.cause) as EventSourcingError.RecorderFailure
          assert.include(error.message, said)
          const told = [
            ...[error.message, String(error), error.stack, JSON.stringify(error), JSON.stringify(exit.cause)],
            ...[Cause.pretty(exit.cause), inspect(error, { depth: 20, showHidden: true })]
          ]
          for (const text of told) assert.notInclude(text, SECRET)
          assert.deepInclude(error, { _tag: "RecorderFailure" })
        }
      }
      const schema = yield* newSchema
      const log = yield* openLog(schema)
      yield* log.sql.unsafe(`ALTER TABLE "${schema}".stored_snapshots ADD CHECK (payload_text NOT LIKE '%dog%')`)
      const snapshot = {
        stream: name("a"),
        version: 1,
        schemaVersion: 1,
        encoding: "json",
        createdAt: 1,
        modifiedAt: 1
      }
      const error = yield* Effect.flip(
        Context.get(log.services, SnapshotRecorder.SnapshotRecorder).save({ ...snapshot, payload })
      )
      assert.notInclude(inspect(error, { depth: 20, showHidden: true }), SECRET)
    })
  )

  it.live("a deadlock of two transactions makes one of them unavailable, and after a retry both are recorded", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      // the second one detects the deadlock, and so is the one to be aborted
      const first = yield* openLog(schema, { client: { startupOptions: "-c deadlock_timeout=1min" } })
      const second = yield* openLog(schema, { client: { startupOptions: "-c deadlock_timeout=50ms" } })
      yield* first.sql`CREATE TABLE ${first.sql(schema)}.counts (n integer)`
      yield* first.sql`INSERT INTO ${first.sql(schema)}.counts VALUES (0)`
      const count = ({ sql }: Log) => sql`UPDATE ${sql(schema)}.counts SET n = n + 1`
      const [counted, appended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]

      const appendFirst = first.sql.withTransaction(
        Effect.gen(function* () {
          yield* first.append("Dog-a")
          yield* Deferred.succeed(appended, undefined)
          yield* Deferred.await(counted)
          yield* count(first)
        })
      )
      const countFirst = second.sql.withTransaction(
        Effect.gen(function* () {
          yield* count(second)
          yield* Deferred.succeed(counted, undefined)
          yield* Deferred.await(appended)
          yield* second.append("Dog-b")
        })
      )
      const one = yield* Effect.forkScoped(appendFirst, { startImmediately: true })
      const error = yield* Effect.flip(countFirst)
      assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      assert.include(String(error), "deadlock detected")
      yield* Fiber.join(one)
      yield* countFirst
      const streams = Effect.map(first.recorder.readAll({ limit: 10 }), (all) => all.map(({ stream }) => `${stream}`))
      assert.deepStrictEqual(yield* streams, ["Dog-a", "Dog-b"])
      assert.deepStrictEqual(yield* first.sql`SELECT n FROM ${first.sql(schema)}.counts`, [{ n: 2 }])
    })
  )

  it.live("an append of more than PostgreSQL accepts fails, and is not sent repeatedly", () =>
    Effect.gen(function* () {
      const log = yield* openLog(yield* newSchema)
      // the same memory four times
      const payload = new Uint8Array(300 * 2 ** 20)
      const events = [storedEvent({ payload }), ...[1, 2, 3].map(() => storedEvent({ payload }))] as const
      const small = newAppend("small")
      const [large, fine] = yield* Effect.all(
        [
          Effect.exit(log.recorder.append({ stream: name("large"), expected: "NoStream", events })),
          Effect.exit(log.recorder.append(small))
        ],
        { concurrency: "unbounded" }
      )
      assert.isTrue(Exit.isSuccess(fine))
      const error = yield* Effect.flip(large)
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.match(error.message, /more than PostgreSQL accepts in one call/)
      assert.deepStrictEqual(yield* idsOf(log), [small.events[0].id])
    })
  )

  it.live("a snapshot of more than PostgreSQL accepts fails, with advice", () =>
    Effect.gen(function* () {
      const { services } = yield* openLog(yield* newSchema)
      const snapshots = Context.get(services, SnapshotRecorder.SnapshotRecorder)
      const fields = { version: 0, schemaVersion: 1, encoding: "bytes", createdAt: 0, modifiedAt: 0 }
      const payload = new Uint8Array(1_000_000_001)
      const error = yield* Effect.flip(snapshots.save({ ...fields, stream: name("large"), payload }))
      assert.deepInclude(error, { _tag: "RecorderFailure", operation: "save a snapshot" })
      assert.match(error.message, /1000000001 bytes, .*keep less in the state/)
    })
  )
})

describe.concurrent("connections that are lost", () => {
  it.live(
    "G7 an append whose answer is lost succeeds, and is recorded once: alone, with others, to several streams",
    () =>
      Effect.gen(function* () {
        const proxy = yield* startProxy(url())
        const schema = yield* newSchema
        const log = yield* openLog(schema, by(proxy.url))
        const plain = yield* openLog(schema)
        const [several, tracked] = [
          Context.get(log.services, MultiStreamAppend.MultiStreamAppend),
          Context.get(log.services, TrackedAppend.TrackedAppend)
        ]
        const key = { projection: "p", version: 1, upstream: "u", slice: 0 }
        const headAfter = <A extends { readonly position: Position.Position | undefined }, E>(
          self: Effect.Effect<A, E>
        ) =>
          Effect.gen(function* () {
            const before = proxy.lost()
            proxy.loseAnswers(2)
            const { position } = yield* self
            assert.strictEqual(proxy.lost(), before + 2)
            assert.strictEqual(position, yield* plain.recorder.head)
          })
        const appends = [newAppend("a"), newAppend("b", 3), newAppend("c"), newAppend("d", 2), newAppend("e")] as const
        yield* headAfter(log.recorder.append(appends[0]))
        yield* headAfter(log.recorder.append(appends[1]))
        yield* headAfter(several.append([appends[2], appends[3]]))
        const move = { key, from: undefined, to: Position.Position.make(7n) }
        yield* headAfter(tracked.append([appends[4]], move))
        assert.strictEqual(yield* tracked.position(key), move.to)

        // many at once, one of which is refused; the connections of both calls are lost
        proxy.loseAnswers(2)
        const many = Array.from({ length: 40 }, (_, n) => newAppend(`many-${n}`, 1 + (n % 2)))
        const exits = yield* Effect.forEach(
          [...many.slice(0, 20), newAppend("a"), ...many.slice(20)],
          (append) => Effect.exit(log.recorder.append(append)),
          { concurrency: "unbounded" }
        )
        const refused = yield* Effect.forEach(exits.filter(Exit.isFailure), Effect.flip)
        assert.lengthOf(refused, 1)
        assert.deepInclude(refused[0], { _tag: "WrongExpectedVersion", stream: "Dog-a", actual: 0 })
        const sent = [...appends, ...many].flatMap(({ events }) => events.map(({ id }) => id))
        assert.sameMembers([...(yield* idsOf(plain))], sent)
      })
  )

  it.live("G7 an append that is lost on the way is sent again", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const log = yield* openLog(yield* newSchema, by(proxy.url))
      const appends = [newAppend("a"), newAppend("b", 2)]
      for (const append of appends) {
        proxy.loseStatements(2)
        yield* log.recorder.append(append)
      }
      assert.strictEqual(proxy.lost(), 4)
      assert.deepStrictEqual(
        yield* idsOf(log),
        appends.flatMap(({ events }) => events.map(({ id }) => id))
      )
    })
  )

  it.live("G7 an append that never gets an answer is unavailable; sent again later it succeeds and is there once", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const log = yield* openLog(yield* newSchema, by(proxy.url))
      const append = newAppend("a", 2)
      proxy.loseAnswers()
      const error = yield* Effect.flip(log.recorder.append(append))
      assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      proxy.letThrough()
      const { position, version } = yield* log.recorder.append(append)
      assert.strictEqual(version, 1)
      assert.strictEqual(position, yield* log.recorder.head)
      assert.lengthOf(yield* idsOf(log), 2)
    })
  )

  it.live("reads, snapshots and tracking survive lost connections, too", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const log = yield* openLog(yield* newSchema, by(proxy.url))
      yield* log.append("Dog-a", 3)
      const snapshots = Context.get(log.services, SnapshotRecorder.SnapshotRecorder)
      const snapshot = {
        ...{ stream: name("a"), version: 1, schemaVersion: 1, encoding: "json" },
        ...{ payload: "{}", createdAt: 1, modifiedAt: 2 }
      }
      const over = <A>(self: Effect.Effect<A, unknown>) => {
        proxy.loseAnswers(1)
        return self
      }
      yield* over(snapshots.save(snapshot))
      assert.deepStrictEqual(yield* over(snapshots.load(name("a"))), snapshot)
      assert.lengthOf(yield* over(log.recorder.readAll({ limit: 10 })), 3)
      assert.lengthOf(yield* over(log.recorder.readStream({ stream: name("a"), limit: 10 })), 3)
      assert.strictEqual(yield* over(log.recorder.head), 3n)
      assert.strictEqual(proxy.lost(), 5)
    })
  )

  it.live("a server that ends idle sessions does not matter", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const applicationName = `idle-${schema.slice(-8)}`
      const client = { applicationName, startupOptions: "-c idle_session_timeout=50" }
      const log = yield* openLog(schema, { client })
      const others = yield* openLog(schema)
      const seen = yield* watch(log.recorder)
      const gone = Effect.map(
        others.sql`SELECT pid FROM pg_stat_activity WHERE application_name = ${applicationName} AND query NOT LIKE 'LISTEN%'`,
        ({ length }) => length === 0
      )
      for (let count = 1; count <= 3; count++) {
        yield* eventually("its sessions are ended", gone)
        yield* log.append("Dog-a")
        yield* eventually("its sessions are ended", gone)
        yield* others.append("Dog-a")
        yield* seen.until(2 * count)
      }
    })
  )
})

describe.concurrent("a layer that is built", () => {
  it.live("on a server that is starting: retried, and unavailable if that lasts", () =>
    Effect.gen(function* () {
      const proxy = yield* startProxy(url())
      const schema = yield* newSchema
      const refusal = { code: "57P03", message: "the database system is starting up" }
      proxy.refuse(refusal)
      const error = yield* Effect.flip(openLog(schema, by(proxy.url)))
      assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      assert.include(String(error), refusal.message)
      const tried = proxy.refused()
      assert.isAbove(tried, 2)
      assert.isBelow(tried, 20)
      // no longer refused by the fourth attempt
      proxy.refuse(refusal, 3)
      yield* (yield* openLog(schema, by(proxy.url))).append("Dog-a")
      assert.strictEqual(proxy.refused(), tried + 3)
    })
  )

  const passing = {
    "that is shutting down": { code: "57P03", message: "the database system is shutting down" },
    "that has no connection left": { code: "53300", message: "sorry, too many clients already" },
    "whose role has no connection left": { code: "53300", message: 'too many connections for role "app"' },
    "that recovers from a crash": { code: "57P03", message: "the database system is in recovery mode" }
  }
  for (const [which, refusal] of Object.entries(passing)) {
    it.live(`on a server ${which}: retried`, () =>
      Effect.gen(function* () {
        const proxy = yield* startProxy(url())
        proxy.refuse(refusal, 2)
        const log = yield* openLog(yield* newSchema, by(proxy.url))
        assert.strictEqual(proxy.refused(), 2)
        // also when it is in use
        proxy.loseAnswers(1)
        proxy.refuse(refusal, 2)
        yield* log.append("Dog-a")
        assert.strictEqual(proxy.refused(), 4)
      })
    )
  }

  it.live("while its server is restarted: it succeeds once the server is up", () =>
    Effect.gen(function* () {
      const server = yield* ownServer
      const context = yield* Effect.context<Scope.Scope>()
      const building = yield* Deferred.make<Fiber.Fiber<Log, unknown>>()
      const build = Effect.gen(function* () {
        const again = Effect.retry(openLog("restarted", by(server.url)), Schedule.spaced("10 millis"))
        yield* Deferred.succeed(building, yield* Effect.forkScoped(again, { startImmediately: true }))
      })
      yield* Effect.promise(() => server.restart(() => Effect.runPromiseWith(context)(build)))
      const log = yield* Fiber.join(yield* Deferred.await(building))
      yield* log.append("Dog-a")
    })
  )

  it.live("on a server that waits for its last session to end: unavailable, and existing sessions continue", () =>
    Effect.gen(function* () {
      const server = yield* ownServer
      const log = yield* openLog("stopping", by(server.url))
      yield* log.append("Dog-a")
      // stays to the end, so that the server keeps running
      const last = new Pg.Client({ connectionString: server.url })
      last.on("error", () => {})
      yield* Effect.promise(() => last.connect())
      const { rows } = yield* Effect.promise(() => last.query<{ data_directory: string }>("SHOW data_directory"))
      const file = Path.join(rows[0]?.data_directory ?? "", "postmaster.pid")
      process.kill(Number(Fs.readFileSync(file, "utf8").split("\n")[0]), "SIGTERM")
      const refused = Effect.map(
        Effect.promise(async () => {
          const one = new Pg.Client({ connectionString: server.url })
          one.on("error", () => {})
          const ended = once(one, "end")
          try {
            await one.connect()
            await one.end()
          } catch (error) {
            await ended
            return String(error)
          }
          return ""
        }),
        (said) => said.includes("shutting down")
      )
      yield* eventually("it is shutting down", refused)
      const error = yield* Effect.flip(openLog("stopping", by(server.url)))
      assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      assert.include(String(error), "the database system is shutting down")
      yield* log.append("Dog-a")
    })
  )
})
