/** The backend that the configuration names, with its variables, and what it provides. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import type { Context } from "effect"
import { Effect, Layer } from "effect"
import {
  EventStore,
  MultiStreamAppend,
  ProjectionRunner,
  Recorder,
  Repository,
  SnapshotRecorder,
  StreamCatalog,
  TrackedAppend,
  TransactionalAppend
} from "effect-eventsourcing"
import { ConfigLayer, ConfigViews } from "effect-eventsourcing/config"
import { newPrefix, uri } from "../kurrent/support/server.ts"
import { newSchema, url } from "../postgres/support/database.ts"
import { newViewsSchema, temporaryDirectory } from "../support/backends.ts"
import { readSqlCounts, sqlCounts } from "../support/countsView.ts"
import { Counter, Dog, increase } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Environment } from "./support/environment.ts"
import { problemOf, withEnvironment } from "./support/environment.ts"

const rex = Dog.id("Rex")

/** Registers a dog, and counts its events. */
const register = Effect.gen(function* () {
  const dogs = yield* Repository.of(Dog)
  yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
  return yield* EventStore.EventStore.use((store) => store.head)
})

const has = (built: Context.Context<never>, { key }: { readonly key: string }) => built.mapUnsafe.has(key)

const newFile = Effect.map(temporaryDirectory, (directory) => Path.join(directory, "events.db"))

/** The environment of each backend, and the services that its recorders add to those of every backend. */
const backends = {
  memory: {
    env: Effect.succeed<Environment>({}),
    capabilities: [MultiStreamAppend.MultiStreamAppend, TrackedAppend.TrackedAppend, StreamCatalog.StreamCatalog]
  },
  sqlite: {
    env: Effect.map(newFile, (file): Environment => ({ SQLITE_FILENAME: file })),
    capabilities: [
      MultiStreamAppend.MultiStreamAppend,
      TrackedAppend.TrackedAppend,
      StreamCatalog.StreamCatalog,
      TransactionalAppend.TransactionalAppend
    ]
  },
  postgres: {
    env: Effect.map(newSchema, (schema): Environment => ({ POSTGRES_URL: url(), POSTGRES_SCHEMA: schema })),
    capabilities: [
      MultiStreamAppend.MultiStreamAppend,
      TrackedAppend.TrackedAppend,
      StreamCatalog.StreamCatalog,
      TransactionalAppend.TransactionalAppend
    ]
  },
  kurrent: {
    env: Effect.sync((): Environment => ({ KURRENTDB_URI: uri, KURRENTDB_PREFIX: newPrefix() })),
    capabilities: [MultiStreamAppend.MultiStreamAppend, TrackedAppend.TrackedAppend]
  }
} as const

describe("PERSISTENCE", () => {
  for (const [name, { env }] of Object.entries(backends)) {
    it.live(`${name}: the log is there`, () =>
      Effect.gen(function* () {
        const set = { PERSISTENCE: name, ...(yield* env) }
        const log = withEnvironment(ConfigLayer(), set)
        assert.isDefined(yield* Effect.provide(register, log))
        // the events are in the place that the variables name
        const again = yield* Effect.exit(Effect.provide(register, withEnvironment(ConfigLayer(), set)))
        assert.strictEqual(again._tag, name === "memory" ? "Success" : "Failure")
      })
    )

    it.live(`${name}: an application's own variables come first`, () =>
      Effect.gen(function* () {
        const own = Object.entries({ PERSISTENCE: name, ...(yield* env) }).map(([key, value]) => [
          `ORDERS_${key}`,
          value
        ])
        const others = {
          PERSISTENCE: "none",
          SQLITE_FILENAME: "/nowhere/at.all",
          POSTGRES_URL: "x",
          KURRENTDB_URI: "x"
        }
        const log = withEnvironment(ConfigLayer({ application: "orders" }), { ...others, ...Object.fromEntries(own) })
        assert.isDefined(yield* Effect.provide(register, log))
      })
    )
  }

  it.live("has a default in code, as everything else", () =>
    Effect.gen(function* () {
      const filename = yield* newFile
      const layer = ConfigLayer({ persistence: "sqlite", sqlite: { filename } })
      yield* Effect.provide(register, withEnvironment(layer, {}))
      assert.isTrue(Fs.existsSync(filename))
      // a variable overrides it
      const other = yield* newFile
      yield* Effect.provide(register, withEnvironment(layer, { SQLITE_FILENAME: other }))
      yield* Effect.provide(register, withEnvironment(layer, { PERSISTENCE: "memory" }))
    })
  )
})

