/** What a person has to know: how the layer takes its configuration, and what it reports of a wrong one. */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { inspect } from "node:util"
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import type { Config, Scope } from "effect"
import {
  Cause,
  ConfigProvider,
  Context,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Redacted,
  References,
  Stream
} from "effect"
import type { EventSourcingError } from "effect-eventsourcing"
import { Projection, Recorder, Repository, StreamName } from "effect-eventsourcing"
import type { PostgresOptions, PostgresServices } from "effect-eventsourcing/postgres"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import { Dog } from "../support/dog.ts"
import { eventually } from "../support/eventually.ts"
import { startServer } from "../support/postgresServer.ts"
import { connect, newDatabase, newSchema, url } from "./support/database.ts"
import { hold, openLog, watch } from "./support/openLog.ts"

type Failure = EventSourcingError.FollowError | Config.ConfigError

/** Builds a layer, with an environment of its own. */
const build = <E>(layer: Layer.Layer<PostgresServices, E>, env: Readonly<Record<string, string>> = {}) =>
  Effect.provideService(
    Layer.build(Layer.fresh(layer)),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromEnv({ env: { ...env } })
  )

const fromEnvironment = (env: Readonly<Record<string, string>>) =>
  Effect.map(build(PostgresLayer.config(), env), Context.get(Recorder.Recorder))

const append = (recorder: Recorder.Recorder["Service"], name: string) =>
  recorder.append({ stream: StreamName.StreamName.make(name), expected: "NoStream", events: storedEvents(1) })

const server = () => new URL(url())

/** The sessions of a database, except those that only observe. */
const sessionsOf = (database: string, condition = "true") =>
  Effect.scoped(
    Effect.flatMap(connect({ maxConnections: 1 }), (sql) =>
      Effect.map(
        sql.unsafe<{ pid: number }>(
          `SELECT pid FROM pg_stat_activity WHERE datname = '${new URL(database).pathname.slice(1)}' AND backend_type = 'client backend' AND ${condition}`
        ),
        (rows) => rows.map(({ pid }) => pid)
      )
    )
  )

/** A port that accepts connections and never responds. */
const silentPort = Effect.map(
  Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const one: Net.Server = Net.createServer().listen(0, "127.0.0.1", () => resume(Effect.succeed(one)))
    }),
    (one) => Effect.sync(() => one.close())
  ),
  (one) => (one.address() as Net.AddressInfo).port
)

