/** Compressor and cipher from the configuration, and the errors for keys that can't be used. */
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import { KeyService, Mapper, Repository, StreamName } from "effect-eventsourcing"
import type { MapperOptions } from "effect-eventsourcing/config"
import { ConfigLayer, ConfigMapper } from "effect-eventsourcing/config"
import { Dog } from "../support/dog.ts"
import type { Environment } from "./support/environment.ts"
import { problemOf, withEnvironment } from "./support/environment.ts"

const base64 = (byte: number, bytes = 32) => Buffer.alloc(bytes, byte).toString("base64")
const one = `one:${base64(1)}`
const two = `two:${base64(2)}`

const plain = {
  stream: StreamName.StreamName.make("Dog-1"),
  version: 0,
  type: "Registered",
  schemaVersion: 1,
  json: { name: "Rex".repeat(100) }
}

/** How a payload is encoded in an environment. */
const encode = (env: Environment, options: MapperOptions = {}) =>
  Effect.flatMap(Mapper.Mapper, ({ encode }) => encode([plain])).pipe(
    Effect.map(([encoded]) => encoded),
    Effect.provide(withEnvironment(ConfigMapper(options), env))
  )

const encoding = (env: Environment, options: MapperOptions = {}) =>
  Effect.map(encode(env, options), (encoded) => encoded?.encoding)

/** Reads in one environment what was encoded in another. */
const decode = (written: Environment, env: Environment) =>
  Effect.gen(function* () {
    const encoded = yield* encode(written)
    if (encoded === undefined) return undefined
    return yield* Effect.flatMap(Mapper.Mapper, ({ decode }) => decode([{ ...plain, ...encoded }])).pipe(
      Effect.provide(withEnvironment(ConfigMapper(), env))
    )
  })

describe("COMPRESSOR", () => {
  it.effect("chooses what is written", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* encoding({}), "json")
      assert.strictEqual(yield* encoding({ COMPRESSOR: "zstd" }), "json+zstd")
      assert.strictEqual(yield* encoding({ COMPRESSOR: "zlib" }), "json+zlib")
      assert.strictEqual(yield* encoding({}, { compressor: "zstd" }), "json+zstd")
      assert.strictEqual(yield* encoding({ COMPRESSOR: "none" }, { compressor: "zstd" }), "json")
      assert.strictEqual(
        yield* encoding({ A_COMPRESSOR: "zlib", COMPRESSOR: "zstd" }, { application: "a" }),
        "json+zlib"
      )
      assert.deepStrictEqual(yield* decode({ COMPRESSOR: "zlib" }, { COMPRESSOR: "zstd" }), [plain.json])
    })
  )

  it.effect("has to be one", () =>
    Effect.gen(function* () {
      assert.include(yield* problemOf(ConfigMapper(), { COMPRESSOR: "gzip" }), "COMPRESSOR")
    })
  )
})

