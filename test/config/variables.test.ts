/** Which variables are read, and the errors for variables that have no effect. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Context, Effect, Layer } from "effect"
import { Mapper } from "effect-eventsourcing"
import type { BackendName } from "effect-eventsourcing/config"
import { ConfigLayer, ConfigViews } from "effect-eventsourcing/config"
import { withPrefix } from "../../src/config/provider.ts"
import * as Variables from "../../src/config/variables.ts"
import type { Environment } from "./support/environment.ts"
import { problemOf, withEnvironment } from "./support/environment.ts"

/** Whether a log in memory can be built in an environment. */
const memory = (env: Environment, application?: string) =>
  Effect.scoped(Layer.build(withEnvironment(ConfigLayer({ persistence: "memory", application }), env)))

const problem = (env: Environment, application?: string) =>
  problemOf(ConfigLayer({ persistence: "memory", application }), env)

/** A backend whose layer is not built: errors are found before that. */
const problemOn = (persistence: BackendName, env: Environment, application?: string) =>
  problemOf(ConfigLayer({ persistence, application }), env)

describe("the backend", () => {
  it.effect("has to be named", () =>
    Effect.gen(function* () {
      const all = "memory, sqlite, postgres or kurrent"
      assert.strictEqual(yield* problemOf(ConfigLayer(), {}), `ConfigError: PERSISTENCE is not set; set it to ${all}`)
      assert.strictEqual(
        yield* problemOf(ConfigLayer(), { PERSISTENCE: "mysql" }),
        `ConfigError: PERSISTENCE must be ${all}, got "mysql"`
      )
      assert.strictEqual(
        yield* problemOf(ConfigLayer(), { PERSISTENCE: "PostgreSQL" }),
        `ConfigError: PERSISTENCE must be ${all}, got "PostgreSQL"; use postgres`
      )
      assert.strictEqual(
        yield* problemOf(ConfigLayer({ application: "orders" }), { PERSISTENCE: "" }),
        `ConfigError: PERSISTENCE is not set; set it to ${all} (each variable is read with the prefix ORDERS_ first)`
      )
      assert.strictEqual(
        yield* problemOf(ConfigViews(), { VIEWS_PERSISTENCE: "redis" }),
        `ConfigError: VIEWS_PERSISTENCE must be ${all}, got "redis"`
      )
    })
  )

  it.effect("its own variables are named, too", () =>
    Effect.gen(function* () {
      const missing = yield* problemOf(ConfigLayer({ application: "orders" }), { PERSISTENCE: "sqlite" })
      assert.include(missing, "SQLITE_FILENAME")
      assert.include(missing, "(each variable is read with the prefix ORDERS_ first)")
    })
  )
})

describe("the name of an application", () => {
  it.effect("in capitals is the prefix", () =>
    Effect.gen(function* () {
      yield* memory({ ORDERS_PERSISTENCE: "memory", PERSISTENCE: "none" }, "orders")
      yield* memory({ THE_ORDERS_2_PERSISTENCE: "memory", PERSISTENCE: "none" }, "the-orders_2")
      // an empty text counts as not set
      yield* memory({ ORDERS_PERSISTENCE: "", PERSISTENCE: "memory" }, "orders")
    })
  )

  it("has to be one", () => {
    for (const application of ["", "2", "or ders", "ördner"]) {
      assert.throws(() => ConfigLayer({ application }), /the name of an application must begin with a letter/)
    }
  })

  const read = (env: Environment, name: string) =>
    Effect.map(withPrefix(ConfigProvider.fromEnvRecord(env), "ORDERS_").load([name]), (node) => node?.value)

  it.effect("its URL is not changed by the parts of another server", () =>
    Effect.gen(function* () {
      const parts = {
        POSTGRES_HOST: "h",
        POSTGRES_PORT: "1",
        POSTGRES_DBNAME: "d",
        POSTGRES_USER: "u",
        POSTGRES_PASSWORD: "p"
      }
      for (const name of Object.keys(parts)) {
        assert.isUndefined(yield* read({ ...parts, ORDERS_POSTGRES_URL: "url" }, name))
        assert.isDefined(yield* read({ ...parts, POSTGRES_URL: "url" }, name))
        // the parts of the application itself do
        assert.strictEqual(
          yield* read({ ...parts, ORDERS_POSTGRES_URL: "url", [`ORDERS_${name}`]: "own" }, name),
          "own"
        )
      }
      const kurrent = { KURRENTDB_USERNAME: "u", KURRENTDB_PASSWORD: "p", KURRENTDB_URI: "other" }
      for (const name of Object.keys(kurrent)) {
        assert.isUndefined(yield* read({ ...kurrent, ORDERS_EVENTSTOREDB_URI: "own" }, name))
      }
    })
  )

  it.effect("is not the prefix of variables that are not the library's", () =>
    Effect.gen(function* () {
      assert.isUndefined(yield* read({ ORDERS_PORT: "1" }, "PORT"))
      assert.strictEqual(yield* read({ ORDERS_PORT: "1", PORT: "2" }, "PORT"), "2")
    })
  )
})