describe("requires", () => {
  const all = [
    MultiStreamAppend.MultiStreamAppend,
    TrackedAppend.TrackedAppend,
    StreamCatalog.StreamCatalog,
    TransactionalAppend.TransactionalAppend
  ]
  for (const [name, { capabilities, env }] of Object.entries(backends)) {
    it.live(`${name} provides what it has, and is refused for what it lacks`, () =>
      Effect.gen(function* () {
        const set = { PERSISTENCE: name, ...(yield* env) }
        for (const one of all) {
          const layer = ConfigLayer({ requires: [one] })
          if ((capabilities as ReadonlyArray<unknown>).includes(one)) {
            const built = yield* Layer.build(withEnvironment(layer, set))
            assert.isTrue(has(built, one))
          } else {
            const [, service] = one.key.split("/")
            assert.include(
              yield* problemOf(layer, set),
              `ConfigError: PERSISTENCE is ${name}, which has no ${service}, and this program requires it; use `
            )
          }
        }
        const built = yield* Layer.build(withEnvironment(ConfigLayer(), set))
        for (const one of [Recorder.Recorder, SnapshotRecorder.SnapshotRecorder]) {
          assert.isTrue(has(built, one))
        }
      }).pipe(Effect.scoped)
    )
  }

  it.live("names the backends that are left", () =>
    Effect.gen(function* () {
      const layer = ConfigLayer({ requires: [TransactionalAppend.TransactionalAppend] })
      assert.match(yield* problemOf(layer, { PERSISTENCE: "kurrent" }), /use sqlite or postgres$/)
      assert.match(yield* problemOf(layer, {}), /PERSISTENCE is not set; set it to sqlite or postgres$/)
    })
  )
})

describe("the settings of every log", () => {
  it.live("SNAPSHOT_EVERY, also if there is another default", () =>
    Effect.gen(function* () {
      const one = Counter.Id.make("1")
      const versionOf = (env: Environment) =>
        Effect.scoped(
          Effect.gen(function* () {
            const filename = yield* newFile
            yield* Effect.gen(function* () {
              const counters = yield* Repository.of(Counter)
              yield* counters.execute(one, Counter.Started())
              for (let i = 0; i < 4; i++) yield* counters.execute(one, increase)
            }).pipe(
              Effect.provide(
                withEnvironment(ConfigLayer({ persistence: "sqlite", sqlite: { filename }, snapshotEvery: 2 }), env)
              )
            )
            // closing the layer waits until the snapshots are saved
            const database = new DatabaseSync(filename)
            const row = database.prepare("SELECT version FROM stored_snapshots").get()
            database.close()
            return row?.version
          })
        )
      assert.strictEqual(yield* versionOf({}), 3)
      assert.strictEqual(yield* versionOf({ SNAPSHOT_EVERY: "5" }), 4)
      assert.isUndefined(yield* versionOf({ SNAPSHOT_EVERY: "0" }))
    })
  )

  it.effect("CACHE_CAPACITY, PAGE_BYTES and TAIL_BYTES have to make sense", () =>
    Effect.gen(function* () {
      for (const [name, value, least] of [
        ["CACHE_CAPACITY", "-1", 0],
        ["SNAPSHOT_EVERY", "-1", 0],
        ["PAGE_BYTES", "0", 1],
        ["TAIL_BYTES", "-1", 0]
      ] as const) {
        const problem = yield* problemOf(ConfigLayer({ persistence: "memory" }), { [name]: value })
        assert.strictEqual(problem, `ConfigError: ${name} must be a whole number of at least ${least}, got ${value}`)
        const text = yield* problemOf(ConfigLayer({ persistence: "memory" }), { [name]: "many" })
        assert.include(text, "ConfigError: a configuration variable is missing or invalid:")
        assert.include(text, name)
      }
    })
  )
})

describe("ConfigViews", () => {
  const counted = Effect.gen(function* () {
    const dogs = yield* Repository.of(Dog)
    const { position } = yield* dogs.execute(rex, Dog.Registered({ name: "Rex" }))
    yield* untilProcessed(sqlCounts(), position)
    return yield* readSqlCounts
  }).pipe(Effect.provide(ProjectionRunner.layer(sqlCounts())))

  const places = {
    "memory, if the log is": Effect.succeed<Environment>({ PERSISTENCE: "memory" }),
    "the file of the log": Effect.map(backends.sqlite.env, (env): Environment => ({ PERSISTENCE: "sqlite", ...env })),
    "the database of the log": Effect.gen(function* () {
      const views = yield* newViewsSchema
      return { PERSISTENCE: "postgres", POSTGRES_VIEWS_SCHEMA: views, ...(yield* backends.postgres.env) }
    }),
    "where VIEWS_PERSISTENCE says": Effect.gen(function* () {
      const env = { ...(yield* backends.kurrent.env), ...(yield* backends.sqlite.env) }
      return { PERSISTENCE: "kurrent", VIEWS_PERSISTENCE: "sqlite", ...env }
    })
  }
  for (const [place, env] of Object.entries(places)) {
    it.live(place, () =>
      Effect.gen(function* () {
        const layer = withEnvironment(Layer.merge(ConfigLayer(), ConfigViews()), yield* env)
        assert.deepStrictEqual(yield* Effect.provide(counted, layer), { Registered: 1 })
      })
    )
  }

  it.effect("KurrentDB has no place for them", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* problemOf(ConfigViews(), { PERSISTENCE: "kurrent" }),
        "ConfigError: KurrentDB has no place for views; set VIEWS_PERSISTENCE to sqlite, postgres or memory"
      )
    })
  )
})
