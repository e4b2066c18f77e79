/** Options of a SQLite file and their variables: an invalid one fails when the layer is built, and is named. */
import { execFile } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import type { Layer } from "effect"
import { ConfigProvider, Effect, Fiber, Layer as Layers, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Projection, Recorder, Repository, ViewStore } from "effect-eventsourcing"
import { layerSqlClient, SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { Dog } from "../support/dog.ts"
import * as Protocol from "../support/remoteCalls.ts"
import { append } from "./support/appends.ts"
import type { commands as ShellCommands } from "./support/sqlShell.ts"
import * as Temporary from "./support/temporaryFile.ts"

const fromEnvironment = (env: Record<string, string>) =>
  Layers.provide(SqliteLayer.config(), ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))

const inlineCounts = Projection.make("dogs", {
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

const head = Recorder.Recorder.use((recorder) => recorder.head)

/** How long a log waits for a lock that another process holds, in milliseconds; at most 10 seconds. */
const waits = Effect.fnUntraced(function* <E>(filename: string, layer: Layer.Layer<Recorder.Recorder, E>) {
  const other = yield* Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)
  return yield* Effect.gen(function* () {
    const recorder = yield* Recorder.Recorder
    yield* other.call("exec", "BEGIN IMMEDIATE")
    const waiting = yield* Effect.forkChild(Effect.flip(recorder.append(append("Test-one"))))
    yield* TestClock.adjust("10 seconds")
    if (waiting.pollUnsafe() === undefined) return "for longer"
    const error = yield* Fiber.join(waiting)
    return error._tag === "RecorderUnavailable" ? error.waited : error
  }).pipe(Effect.provide(layer))
})

/** The standard error of a program that is run with that environment alone. */
const errorsOf = (code: string, env: Readonly<Record<string, string>> = {}, ...flags: ReadonlyArray<string>) =>
  Effect.promise<string>(
    () =>
      new Promise((resolve) =>
        execFile(
          process.execPath,
          ["--conditions=effect-eventsourcing-source", ...flags, "--input-type=module", "--eval", code],
          { env },
          (_error, _stdout, stderr) => resolve(stderr)
        )
      )
  )

describe("SqliteLayer", () => {
  it.live("names the Node version that is needed if node:sqlite is missing", () =>
    Effect.gen(function* () {
      const stderr = yield* errorsOf(
        `import { Effect } from "effect"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
Effect.runPromise(Effect.void.pipe(Effect.provide(SqliteLayer({ filename: ":memory:" }))))`,
        {},
        "--no-experimental-sqlite"
      )
      assert.include(stderr, "RecorderFailure")
      assert.match(stderr, /node:sqlite is missing in this runtime, which reports Node v.*; use Node 22\.19 or later/)
    })
  )
})

describe("SqliteLayer.config", () => {
  const durations: ReadonlyArray<readonly [value: string, waited: number | string]> = [
    ["5", 5000],
    ["0.5", 500],
    ["7 seconds", 7000],
    ["250 millis", 250],
    // like on the other backends
    ["0", "for longer"]
  ]
  for (const [value, waited] of durations) {
    it.effect(`SQLITE_LOCK_TIMEOUT=${value}`, () =>
      Effect.gen(function* () {
        const filename = yield* Temporary.file
        const layer = fromEnvironment({ SQLITE_FILENAME: filename, SQLITE_LOCK_TIMEOUT: value })
        assert.strictEqual(yield* waits(filename, layer), waited)
      })
    )
  }

  it.effect("without it, 5 seconds", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      assert.strictEqual(yield* waits(filename, fromEnvironment({ SQLITE_FILENAME: filename })), 5000)
    })
  )

  it.effect("SQLITE_POLL_INTERVAL: a plain number is seconds", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      yield* Effect.gen(function* () {
        const recorder = yield* Recorder.Recorder
        const following = yield* Effect.forkChild(
          recorder.follow({}).pipe(
            Stream.filter(({ notifications }) => notifications.length > 0),
            Stream.take(1),
            Stream.runDrain
          )
        )
        yield* TestClock.adjust(1)
        const other = yield* Protocol.connect<typeof ShellCommands>("sqlite/support/sqlShell.ts", filename)
        yield* other.call(
          "exec",
          "INSERT INTO stored_events VALUES (1, 'Test-one', 0, 'id', 'Test', 1, 'json', '{}', '{}', 0)"
        )
        yield* TestClock.adjust(1990)
        assert.isUndefined(following.pollUnsafe())
        yield* TestClock.adjust(20)
        yield* Fiber.join(following)
      }).pipe(Effect.provide(fromEnvironment({ SQLITE_FILENAME: filename, SQLITE_POLL_INTERVAL: "2" })))
    })
  )

  it.effect("an invalid value fails, and is named", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      for (const [variable, value] of [
        ["SQLITE_SYNCHRONOUS", "off"],
        ["SQLITE_LOCK_TIMEOUT", "soon"],
        ["SQLITE_POLL_INTERVAL", "soon"],
        ["SQLITE_FILENAME", undefined]
      ] as const) {
        const { [variable]: _, ...others } = { SQLITE_FILENAME: filename } as Record<string, string>
        const env = value === undefined ? others : { ...others, SQLITE_FILENAME: filename, [variable]: value }
        const error = yield* Effect.flip(Effect.provide(head, fromEnvironment(env)))
        assert.strictEqual(error._tag, "ConfigError", variable)
        assert.include(String(error), variable)
      }
    })
  )

  it.live("a missing variable is named in an unhandled rejection", () =>
    Effect.gen(function* () {
      const rejected = (layer: string) =>
        errorsOf(
          `import { Effect } from "effect"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
Effect.runPromise(Effect.void.pipe(Effect.provide(${layer})))`,
          { POSTGRES_PORT: "none" }
        )
      for (const [layer, variable] of [
        ["SqliteLayer", "SQLITE_FILENAME"],
        ["SqliteViews", "SQLITE_FILENAME"],
        ["KurrentLayer", "KURRENTDB_URI"],
        ["PostgresLayer", "POSTGRES_PORT"],
        ["PostgresViews", "POSTGRES_PORT"]
      ] as const) {
        const stderr = yield* rejected(`${layer}.config()`)
        assert.include(stderr, "ConfigError: a configuration variable is missing or invalid:")
        assert.include(stderr, variable)
        assert.notInclude(stderr, "[object Object]")
      }
    })
  )

  it.effect("variables that are not set have their defaults", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const defaults = { filename, lockTimeout: "3 seconds" } as const
      const set = (env: Record<string, string>) =>
        Layers.provide(SqliteLayer.config(defaults), ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))
      assert.strictEqual(yield* waits(filename, set({})), 3000)
      const other = yield* Temporary.file
      assert.strictEqual(yield* waits(other, set({ SQLITE_FILENAME: other, SQLITE_LOCK_TIMEOUT: "1" })), 1000)
    })
  )

  it.live("the defaults may be any option of the layer, inline too", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const layer = Layers.provide(
        Layers.merge(SqliteLayer.config({ inline: [inlineCounts] }), SqliteViews.config()),
        ConfigProvider.layer(ConfigProvider.fromEnvRecord({ SQLITE_FILENAME: filename }))
      )
      yield* Effect.gen(function* () {
        const dogs = yield* Repository.of(Dog)
        yield* dogs.execute(Dog.id("Fido"), Dog.Registered({ name: "Fido" }))
        const names = yield* Projection.read(inlineCounts, ({ sql, table }) => sql`SELECT name FROM ${table("dogs")}`)
        assert.lengthOf(names, 1)
      }).pipe(Effect.provide(layer))
    })
  )

  it.effect("SqliteViews.config opens the file of the log in the same way", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const env = { SQLITE_FILENAME: filename, SQLITE_SYNCHRONOUS: "normal", SQLITE_LOCK_TIMEOUT: "1" }
      const layer = Layers.provide(
        Layers.merge(SqliteViews.config(), SqliteLayer.config()),
        ConfigProvider.layer(ConfigProvider.fromEnvRecord(env))
      )
      yield* Effect.provide(Effect.andThen(ViewStore.SqlViewStore, head), layer)
    })
  )
})