describe("a variable that is misspelt", () => {
  for (const [backend, misspelt, meant] of [
    ["memory", "PERSISTANCE", "PERSISTENCE"],
    ["memory", "COMPRESOR", "COMPRESSOR"],
    ["memory", "CIPHER_KEY5", "CIPHER_KEYS"],
    ["sqlite", "SQLITE_FILE_NAME", "SQLITE_FILENAME"],
    ["sqlite", "SQLLITE_SYNCHRONOUS", "SQLITE_SYNCHRONOUS"],
    ["postgres", "POSTGRES_URI", "POSTGRES_URL"],
    ["postgres", "POSTGRES_SHEMA", "POSTGRES_SCHEMA"],
    ["kurrent", "KURRENTDB_URL", "KURRENTDB_URI"]
  ] as const) {
    it.effect(misspelt, () =>
      Effect.gen(function* () {
        assert.strictEqual(
          yield* problemOn(backend, { [misspelt]: "x" }),
          `ConfigError: ${misspelt} is not a setting; use ${meant}`
        )
        assert.include(
          yield* problemOn(backend, { [`ORDERS_${misspelt}`]: "x" }, "orders"),
          `ORDERS_${misspelt} is not a setting; use ORDERS_${meant}`
        )
        // also in a provider that is not a tree
        const flat = Layer.provide(
          ConfigLayer({ persistence: backend }),
          ConfigProvider.layer(ConfigProvider.fromUnknown({ [misspelt]: "x" }))
        )
        assert.include(yield* problemOf(flat, {}), `${misspelt} is not a setting; use ${meant}`)
      })
    )
  }

  it.effect("may be another program's, if the right one is set", () => memory({ COMPRESSOR: "zstd", COMPRESOR: "x" }))

  it.effect("does not matter if it is of a backend that is not used", () =>
    memory({ POSTGRES_URI: "x", ORDERS_SQLITE_FILE: "x", KURRENTDB_URL: "x" }, "orders")
  )

  it.effect("is not what other programs read", () =>
    Effect.gen(function* () {
      const env = {
        POSTGRES_DB: "of the server's image",
        POSTGRES_INITDB_ARGS: "x",
        KURRENTDB_INSECURE: "true",
        KURRENTDB_CLUSTER_SIZE: "1",
        CACHE_DIR: "x",
        PATH: "x",
        HOME: "x"
      }
      for (const backend of ["sqlite", "postgres", "kurrent"] as const) {
        // it gets as far as reading its own variables
        const others = yield* problemOn(backend, { ...env, SQLITE_FILENAME: "/", POSTGRES_PORT: "x" })
        assert.notInclude(others, "is not a setting")
      }
    })
  )

  it.effect("with an application's prefix it has to be one of the backend's", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* problemOn("sqlite", { ORDERS_SQLITE_POOL: "1" }, "orders"),
        "ConfigError: ORDERS_SQLITE_POOL is not a setting; use one of ORDERS_SQLITE_FILENAME, ORDERS_SQLITE_VIEWS_FILENAME, ORDERS_SQLITE_SYNCHRONOUS, ORDERS_SQLITE_LOCK_TIMEOUT, ORDERS_SQLITE_POLL_INTERVAL (each variable is read with the prefix ORDERS_ first)"
      )
    })
  )

  it.effect("several are reported at once", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* problem({ COMPRESOR: "zstd", CIPHER_KEY: "x" }),
        `ConfigError: CIPHER_KEY is a setting of another library and has no effect here; ${Variables.foreign.log.CIPHER_KEY}\nCOMPRESOR is not a setting; use COMPRESSOR`
      )
    })
  )
})