const inlineDogs = Projection.make("dogs", {
  aggregates: [Dog],
  inline: true,
  view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("dogs")} (name text NOT NULL)`),
  handlers: {
    Dog: {
      Registered: ({ event }, { sql, table }) => sql`INSERT INTO ${table("dogs")} (name) VALUES (${event.name})`,
      TrickAdded: Projection.ignore,
      Rested: Projection.ignore
    }
  }
})

describe("PostgresLayer.config", () => {
  it.live("reads POSTGRES_URL and POSTGRES_SCHEMA", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const recorder = yield* fromEnvironment({ POSTGRES_URL: url(), POSTGRES_SCHEMA: schema })
      yield* append(recorder, "Dog-a")
      const log = yield* openLog(schema, { createTables: false })
      assert.strictEqual(log.recorder.logId, recorder.logId)
      assert.lengthOf(yield* log.recorder.readAll({ limit: 10 }), 1)
    })
  )

  it.live("reads host, port, database, user and password separately, which override the URL", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const { hostname, port, pathname, username, password } = server()
      const parts = {
        POSTGRES_HOST: hostname,
        POSTGRES_PORT: port,
        POSTGRES_DBNAME: pathname.slice(1),
        POSTGRES_USER: decodeURIComponent(username),
        POSTGRES_PASSWORD: decodeURIComponent(password),
        POSTGRES_SCHEMA: schema
      }
      const { logId } = yield* fromEnvironment(parts)
      const other = "postgresql://nobody:wrong@127.0.0.1:1/nothing"
      assert.strictEqual((yield* fromEnvironment({ ...parts, POSTGRES_URL: other })).logId, logId)
    })
  )

  it.live("reads POSTGRES_URL, whose parts override defaults in code", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const wrong = {
        host: "127.0.0.1",
        port: 1,
        database: "nothing",
        username: "nobody",
        password: Redacted.make("wrong")
      }
      const env = { POSTGRES_URL: url(), POSTGRES_SCHEMA: schema, POSTGRES_VIEWS_SCHEMA: schema }
      yield* build(PostgresLayer.config(wrong), env)
      yield* Effect.provideService(
        Layer.build(PostgresViews.config(wrong)),
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env })
      )
    })
  )

  it.live("the defaults may be any option of the layer, inline too", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const layer = Layer.merge(
        PostgresLayer.config({ schema, viewsSchema: schema, inline: [inlineDogs] }),
        PostgresViews.config({ schema })
      )
      yield* Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* dogs.execute(Dog.id("Fido"), Dog.Registered({ name: "Fido" }))
        const names = yield* Projection.read(inlineDogs, ({ sql, table }) => sql`SELECT name FROM ${table("dogs")}`)
        assert.lengthOf(names, 1)
      }).pipe(
        Effect.provide(layer),
        Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { POSTGRES_URL: url() } }))
      )
    })
  )

  it.live("reads POSTGRES_CREATE_TABLE, POSTGRES_POOL_SIZE and POSTGRES_LISTEN", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const env = { POSTGRES_URL: url(), POSTGRES_SCHEMA: schema }
      const error = yield* Effect.flip(fromEnvironment({ ...env, POSTGRES_CREATE_TABLE: "false" }))
      assert.deepInclude(error, { _tag: "RecorderFailure" })
      assert.include(error.message, "schemaSql")
      yield* fromEnvironment({ ...env, POSTGRES_CREATE_TABLE: "true", POSTGRES_POOL_SIZE: "1", POSTGRES_LISTEN: "no" })
      yield* fromEnvironment({ ...env, POSTGRES_CREATE_TABLE: "no" })
    })
  )

  it.live("reads POSTGRES_LOCK_TIMEOUT as seconds or a duration; 0 waits indefinitely", () =>
    Effect.gen(function* () {
      const schema = yield* newSchema
      const env = { POSTGRES_URL: url(), POSTGRES_SCHEMA: schema }
      const log = yield* openLog(schema)
      const bounded: ReadonlyArray<readonly [value: string, waited: number]> = [
        ["0.2", 200],
        ["300 millis", 300],
        ["1", 1000]
      ]
      const recorders = yield* Effect.forEach(bounded, ([value]) =>
        fromEnvironment({ ...env, POSTGRES_LOCK_TIMEOUT: value })
      )
      const endless = yield* fromEnvironment({ ...env, POSTGRES_LOCK_TIMEOUT: "0" })
      const held = yield* hold(log, log.append("Dog-held"))
      const waiting = yield* Effect.forkScoped(append(endless, "Dog-a"), { startImmediately: true })
      for (const [i, [, waited]] of bounded.entries()) {
        const error = yield* Effect.flip(append(recorders[i] as Recorder.Recorder["Service"], "Dog-b"))
        assert.deepInclude(error, { _tag: "RecorderUnavailable", waited })
      }
      assert.isUndefined(waiting.pollUnsafe())
      yield* held.commit
      assert.isTrue(Exit.isSuccess(yield* Effect.exit(append(endless, "Dog-c"))))
    })
  )

  it.live("reads POSTGRES_POOL_SIZE as the maximum number of connections, without the one that listens", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      const recorder = yield* fromEnvironment({ POSTGRES_URL: database, POSTGRES_POOL_SIZE: "3" })
      yield* watch(recorder)
      yield* eventually(
        "it listens",
        Effect.map(sessionsOf(database, "query LIKE 'LISTEN%'"), ({ length }) => length === 1)
      )
      const reads = Effect.forEach(Array.from({ length: 100 }), () => recorder.readAll({ limit: 10 }), {
        concurrency: "unbounded"
      })
      // all of them at once: none finishes before the lock is free
      const admin = yield* connect({ url: Redacted.make(database), applicationName: "admin" })
      const reading = yield* admin.withTransaction(
        Effect.gen(function* () {
          yield* admin`LOCK TABLE stored_events IN ACCESS EXCLUSIVE MODE`
          const begun = yield* Effect.forkScoped(reads, { startImmediately: true })
          yield* eventually(
            "they wait",
            Effect.map(sessionsOf(database, "wait_event_type = 'Lock'"), ({ length }) => length >= 3)
          )
          return begun
        })
      )
      yield* Fiber.join(reading)
      assert.lengthOf(yield* sessionsOf(database, "application_name <> 'admin'"), 4)
    })
  )

  it.live("reads POSTGRES_CONN_MAX_AGE, after which a connection is replaced", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      const env = { POSTGRES_URL: database, POSTGRES_POOL_SIZE: "1", POSTGRES_LISTEN: "no" }
      for (const [age, isReplaced] of [
        ["0", true],
        ["1 hour", false]
      ] as const) {
        const pids = yield* Effect.scoped(
          Effect.gen(function* () {
            const recorder = yield* fromEnvironment({ ...env, POSTGRES_CONN_MAX_AGE: age })
            const seen = new Set<number>()
            for (let read = 0; read < 3; read++) {
              yield* recorder.head
              for (const pid of yield* sessionsOf(database, "query LIKE '%max(position)%'")) seen.add(pid)
            }
            return seen
          })
        )
        assert.strictEqual(pids.size > 1, isReplaced, age)
      }
    })
  )

  it.live(
    "reads POSTGRES_CONNECT_TIMEOUT, after which a server that accepts connections but does not respond is unavailable",
    () =>
      Effect.gen(function* () {
        const env = {
          POSTGRES_URL: `postgresql://me@127.0.0.1:${yield* silentPort}/db`,
          POSTGRES_CONNECT_TIMEOUT: "0.05"
        }
        const error = yield* Effect.flip(fromEnvironment(env))
        assert.deepInclude(error, { _tag: "RecorderUnavailable" })
      })
  )

  it.live("reads POSTGRES_LISTEN and POSTGRES_POLL_INTERVAL: either keeps followers up to date", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      const env = { POSTGRES_URL: database }
      const writer = yield* fromEnvironment(env)
      const polling = yield* fromEnvironment({ ...env, POSTGRES_LISTEN: "false", POSTGRES_POLL_INTERVAL: "0.02" })
      const listening = yield* fromEnvironment({ ...env, POSTGRES_LISTEN: "true", POSTGRES_POLL_INTERVAL: "3600" })
      const seen = [yield* watch(polling), yield* watch(listening)]
      yield* eventually(
        "one of them listens",
        Effect.map(sessionsOf(database, "query LIKE 'LISTEN%'"), ({ length }) => length === 1)
      )
      // so many that a poll each second would not finish them
      const rounds = Effect.gen(function* () {
        for (let count = 1; count <= 100; count++) {
          yield* append(writer, `Dog-${count}`)
          for (const { until } of seen) yield* until(count)
        }
      })
      yield* Effect.timeout(rounds, "1 minute")
      assert.lengthOf(yield* sessionsOf(database, "query LIKE 'LISTEN%'"), 1)
    })
  )

  it.live("with nothing set, names the variables", () =>
    Effect.gen(function* () {
      // not as the user of the operating system, on whatever server may be running
      const before = { ...process.env }
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          for (const variable of ["USER", "USERNAME"]) delete process.env[variable]
        }),
        () => Effect.sync(() => Object.assign(process.env, before))
      )
      const error: Failure = yield* Effect.flip(fromEnvironment({}))
      assert.include(["RecorderFailure", "ConfigError"], error._tag)
      for (const variable of ["POSTGRES_URL", "POSTGRES_USER"]) assert.include(error.message, variable)
    })
  )

  it.live("names the variable of an invalid value", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [variable: string, value: string]> = [
        ["POSTGRES_PORT", "postgres"],
        ["POSTGRES_PORT", "70000"],
        ["POSTGRES_CREATE_TABLE", "perhaps"],
        ["POSTGRES_LISTEN", "perhaps"],
        ["POSTGRES_POOL_SIZE", "1.5"],
        ["POSTGRES_LOCK_TIMEOUT", "soon"],
        ["POSTGRES_CONNECT_TIMEOUT", "soon"],
        ["POSTGRES_CONN_MAX_AGE", "soon"],
        ["POSTGRES_POLL_INTERVAL", "soon"]
      ]
      for (const [variable, value] of wrong) {
        const error: Failure = yield* Effect.flip(fromEnvironment({ POSTGRES_URL: url(), [variable]: value }))
        assert.deepInclude(error, { _tag: "ConfigError" }, variable)
        assert.include(String(error), variable)
      }
    })
  )

  it.live("refuses invalid numbers: negative durations, an empty pool", () =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<readonly [variable: string, value: string]> = [
        ["POSTGRES_LOCK_TIMEOUT", "-1"],
        ["POSTGRES_LOCK_TIMEOUT", "NaN"],
        ["POSTGRES_LOCK_TIMEOUT", "9999999"],
        ["POSTGRES_POLL_INTERVAL", "-1"],
        ["POSTGRES_POOL_SIZE", "0"],
        ["POSTGRES_POOL_SIZE", "-1"],
        ["POSTGRES_CONNECT_TIMEOUT", "-1"]
      ]
      const schema = yield* newSchema
      const taken: Array<string> = []
      for (const [variable, value] of wrong) {
        const env = { POSTGRES_URL: url(), POSTGRES_SCHEMA: schema, [variable]: value }
        const exit = yield* Effect.exit(fromEnvironment(env))
        const said = Exit.isFailure(exit) ? (Cause.squash(exit.cause) as Failure)._tag : "it is taken"
        if (said !== "ConfigError" && said !== "RecorderFailure") taken.push(`${variable}=${value}: ${said}`)
      }
      assert.deepStrictEqual(taken, [])
    })
  )
})