describe("CIPHER_KEYS", () => {
  it.effect("encrypts with the last one, or with the one that CIPHER_ENCRYPT_WITH names", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* encoding({ CIPHER_KEYS: one }), "json+aes-gcm:one")
      assert.strictEqual(yield* encoding({ CIPHER_KEYS: `${one},${two}` }), "json+aes-gcm:two")
      assert.strictEqual(yield* encoding({ CIPHER_KEYS: ` ${one} \n${two},` }), "json+aes-gcm:two")
      assert.strictEqual(
        yield* encoding({ CIPHER_KEYS: `${one} ${two}`, CIPHER_ENCRYPT_WITH: "one", COMPRESSOR: "zstd" }),
        "json+zstd+aes-gcm:one"
      )
      // an id may contain colons
      assert.strictEqual(yield* encoding({ CIPHER_KEYS: `a:b:${base64(1, 16)}` }), "json+aes-gcm:a:b")
    })
  )

  it.effect("all of them decrypt", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode({ CIPHER_KEYS: one }, { CIPHER_KEYS: `${one} ${two}` }), [plain.json])
      const unknown = yield* Effect.flip(decode({ CIPHER_KEYS: one }, { CIPHER_KEYS: two }))
      assert.strictEqual(unknown._tag, "EventNotDecryptable")
    })
  )

  it.effect("CIPHER_PLAINTEXT decides about events that are not encrypted", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode({}, { CIPHER_KEYS: one }), [plain.json])
      const refused = yield* Effect.flip(decode({}, { CIPHER_KEYS: one, CIPHER_PLAINTEXT: "refuse" }))
      assert.strictEqual(refused._tag, "EventNotDecryptable")
    })
  )

  it.effect("have defaults in code, which they replace together with the id that encrypts", () =>
    Effect.gen(function* () {
      const key = yield* KeyService.randomKey(32)
      const encryption = {
        keys: [
          { id: "a", key },
          { id: "b", key }
        ],
        encryptWith: "a"
      } as const
      assert.strictEqual(yield* encoding({}, { encryption }), "json+aes-gcm:a")
      assert.strictEqual(yield* encoding({ CIPHER_ENCRYPT_WITH: "b" }, { encryption }), "json+aes-gcm:b")
      assert.strictEqual(yield* encoding({ CIPHER_KEYS: one }, { encryption }), "json+aes-gcm:one")
      // the key id shared by all applications does not apply to the keys of a single one
      const env = { CIPHER_KEYS: `${one} ${two}`, CIPHER_ENCRYPT_WITH: "one", APP_CIPHER_KEYS: `three:${base64(3)}` }
      assert.strictEqual(yield* encoding(env, { application: "app" }), "json+aes-gcm:three")
      assert.strictEqual(yield* encoding(env), "json+aes-gcm:one")
    })
  )

  const wrong: ReadonlyArray<readonly [keys: string, says: string]> = [
    [base64(1), "CIPHER_KEYS: key 1 of 1 is not of the form <id>:<base64>"],
    [`${one},:${base64(9)}`, "CIPHER_KEYS: key 2 of 2 is not of the form <id>:<base64>"],
    [
      `${one},three:${base64(9, 12)}`,
      `CIPHER_KEYS: key 2 of 2: the base64 text is not a key: an AES key must have 16, 24 or 32 bytes, got 12`
    ],
    [",", "CIPHER_KEYS has no key in it"],
    [`${one} ${one}`, "CIPHER_KEYS or CIPHER_ENCRYPT_WITH: two keys have the same id"]
  ]
  for (const [keys, says] of wrong) {
    it.effect(says, () =>
      Effect.gen(function* () {
        const problem = yield* problemOf(ConfigMapper(), { CIPHER_KEYS: keys })
        assert.strictEqual(problem, `ConfigError: ${says}`)
        for (const key of [base64(1), base64(9), base64(9, 12)]) assert.notInclude(problem, key)
      })
    )
  }

  it.effect("that are not base64 are not repeated in the error", () =>
    Effect.gen(function* () {
      const problem = yield* problemOf(ConfigMapper(), { CIPHER_KEYS: "one:secret!secret!" })
      assert.include(problem, "CIPHER_KEYS: key 1 of 1: ")
      assert.notInclude(problem, "secret")
    })
  )

  it.effect("that are written in place of their ids are not repeated either", () =>
    Effect.gen(function* () {
      const problem = yield* problemOf(ConfigMapper(), { CIPHER_KEYS: `${base64(1)}:one` })
      assert.include(problem, "CIPHER_KEYS: key 1 of 1: the base64 text is not a key")
      assert.notInclude(problem, base64(1))
    })
  )

  it.effect("an id of no key", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* problemOf(ConfigMapper(), { CIPHER_KEYS: one, CIPHER_ENCRYPT_WITH: "two" }),
        `ConfigError: CIPHER_KEYS or CIPHER_ENCRYPT_WITH: encryptWith must be the id of one of the keys "one", got "two"`
      )
    })
  )

  it.effect("missing, though something depends on them", () =>
    Effect.gen(function* () {
      for (const [name, value] of [
        ["CIPHER_ENCRYPT_WITH", "one"],
        ["CIPHER_PLAINTEXT", "refuse"]
      ] as const) {
        assert.strictEqual(
          yield* problemOf(ConfigMapper(), { [name]: value }),
          `ConfigError: ${name} is set, but there are no keys; set CIPHER_KEYS or remove ${name}`
        )
      }
      assert.strictEqual(
        yield* problemOf(ConfigMapper({ application: "app", encryption: { required: true } }), {}),
        "ConfigError: CIPHER_KEYS is not set, and this program requires encryption; set it to <id>:<base64 of 32 bytes> (each variable is read with the prefix APP_ first)"
      )
      yield* encoding({ CIPHER_KEYS: one }, { encryption: { required: true } })
    })
  )
})

it.effect("applications with keys of their own can't read each other's events", () =>
  Effect.gen(function* () {
    const env = { PERSISTENCE: "memory", A_CIPHER_KEYS: `id:${base64(1)}`, B_CIPHER_KEYS: `id:${base64(2)}` }
    const mapper = (application: string) => withEnvironment(ConfigMapper({ application }), env)
    const [encoded] = yield* Effect.provide(
      Mapper.Mapper.use(({ encode }) => encode([plain])),
      mapper("a")
    )
    assert.isDefined(encoded)
    const read = Mapper.Mapper.use(({ decode }) => decode([{ ...plain, ...encoded }]))
    assert.deepStrictEqual(yield* Effect.provide(read, mapper("a")), [plain.json])
    const error = yield* Effect.flip(Effect.provide(read, mapper("b")))
    assert.strictEqual(error._tag, "EventNotDecryptable")
  })
)

it.effect("ConfigLayer encodes that way", () =>
  Effect.gen(function* () {
    const dogs = yield* Repository.of(Dog)
    yield* dogs.execute(Dog.id("Rex"), Dog.Registered({ name: "Rex" }))
    const [encoded] = yield* Mapper.Mapper.use(({ encode }) => encode([plain]))
    assert.strictEqual(encoded?.encoding, "json+zstd+aes-gcm:one")
  }).pipe(
    Effect.provide(ConfigLayer({ compressor: "zstd" })),
    Effect.provide(ConfigProvider.layer(ConfigProvider.fromEnvRecord({ PERSISTENCE: "memory", CIPHER_KEYS: one })))
  )
)