describe("a setting of the Python library", () => {
  for (const [area, settings] of Object.entries(Variables.foreign)) {
    const backend = area === "log" ? "memory" : (area as BackendName)
    for (const [name, advice] of Object.entries(settings)) {
      it.effect(name, () =>
        Effect.gen(function* () {
          const says = (variable: string) =>
            `ConfigError: ${variable} is a setting of another library and has no effect here; ${advice}`
          assert.strictEqual(yield* problemOn(backend, { [name]: "x" }), says(name))
          assert.include(yield* problemOn(backend, { [`ORDERS_${name}`]: "x" }, "orders"), says(`ORDERS_${name}`))
          if (area !== "log") yield* memory({ [name]: "x" })
        })
      )
    }
  }

  it("that is known is no setting here", () => {
    for (const name of Object.values(Variables.foreign).flatMap(Object.keys)) assert.isFalse(Variables.all.has(name))
  })
})

describe("contradictions", () => {
  it.effect("two names of one setting", () =>
    Effect.gen(function* () {
      const differ = { KURRENTDB_URI: "kurrentdb://a", EVENTSTOREDB_URI: "kurrentdb://b" }
      assert.strictEqual(
        yield* problemOn("kurrent", differ),
        "ConfigError: KURRENTDB_URI and its older name EVENTSTOREDB_URI are both set, and differ; remove EVENTSTOREDB_URI"
      )
      const certificates = { KURRENTDB_ROOT_CERTIFICATES: "a", EVENTSTOREDB_ROOT_CERTIFICATES: "b" }
      assert.include(yield* problemOn("kurrent", certificates), "KURRENTDB_ROOT_CERTIFICATES and its older name")
    })
  )

  it.effect("a mapper in code, and variables for another one", () =>
    Effect.gen(function* () {
      const layer = ConfigLayer({ persistence: "memory", mapper: Mapper.layerJson })
      for (const name of ["COMPRESSOR", "CIPHER_KEYS", "CIPHER_ENCRYPT_WITH", "CIPHER_PLAINTEXT"]) {
        assert.strictEqual(
          yield* problemOf(layer, { [name]: "x" }),
          `ConfigError: ${name} is set, but this program chooses its mapper in code (the option mapper); remove ${name}`
        )
      }
      yield* Layer.build(withEnvironment(layer, {}))
    }).pipe(Effect.scoped)
  )
})

it.effect("the configuration that an own layer reads is not changed", () =>
  Effect.gen(function* () {
    const mapper = Layer.effect(
      Mapper.Mapper,
      Effect.gen(function* () {
        const provider = yield* ConfigProvider.ConfigProvider
        assert.strictEqual((yield* provider.load(["PORT"]))?.value, "2")
        return Context.get(yield* Layer.build(Mapper.layerJson), Mapper.Mapper)
      })
    )
    const layer = ConfigLayer({ application: "orders", persistence: "memory", mapper })
    yield* Layer.build(withEnvironment(layer, { ORDERS_PORT: "1", PORT: "2" }))
  }).pipe(Effect.scoped)
)
