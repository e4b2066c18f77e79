import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Layer, Redacted, Schema } from "effect"
import type { KeyService, StoredEvent } from "effect-eventsourcing"
import { Cipher, Compressor, Mapper, StreamName, Transcoder } from "effect-eventsourcing"
import type { Log } from "../support/memoryLog.ts"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"
import { id, Note, stored, texts, write } from "../support/note.ts"

const keyOf = (id: string, bytes: 16 | 24 | 32 = 32): KeyService.IdentifiedKey => ({
  id,
  key: Redacted.make(new Uint8Array(Buffer.alloc(bytes, `key ${id}`)), { label: "key" })
})

const encrypting = (...keys: [KeyService.IdentifiedKey, ...Array<KeyService.IdentifiedKey>]) =>
  Mapper.layer.pipe(Layer.provide([Transcoder.layerJson, Compressor.layerNone, Cipher.layerKeys(keys)]))

const layerKeys = (...keys: [KeyService.IdentifiedKey, ...Array<KeyService.IdentifiedKey>]) => ({
  mapper: encrypting(...keys)
})

/** The log, with other events in place of its own. */
const tampered = (log: Log, change: (event: StoredEvent.Notification) => StoredEvent.Notification): Log =>
  withRecorder(log, (recorder) => ({
    readStream: (read) => Effect.map(recorder.readStream(read), (page) => page.map(change))
  }))

const bytesOf = (event: StoredEvent.Notification | undefined): Uint8Array => {
  if (typeof event?.payload !== "object") return assert.fail("the payload is no bytes")
  return event.payload
}

const secret = "the combination is 12345"

describe("AES-GCM", () => {
  it.effect.each([16, 24, 32] as const)("encrypts and decrypts with a key of %i bytes", (bytes) =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const process = yield* open(log, layerKeys(keyOf("a", bytes)))
      yield* write(process, secret)
      assert.deepStrictEqual(yield* texts(process), [secret])
      const [event] = yield* stored(log)
      assert.strictEqual(event?.encoding, "json+aes-gcm:a")
      // nonce, tag and ciphertext, in which the plaintext must not be visible
      assert.strictEqual(bytesOf(event).length, 12 + 16 + JSON.stringify({ text: secret }).length)
      assert.notInclude(Buffer.from(bytesOf(event)).toString("latin1"), "combination")
    })
  )

  const place: Cipher.Place = {
    stream: StreamName.StreamName.make("Dog-rex"),
    version: 3,
    type: "Dog.Registered",
    schemaVersion: 2,
    encoding: "json+zstd"
  }
  const withCipher = <A, E>(f: (cipher: Cipher.Cipher["Service"]) => Effect.Effect<A, E>) =>
    Cipher.Cipher.use(f).pipe(Effect.provide(Cipher.layerKeys([keyOf("a"), keyOf("b")])))

  it.effect.prop(
    "returns any bytes unchanged",
    [Schema.Uint8Array],
    Effect.fnUntraced(function* ([bytes]) {
      const back = yield* withCipher((cipher) =>
        Effect.flatMap(cipher.encrypt(bytes, place), ({ ciphertext, keyId }) =>
          cipher.decrypt(ciphertext, keyId, place)
        )
      )
      assert.deepStrictEqual(new Uint8Array(back), bytes)
    })
  )

  it.effect("never uses a nonce twice", () =>
    withCipher((cipher) =>
      Effect.gen(function* () {
        const sealed = yield* Effect.replicateEffect(cipher.encrypt(new Uint8Array(8), place), 1000)
        const nonces = sealed.map(({ ciphertext }) => Buffer.from(ciphertext.subarray(0, 12)).toString("hex"))
        assert.strictEqual(new Set(nonces).size, 1000)
      })
    )
  )

  it.effect.each<[string, Partial<Cipher.Place>]>([
    ["stream", { stream: StreamName.StreamName.make("Dog-max") }],
    ["version", { version: 4 }],
    ["type", { type: "Dog.Renamed" }],
    ["schema version", { schemaVersion: 3 }],
    ["encoding", { encoding: "json" }]
  ])("G9 refuses a ciphertext at another %s", ([_what, other]) =>
    withCipher((cipher) =>
      Effect.gen(function* () {
        const { ciphertext, keyId } = yield* cipher.encrypt(Buffer.from(secret), place)
        const refused = yield* Effect.flip(cipher.decrypt(ciphertext, keyId, { ...place, ...other }))
        assert.strictEqual(refused.reason, "NotAuthentic")
      })
    )
  )

  it.effect("G9 refuses a ciphertext under another key's id", () =>
    withCipher((cipher) =>
      Effect.gen(function* () {
        const { ciphertext, keyId } = yield* cipher.encrypt(Buffer.from(secret), place)
        assert.strictEqual(keyId, "b")
        assert.strictEqual((yield* Effect.flip(cipher.decrypt(ciphertext, "a", place))).reason, "NotAuthentic")
        assert.strictEqual((yield* Effect.flip(cipher.decrypt(ciphertext, "c", place))).reason, "UnknownKey")
      })
    )
  )
})