describe("the URL", () => {
  it.live("has parameters for everything about the connection", () =>
    Effect.gen(function* () {
      const database = new URL(yield* newDatabase())
      const given = new URL("postgresql:///")
      const parameters = {
        ...{ host: database.hostname, port: database.port, dbname: database.pathname.slice(1) },
        ...{ user: decodeURIComponent(database.username), password: decodeURIComponent(database.password) },
        ...{ application_name: "the dogs' home", options: "-c statement_timeout=1234s -c TimeZone=Asia/Kolkata" },
        ...{ connect_timeout: "7", sslmode: "prefer" }
      }
      for (const [key, value] of Object.entries(parameters)) given.searchParams.set(key, value)
      yield* append(yield* fromEnvironment({ POSTGRES_URL: given.href }), "Dog-a")
      const named = "application_name = 'the dogs'' home'"
      assert.lengthOf(yield* sessionsOf(database.href, named), 1)
      const services = yield* build(PostgresLayer({ url: given.href, applicationName: "of the option" }))
      yield* append(Context.get(services, Recorder.Recorder), "Dog-b")
      assert.lengthOf(yield* sessionsOf(database.href, "application_name = 'of the option'"), 1)
    })
  )

  it.live("with a parameter that would have no effect is refused, with advice what to use instead", () =>
    Effect.gen(function* () {
      const cases: ReadonlyArray<readonly [name: string, value: string, advice: string]> = [
        ["schema", "orders", "the option schema"],
        ["currentSchema", "orders", "the option schema"],
        ["search_path", "orders", "the option schema"],
        ["target_session_attrs", "read-write", "the primary"],
        ["sslrootcert", "/ca.pem", "the option ssl"],
        ["channel_binding", "require", "omit it"],
        ["keepalives_idle", "30", "keepAlive"],
        ["connection_limit", "5", "maxConnections"],
        ["pgbouncer", "true", "prepare: false"],
        ["statement_timeout", "1000", "options=-c%20statement_timeout%3DVALUE"],
        ["SSLMode", "require", "the option ssl"],
        ["Host", "localhost", 'it is written "host"'],
        ["constructor", "1", "the known parameters are host, port"],
        ["", "1", "the known parameters are host, port"],
        ["host", "one,two", "several hosts"]
      ]
      for (const [name, value, advice] of cases) {
        const given = new URL(url())
        given.searchParams.set(name, value)
        given.password = "hunter2"
        for (const failed of [
          fromEnvironment({ POSTGRES_URL: given.href }),
          build(PostgresLayer({ url: given.href })),
          build(PostgresLayer({ url: Redacted.make(given.href) })),
          Layer.build(Layer.fresh(PostgresViews({ url: given.href })))
        ]) {
          const error = yield* Effect.flip(failed as Effect.Effect<unknown, Failure, Scope.Scope>)
          assert.deepInclude(error, { _tag: "RecorderFailure" }, name)
          assert.include(error.message, `parameter ${name === "host" ? "host" : `"${name}"`}`)
          assert.include(error.message, advice)
          assert.notInclude(error.message, given.password)
        }
      }
    })
  )

  it.live("without an application name, the connections have the library's", () =>
    Effect.gen(function* () {
      const database = yield* newDatabase()
      yield* append(yield* fromEnvironment({ POSTGRES_URL: database }), "Dog-a")
      assert.lengthOf(yield* sessionsOf(database, "application_name = 'effect-eventsourcing'"), 1)
    })
  )

  it.live("or the host can name the directory of a Unix socket", () =>
    Effect.gen(function* () {
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "socket-"))),
        (made) => Effect.sync(() => Fs.rmSync(made, { recursive: true, force: true }))
      )
      // the server may run as another user
      Fs.chmodSync(directory, 0o777)
      const own = yield* Effect.acquireRelease(
        Effect.promise(() => startServer({ unix_socket_directories: directory, listen_addresses: "" })),
        ({ stop }) => Effect.promise(stop)
      )
      const { port, username, password } = new URL(own.url)
      const inUrl = new URL("postgresql:///postgres")
      const parameters = { host: directory, port, user: username, password }
      for (const [key, value] of Object.entries(parameters)) inUrl.searchParams.set(key, value)
      for (const options of [
        { host: directory, port: Number(port), username, password: Redacted.make(password), database: "postgres" },
        { url: inUrl.href }
      ]) {
        const services = yield* build(PostgresLayer(options))
        assert.isDefined(Context.get(services, Recorder.Recorder).logId)
      }
    })
  )
})

