/** How the cipher requests keys from the key service. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { Cipher, Compressor, KeyService, Mapper, Transcoder } from "effect-eventsourcing"
import { makeLog, open } from "../support/memoryLog.ts"
import { id, Note, stored, texts, write } from "../support/note.ts"

type Service = KeyService.KeyService["Service"]

const keyOf = (id: string, bytes = 32): KeyService.IdentifiedKey => ({
  id,
  key: Redacted.make(new Uint8Array(Buffer.alloc(bytes, id)), { label: "key" })
})

/** Has one key, with the id "a". */
const working: Service = {
  encryptionKey: () => Effect.succeed(keyOf("a")),
  decryptionKey: (id) => Effect.succeed(id === "a" ? keyOf("a").key : undefined)
}

/** Records what is requested of it, and responds as another service does. */
const recording = (service: Service = working) => {
  const asked: Array<string> = []
  const noting: Service = {
    encryptionKey: (subject) =>
      Effect.suspend(() => {
        asked.push(`encrypt ${subject.stream} ${subject.type}`)
        return service.encryptionKey(subject)
      }),
    decryptionKey: (id) =>
      Effect.suspend(() => {
        asked.push(`decrypt ${id}`)
        return service.decryptionKey(id)
      })
  }
  return { asked, service: noting }
}

const options = (service: Service, cipher?: Parameters<typeof Cipher.layerAesGcm>[0]) => ({
  mapper: Mapper.layer.pipe(
    Layer.provide([
      Transcoder.layerJson,
      Compressor.layerNone,
      Layer.provide(Cipher.layerAesGcm(cipher), Layer.succeed(KeyService.KeyService, service))
    ])
  )
})

describe("the key service", () => {
  it.effect("is queried with the stream and type of an event, once for each, and once for each key's id", () =>
    Effect.gen(function* () {
      const { asked, service } = recording()
      const process = yield* open(yield* makeLog, options(service))
      const other = Note.Id.make("2")
      for (let i = 0; i < 5; i++) yield* write(process, `text ${i}`)
      yield* process.store.append(Note, other, { expected: "Any", events: [Note.Written({ text: "" })] })
      yield* write(process, "last text")
      yield* Effect.replicateEffect(texts(process), 5)
      assert.deepStrictEqual(asked, [
        "encrypt Note-1 Note.Written",
        "encrypt Note-1 Note.Rewritten",
        "encrypt Note-2 Note.Written",
        "decrypt a"
      ])
    })
  )

  it.effect("is queried again after a minute, so that a rotated key is noticed", () =>
    Effect.gen(function* () {
      let newest = "a"
      const { asked, service } = recording({
        encryptionKey: () => Effect.sync(() => keyOf(newest)),
        decryptionKey: (id) => Effect.succeed(keyOf(id).key)
      })
      const log = yield* makeLog
      const process = yield* open(log, options(service))
      yield* write(process, "one")
      yield* write(process, "two")
      newest = "b"
      yield* TestClock.adjust("59 seconds")
      yield* write(process, "three")
      yield* TestClock.adjust("1 second")
      yield* write(process, "four")
      const encodings = (yield* stored(log)).map(({ encoding }) => encoding)
      assert.deepStrictEqual(
        encodings,
        ["a", "a", "a", "b"].map((key) => `json+aes-gcm:${key}`)
      )
      assert.strictEqual(asked.length, 3)
      assert.deepStrictEqual(yield* texts(process), ["one", "two", "three", "four"])
    })
  )

  it.effect("is queried again after the configured time, also for a key that is gone", () =>
    Effect.gen(function* () {
      let shredded = false
      const log = yield* makeLog
      const service: Service = {
        ...working,
        decryptionKey: (id) => Effect.suspend(() => (shredded ? Effect.succeed(undefined) : working.decryptionKey(id)))
      }
      const process = yield* open(log, options(service, { cacheFor: "5 seconds" }))
      yield* write(process, "one")
      yield* texts(process)
      shredded = true
      assert.deepStrictEqual(yield* texts(process), ["one"])
      yield* TestClock.adjust("5 seconds")
      assert.deepInclude(yield* Effect.flip(texts(process)), { keyId: "a", reason: "UnknownKey" })
    })
  )

  it.effect("is queried again for keys that were evicted from a small cache", () =>
    Effect.gen(function* () {
      const { asked, service } = recording()
      const process = yield* open(yield* makeLog, options(service, { keysCached: 1 }))
      const sign = process.store.append(Note, id, { expected: "Any", events: [Note.Signed({ name: "Ada" })] })
      yield* write(process, "one")
      yield* write(process, "two")
      yield* write(process, "three")
      yield* sign
      yield* write(process, "four")
      assert.deepStrictEqual(
        asked.map((question) => question.split(".")[1]),
        ["Written", "Rewritten", "Signed", "Rewritten"]
      )
    })
  )

  it.effect("is queried once for many concurrent requests of the same key, and may be slow", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      const { asked, service } = recording({
        ...working,
        encryptionKey: (subject) => Effect.andThen(Deferred.await(answer), working.encryptionKey(subject))
      })
      const process = yield* open(yield* makeLog, options(service))
      const writes = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 20 }, () =>
            process.store.prepare(Note, id, "NoStream", [Note.Written({ text: "Ada" })])
          ),
          { concurrency: "unbounded" }
        ),
        { startImmediately: true }
      )
      yield* Deferred.succeed(answer, undefined)
      assert.strictEqual((yield* Fiber.join(writes)).length, 20)
      assert.deepStrictEqual(asked, ["encrypt Note-1 Note.Written"])
    })
  )

  it.effect("G10 serves the other waiters if the first is interrupted", () =>
    Effect.gen(function* () {
      const answer = yield* Deferred.make<void>()
      const { service } = recording({
        ...working,
        encryptionKey: (subject) => Effect.andThen(Deferred.await(answer), working.encryptionKey(subject))
      })
      const process = yield* open(yield* makeLog, options(service))
      const sign = process.store.append(Note, id, { expected: "NoStream", events: [Note.Written({ text: "Ada" })] })
      const first = yield* Effect.forkChild(sign, { startImmediately: true })
      const second = yield* Effect.forkChild(sign, { startImmediately: true })
      yield* Fiber.interrupt(first)
      yield* Deferred.succeed(answer, undefined)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(second)))
      assert.deepStrictEqual(yield* texts(process), ["Ada"])
    })
  )
})