describe("durations that make no sense", () => {
  // the types allow only some of these; a program in JavaScript gets the error, too
  const wrong: ReadonlyArray<unknown> = [0, -5, 0.5, Number.NaN, 2 ** 31, "0 seconds", "soon", {}]

  it.effect("pollInterval", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      for (const pollInterval of [...wrong, Number.POSITIVE_INFINITY, "Infinity"]) {
        const options = Object.assign({ filename }, { pollInterval })
        const error = yield* Effect.flip(Effect.provide(head, SqliteLayer(options as { readonly filename: string })))
        assert.strictEqual(error._tag, "RecorderFailure", String(pollInterval))
        assert.match(error.message, /the option pollInterval must be a duration of 1 ms to 24 days/)
      }
    })
  )

  it.effect("lockTimeout", () =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      for (const lockTimeout of wrong) {
        const options = Object.assign({ filename }, { lockTimeout })
        for (const layer of [
          SqliteLayer(options as { readonly filename: string }),
          SqliteViews(options as { readonly filename: string }),
          layerSqlClient(options as { readonly filename: string }),
          SqliteLayer({ ...(options as { readonly filename: string }), filename: ":memory:" })
        ]) {
          const error = yield* Effect.flip(
            Effect.scoped(
              Layers.build(layer as Layer.Layer<unknown, { readonly _tag: string; readonly message: string }>)
            )
          )
          assert.strictEqual(error._tag, "RecorderFailure", String(lockTimeout))
          assert.match(error.message, /the option lockTimeout must be a duration of 1 ms to 24 days, or Infinity/)
        }
      }
    })
  )
})