describe.concurrent("errors while the layer is built", () => {
  const PASSWORD = "Tr0ub4dor-hunter2"

  /** Everything that a program may print of an error; none of it contains the password. */
  const assertSilent = (cause: Cause.Cause<Failure>) => {
    const error = Cause.squash(cause) as Failure
    const printed = {
      message: error.message,
      string: String(error),
      stack: error instanceof Error ? String(error.stack) : "",
      json: JSON.stringify(error),
      cause: JSON.stringify(cause),
      pretty: Cause.pretty(cause),
      inspected: inspect(error, { depth: 20, showHidden: true })
    }
    for (const [how, text] of Object.entries(printed)) {
      assert.notInclude(text, PASSWORD, how)
      assert.notInclude(text, encodeURIComponent(PASSWORD), how)
    }
  }

  /** Builds the layer, which fails without revealing the password. */
  const failureOf = (options: PostgresOptions): Effect.Effect<Failure, unknown, Scope.Scope> =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(build(PostgresLayer(options)))
      if (Exit.isSuccess(exit)) return yield* Effect.die(new Error("the layer was built"))
      assertSilent(exit.cause)
      return Cause.squash(exit.cause) as Failure
    })

  /** A role for one test, with this password. */
  const newRole = (attributes = "LOGIN") =>
    Effect.gen(function* () {
      const sql = yield* connect({ maxConnections: 1 })
      const name = `role_${randomUUID().replaceAll("-", "")}`
      yield* Effect.acquireRelease(sql.unsafe(`CREATE ROLE ${name} ${attributes} PASSWORD '${PASSWORD}'`), () =>
        Effect.orDie(sql.unsafe(`DROP ROLE ${name}`))
      )
      return name
    })
  const urlOf = (username: string, change: (its: URL) => void = () => {}, password = PASSWORD) => {
    const its = server()
    its.username = username
    its.password = password
    change(its)
    return its.href
  }
  const assertSaid = (error: Failure, tag: Failure["_tag"], ...parts: ReadonlyArray<string>) => {
    assert.strictEqual(error._tag, tag, error.message)
    for (const part of parts) assert.include(error.message, part)
  }

  it.live("a wrong password, also one that is passed separately", () =>
    Effect.gen(function* () {
      const [schema, { username }] = [yield* newSchema, server()]
      assertSaid(
        yield* failureOf({ url: urlOf(username), schema }),
        "RecorderFailure",
        "the password is wrong",
        username
      )
      assertSaid(
        yield* failureOf({ url: url(), password: Redacted.make(PASSWORD), schema }),
        "RecorderFailure",
        "the password is wrong"
      )
    })
  )

  it.live("a database or a role that does not exist, a role that may not log in", () =>
    Effect.gen(function* () {
      const role = yield* newRole()
      const missing = yield* failureOf({ url: urlOf(role, (its) => (its.pathname = "/no_such_database")) })
      assertSaid(missing, "RecorderFailure", "there is no such database", '"no_such_database"')
      const unknown = yield* failureOf({ url: urlOf("no_such_role") })
      assertSaid(unknown, "RecorderFailure", "no_such_role")
      // if a password is requested, the server gives the same response to a wrong one
      assert.match(unknown.message, /or there is no such role; the server does not say which|does not exist/)
      const nobody = yield* newRole("NOLOGIN")
      assertSaid(yield* failureOf({ url: urlOf(nobody) }), "RecorderFailure", "check the user", nobody)
    })
  )

  it.live("no right to create a schema, or tables in one", () =>
    Effect.gen(function* () {
      const role = yield* newRole()
      const schema = yield* newSchema
      const none = yield* failureOf({ url: urlOf(role), schema })
      assertSaid(none, "RecorderFailure", "the role lacks a right", "docs/postgres.md")
      const sql = yield* connect()
      yield* sql`CREATE SCHEMA ${sql(schema)}`
      assertSaid(yield* failureOf({ url: urlOf(role), schema }), "RecorderFailure", "the role lacks a right", schema)
    })
  )

  it.live("a port without a server, a host that does not exist: unavailable, after a few seconds", () =>
    Effect.gen(function* () {
      const free = yield* Effect.promise(
        () =>
          new Promise<number>((resolve) => {
            const one = Net.createServer().listen(0, "127.0.0.1", () => {
              const { port } = one.address() as Net.AddressInfo
              one.close(() => resolve(port))
            })
          })
      )
      const refused = yield* failureOf({ url: urlOf("me", (its) => (its.port = String(free))) })
      assertSaid(refused, "RecorderUnavailable", "ECONNREFUSED", String(free))
      const host = yield* failureOf({ url: urlOf("me", (its) => (its.hostname = "no-such-host.invalid")) })
      assert.include(["RecorderUnavailable", "RecorderFailure"], host._tag)
      assert.include(host.message, "no-such-host.invalid")
    })
  )

  it.live("TLS, demanded of a server that has none", () =>
    Effect.gen(function* () {
      const role = yield* newRole()
      for (const options of [
        { url: urlOf(role, (its) => its.searchParams.set("sslmode", "require")) },
        { url: urlOf(role), ssl: true }
      ]) {
        const error = yield* failureOf(options)
        assert.strictEqual(error._tag, "RecorderFailure")
        assert.match(error.message, /SSL|TLS/)
      }
    })
  )

  it.live("too many connections: unavailable, and available once there is room again", () =>
    Effect.gen(function* () {
      const own = yield* Effect.acquireRelease(
        Effect.promise(() => startServer({ max_connections: 5, superuser_reserved_connections: 0 })),
        ({ stop }) => Effect.promise(stop)
      )
      const error = yield* Effect.scoped(
        Effect.gen(function* () {
          const busy = yield* connect({ url: Redacted.make(own.url), maxConnections: 5 })
          for (let n = 0; n < 5; n++) yield* busy.reserve
          return yield* failureOf({ url: own.url })
        })
      )
      assertSaid(error, "RecorderUnavailable", "too many clients")
      yield* build(PostgresLayer({ url: own.url, maxConnections: 1 }))
    })
  )

  it.live("an invalid URL, without its text", () =>
    Effect.gen(function* () {
      for (const text of [
        "",
        PASSWORD,
        `mysql://me:${PASSWORD}@localhost/db`,
        `postgresql://me:${PASSWORD}@local host/db`,
        `postgres://me:${PASSWORD}@localhost:port/db`,
        `postgresql:me:${PASSWORD}@localhost/db`,
        `postgresql://me:${PASSWORD}@localhost/db?sslmode=perhaps`
      ]) {
        for (const given of [text, Redacted.make(text)]) {
          const error = yield* failureOf({ url: given })
          assert.strictEqual(error._tag, "RecorderFailure", text)
        }
      }
    })
  )

  it.live("the password is in no log either, neither if it is wrong nor if it becomes wrong", () =>
    Effect.gen(function* () {
      const role = yield* newRole("LOGIN SUPERUSER")
      const admin = yield* connect({ maxConnections: 1 })
      const logged: Array<string> = []
      const logger = Logger.make(({ cause, message }) => {
        logged.push(inspect({ message, cause }, { depth: 20 }))
      })
      const states: Array<Recorder.FollowState> = []
      yield* Effect.gen(function* () {
        const schema = yield* newSchema
        const services = yield* build(PostgresLayer({ url: urlOf(role), schema, pollInterval: "20 millis" }))
        const recorder = Context.get(services, Recorder.Recorder)
        const onState = (state: Recorder.FollowState) => Effect.asVoid(Effect.sync(() => states.push(state)))
        yield* Effect.forkScoped(Stream.runDrain(recorder.follow({ onState })))
        yield* eventually(
          "it is live",
          Effect.sync(() => states.at(-1)?._tag === "Live")
        )
        yield* admin.unsafe(`ALTER ROLE ${role} PASSWORD 'another'`)
        yield* admin`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ${role}`
        yield* Effect.exit(build(PostgresLayer({ url: urlOf(role), schema })))
        yield* eventually(
          "it waits",
          Effect.sync(() => states.at(-1)?._tag === "Retrying")
        )
      }).pipe(
        Effect.scoped,
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "All")
      )
      const last = states.at(-1)
      const error = last?._tag === "Retrying" ? last.error : undefined
      assert.include(error?.message, "the password is wrong")
      const told = logged.join("\n")
      assert.include(told, "followers are not notified of appends for now")
      assert.notInclude(told, PASSWORD)
      assert.notInclude(inspect(states, { depth: 20 }), PASSWORD)
    })
  )

  it.live("invalid options", () =>
    Effect.gen(function* () {
      for (const lockTimeout of [0, -1, Number.NaN, "0.5 millis", "25 days"] as const) {
        assertSaid(yield* failureOf({ url: url(), lockTimeout }), "RecorderFailure", "lockTimeout")
      }
    })
  )

  it.live("a client of the program's own: errors of its pool are reported in the same way", () =>
    Effect.gen(function* () {
      const client = PgClient.layer({ url: Redacted.make(urlOf(server().username)) })
      const exit = yield* Effect.exit(build(Layer.provide(PostgresLayer.fromClient(), client)))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "password authentication failed")
      assert.notInclude(String(exit), PASSWORD)
    })
  )
})