describe("a key service that fails", () => {
  /** Fails the first time that a key of each kind is requested. */
  const failingOnce = (kind: keyof Service): Service => {
    let failures = 1
    const failOnce = Effect.suspend(() =>
      failures-- > 0 ? Effect.fail(new KeyService.KeyServiceError({ reason: "the vault is shut" })) : Effect.void
    )
    return kind === "encryptionKey"
      ? { ...working, encryptionKey: (subject) => Effect.andThen(failOnce, working.encryptionKey(subject)) }
      : { ...working, decryptionKey: (id) => Effect.andThen(failOnce, working.decryptionKey(id)) }
  }

  it.effect("fails an append with a typed error, records nothing, and is queried again by the next one", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const process = yield* open(log, options(failingOnce("encryptionKey")))
      const error = yield* Effect.flip(write(process, "one"))
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Note-1", version: 0, type: "Note.Written" })
      assert.include(String((error as { cause?: unknown }).cause), "the vault is shut")
      assert.deepStrictEqual(yield* stored(log), [])
      yield* write(process, "one")
      assert.deepStrictEqual(yield* texts(process), ["one"])
    })
  )

  it.effect("fails a read with a typed error that names the event, and is queried again by the next one", () =>
    Effect.gen(function* () {
      const process = yield* open(yield* makeLog, options(failingOnce("decryptionKey")))
      yield* write(process, "one")
      const error = yield* Effect.flip(texts(process))
      assert.deepInclude(error, {
        _tag: "EventNotDecryptable",
        stream: "Note-1",
        version: 0,
        type: "Note.Written",
        keyId: "a",
        reason: "KeyServiceFailed"
      })
      assert.include(String((error as { cause?: unknown }).cause), "the vault is shut")
      assert.deepStrictEqual(yield* texts(process), ["one"])
    })
  )

  it.effect.each([0, 15, 33])("fails with a typed error when its key has %i bytes", (bytes) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      yield* write(yield* open(log, options(working)), "one")
      const service: Service = {
        encryptionKey: () => Effect.succeed(keyOf("a", bytes)),
        decryptionKey: () => Effect.succeed(keyOf("a", bytes).key)
      }
      const process = yield* open(log, options(service))
      const unwritten = yield* Effect.flip(write(process, "two"))
      assert.strictEqual(unwritten._tag, "EventNotEncodable")
      assert.deepInclude(yield* Effect.flip(texts(process)), { keyId: "a", reason: "KeyServiceFailed" })
      assert.strictEqual((yield* stored(log)).length, 1)
    })
  )

  it.effect.each(["", "a\0b", "\ud800"])("fails with a typed error when its key's id is %j", (id) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const service = { ...working, encryptionKey: () => Effect.succeed({ ...keyOf("a"), id }) }
      const error = yield* Effect.flip(write(yield* open(log, options(service)), "one"))
      assert.strictEqual(error._tag, "EventNotEncodable")
      assert.deepStrictEqual(yield* stored(log), [])
    })
  )
})