describe("an encrypted event", () => {
  /** A log with two encrypted events; the tests change the second. */
  const encrypted = Effect.gen(function* () {
    const log = yield* makeLog
    const process = yield* open(log, layerKeys(keyOf("a")))
    yield* write(process, "first")
    yield* write(process, secret)
    const [, event] = yield* stored(log)
    return { log, event: event as StoredEvent.Notification }
  })

  /** Reads a log in which the second event was changed; returns the error. */
  const refusal = Effect.fnUntraced(function* (
    log: Log,
    change: Partial<StoredEvent.Notification>,
    keys: Parameters<typeof layerKeys> = [keyOf("a")]
  ) {
    const changed = tampered(log, (event) => (event.version === 1 ? { ...event, ...change } : event))
    return yield* Effect.flip(texts(yield* open(changed, layerKeys(...keys))))
  })

  const named = { _tag: "EventNotDecryptable", stream: "Note-1", version: 1, type: "Note.Rewritten" } as const

  it.effect("G9 is refused by name if any one of its bits is flipped", () =>
    Effect.gen(function* () {
      const { event, log } = yield* encrypted
      const payload = bytesOf(event)
      for (let i = 0; i < payload.length; i++) {
        for (let bit = 0; bit < 8; bit++) {
          const damaged = Uint8Array.from(payload)
          damaged[i] = (damaged[i] ?? 0) ^ (1 << bit)
          const error = yield* refusal(log, { payload: damaged })
          assert.deepInclude(error, { ...named, position: event.position, keyId: "a", reason: "NotAuthentic" })
        }
      }
    })
  )

  it.effect("G9 is refused by name if it is truncated anywhere, or extended", () =>
    Effect.gen(function* () {
      const { event, log } = yield* encrypted
      const payload = bytesOf(event)
      for (let length = 0; length < payload.length; length++) {
        const error = yield* refusal(log, { payload: payload.slice(0, length) })
        assert.deepInclude(error, { ...named, reason: "NotAuthentic" })
      }
      const longer = yield* refusal(log, { payload: Buffer.concat([payload, Buffer.of(0)]) })
      assert.deepInclude(longer, { ...named, reason: "NotAuthentic" })
    })
  )

  it.effect("G9 is refused by name in the place of another event", () =>
    Effect.gen(function* () {
      const { log } = yield* encrypted
      const [first] = yield* stored(log)
      const payload = bytesOf(first)
      assert.deepInclude(yield* refusal(log, { payload }), { ...named, reason: "NotAuthentic" })
      assert.deepInclude(yield* refusal(log, { payload, type: "Note.Written" }), {
        ...named,
        type: "Note.Written",
        reason: "NotAuthentic"
      })
      const signed = yield* refusal(log, { type: "Note.Signed" })
      assert.deepInclude(signed, { ...named, type: "Note.Signed", reason: "NotAuthentic" })
      for (const change of [{ schemaVersion: 2 }, { encoding: "json+zlib+aes-gcm:a" }]) {
        assert.deepInclude(yield* refusal(log, change), { ...named, reason: "NotAuthentic" })
      }
    })
  )

  it.effect("G9 is refused by name in another stream, at the same version", () =>
    Effect.gen(function* () {
      const { log } = yield* encrypted
      const other = Note.Id.make("2")
      const copied = withRecorder(log, (recorder) => ({
        readStream: (read) =>
          Effect.map(recorder.readStream({ ...read, stream: Note.stream(id) }), (page) =>
            page.map((event) => ({ ...event, stream: read.stream }))
          )
      }))
      const { repository } = yield* open(copied, layerKeys(keyOf("a")))
      assert.strictEqual((yield* repository.of(Note).get(id)).version, 1)
      const error = yield* Effect.flip(repository.of(Note).get(other))
      assert.deepInclude(error, { _tag: "EventNotDecryptable", stream: "Note-2", version: 0, reason: "NotAuthentic" })
    })
  )

  it.effect("is refused by name with the wrong key, an unknown one, or no cipher at all", () =>
    Effect.gen(function* () {
      const { log } = yield* encrypted
      const wrong: KeyService.IdentifiedKey = { ...keyOf("z"), id: "a" }
      for (const [keys, reason] of [
        [[wrong], "NotAuthentic"],
        [[keyOf("a", 16)], "NotAuthentic"],
        [[keyOf("b")], "UnknownKey"]
      ] as const) {
        const error = yield* Effect.flip(
          texts(yield* open(log, layerKeys(...([...keys] as [KeyService.IdentifiedKey]))))
        )
        assert.deepInclude(error, { ...named, version: 0, type: "Note.Written", keyId: "a", reason })
      }
      const none = yield* Effect.flip(texts(yield* open(log)))
      assert.deepInclude(none, { _tag: "EventNotDecryptable", version: 0, keyId: "a", reason: "NoCipher" })
    })
  )

  it.effect("is refused by name under the name of another cipher", () =>
    Effect.gen(function* () {
      const { log } = yield* encrypted
      const error = yield* refusal(log, { encoding: "json+chacha20:a" })
      assert.deepInclude(error, { ...named, keyId: "a", reason: "NoCipher" })
    })
  )

  it.effect("does not fail other events: the error names it when it is read", () =>
    Effect.gen(function* () {
      const { log } = yield* encrypted
      const error = yield* refusal(log, { payload: new Uint8Array(40) })
      assert.deepInclude(error, { version: 1 })
      const reader = yield* open(log, layerKeys(keyOf("a")))
      assert.deepStrictEqual(yield* texts(reader), ["first", secret])
    })
  )

  it.effect("stays readable when keys rotate, also after a change of length", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const [a, b, c] = [keyOf("2024", 16), keyOf("2025", 24), keyOf("2026:eu+west", 32)]
      yield* write(yield* open(log, layerKeys(a)), "one")
      yield* write(yield* open(log, layerKeys(a, b)), "two")
      yield* write(yield* open(log, layerKeys(a, b, c)), "three")
      assert.deepStrictEqual(
        (yield* stored(log)).map(({ encoding }) => encoding),
        ["json+aes-gcm:2024", "json+aes-gcm:2025", "json+aes-gcm:2026:eu+west"]
      )
      assert.deepStrictEqual(yield* texts(yield* open(log, layerKeys(c, b, a))), ["one", "two", "three"])
      // the oldest key is removed
      const error = yield* Effect.flip(texts(yield* open(log, layerKeys(b, c))))
      assert.deepInclude(error, { version: 0, keyId: "2024", reason: "UnknownKey" })
    })
  )

  it.effect("is encrypted in snapshots too, bound to their stream", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const process = yield* open(log, layerKeys(keyOf("a")))
      yield* write(process, secret)
      const notes = process.repository.of(Note)
      yield* notes.snapshot(id)
      assert.strictEqual((yield* process.snapshots.load(Note, id))?.state, secret)
      // another key can't decrypt the snapshot, so the events are read, which it can't decrypt either
      const other = yield* open(log, layerKeys(keyOf("b")))
      assert.strictEqual(yield* other.snapshots.load(Note, id), undefined)
      assert.strictEqual((yield* Effect.flip(other.repository.of(Note).get(id)))._tag, "EventNotDecryptable")
    })
  )

  it.effect("shows no key and no plaintext in errors and logs", () =>
    Effect.gen(function* () {
      const { event, log } = yield* encrypted
      const { id: keyId, key } = keyOf("a")
      const text = Buffer.from(Redacted.value(key)).toString("latin1")
      const forms = [text, Buffer.from(text).toString("hex"), Buffer.from(text).toString("base64"), "12345"]
      const failures = [
        yield* refusal(log, { payload: bytesOf(event).slice(1) }),
        yield* refusal(log, { encoding: "json+aes-gcm:z" }),
        yield* Effect.flip(
          Effect.provide(
            Cipher.Cipher,
            Cipher.layerKeys([
              { id: keyId, key },
              { id: keyId, key }
            ])
          )
        )
      ]
      const shown = [
        ...failures.flatMap((error) => [
          inspect(error, { depth: 20, showHidden: true }),
          JSON.stringify(error, (_name, value) => (typeof value === "bigint" ? `${value}` : value)),
          Cause.pretty(Cause.fail(error))
        ]),
        inspect(key, { depth: 20, showHidden: true }),
        JSON.stringify({ key }),
        `${key}`
      ]
      for (const report of shown) for (const form of forms) assert.notInclude(report, form)
    })
  )
})
