import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted } from "effect"
import { KeyService, StreamName } from "effect-eventsourcing"

const subject: KeyService.Subject = { stream: StreamName.StreamName.make("Dog-rex"), type: "Dog.Registered" }

const keyOf = (bytes: number) => Redacted.make(new Uint8Array(bytes).fill(7), { label: "key" })

const build = (...keys: [KeyService.IdentifiedKey, ...Array<KeyService.IdentifiedKey>]) =>
  Effect.map(Layer.build(KeyService.layer(keys)), (context) => context.mapUnsafe)

const using = <A, E>(
  keys: readonly [KeyService.IdentifiedKey, ...ReadonlyArray<KeyService.IdentifiedKey>],
  f: (service: KeyService.KeyService["Service"]) => Effect.Effect<A, E>
) => KeyService.KeyService.use(f).pipe(Effect.provide(KeyService.layer(keys)))

describe("KeyService.randomKey", () => {
  it.effect.each([16, 24, 32] as const)("creates a key of %i bytes, a different one each time", (bytes) =>
    Effect.gen(function* () {
      const [one, other] = yield* Effect.all([KeyService.randomKey(bytes), KeyService.randomKey(bytes)])
      assert.strictEqual(Redacted.value(one).length, bytes)
      assert.notDeepEqual(Redacted.value(one), Redacted.value(other))
    })
  )
})

describe("a key as base64", () => {
  it.effect.each([16, 24, 32] as const)("decodes to the same key (%i bytes)", (bytes) =>
    Effect.gen(function* () {
      const key = yield* KeyService.randomKey(bytes)
      const text = KeyService.keyToBase64(key)
      assert.deepStrictEqual(Redacted.value(yield* KeyService.keyFromBase64(text)), Redacted.value(key))
    })
  )

  it.effect("reads the output of openssl rand -base64 32, with its line end", () =>
    Effect.gen(function* () {
      const text = Redacted.make("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
      const key = yield* KeyService.keyFromBase64(text)
      assert.deepStrictEqual(
        [...Redacted.value(key)],
        Array.from({ length: 32 }, (_, i) => i)
      )
    })
  )

  it.effect.each(["", "c2hvcnQ=", Buffer.alloc(17).toString("base64"), Buffer.alloc(64).toString("base64")])(
    "is refused if it is not a key: %j",
    (text) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(KeyService.keyFromBase64(Redacted.make(text)))
        assert.strictEqual(error._tag, "KeyServiceError")
        assert.match(error.message, /16, 24 or 32 bytes, got \d+$/)
        if (text !== "") assert.notInclude(inspect(error, { depth: 9 }), text)
      })
  )
})

describe("KeyService.layer", () => {
  it.effect("encrypts with the last key and decrypts with all", () =>
    using(
      [
        { id: "a", key: keyOf(16) },
        { id: "b", key: keyOf(32) }
      ],
      (service) =>
        Effect.gen(function* () {
          assert.strictEqual((yield* service.encryptionKey(subject)).id, "b")
          assert.strictEqual(Redacted.value((yield* service.decryptionKey("a")) ?? keyOf(0)).length, 16)
          assert.strictEqual(Redacted.value((yield* service.decryptionKey("b")) ?? keyOf(0)).length, 32)
          assert.strictEqual(yield* service.decryptionKey("c"), undefined)
        })
    )
  )

  it.effect.each([0, 1, 15, 17, 31, 33, 64])("refuses a key of %i bytes when it is built", (bytes) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(build({ id: "good", key: keyOf(32) }, { id: "bad", key: keyOf(bytes) }))
      assert.strictEqual(error._tag, "KeyServiceError")
      assert.strictEqual(error.message, `key "bad": an AES key must have 16, 24 or 32 bytes, got ${bytes}`)
    })
  )

  it.effect.each(["", "a\0b", "\ud800"])("refuses the id %j, which could not be recorded as text", (id) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(build({ id: "good", key: keyOf(32) }, { id, key: keyOf(32) }))
      assert.include(error.message, "a key's id must be well-formed Unicode text")
    })
  )

  it.effect("refuses the same id twice", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(build({ id: "a", key: keyOf(32) }, { id: "a", key: keyOf(16) }))
      assert.include(error.message, "same id")
    })
  )

  it.effect("encrypts with the named key, so that a new one can first be deployed for reading", () =>
    Effect.gen(function* () {
      const keys = [
        { id: "old", key: keyOf(32) },
        { id: "new", key: keyOf(16) }
      ] as const
      for (const encryptWith of ["old", "new"]) {
        const service = Context.get(yield* Layer.build(KeyService.layer(keys, { encryptWith })), KeyService.KeyService)
        assert.strictEqual((yield* service.encryptionKey(subject)).id, encryptWith)
        for (const { id } of keys) assert.isDefined(yield* service.decryptionKey(id))
      }
      const error = yield* Effect.flip(Layer.build(KeyService.layer(keys, { encryptWith: "newer" })))
      assert.strictEqual(error.message, 'encryptWith must be the id of one of the keys "old", "new", got "newer"')
    })
  )
})
