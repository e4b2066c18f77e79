import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Layer, Schema } from "effect"
import { Cipher, Compressor, KeyService, Mapper, Transcoder } from "effect-eventsourcing"
import { makeLog, open, withRecorder } from "./support/memoryLog.ts"
import { stored, texts, write } from "./support/note.ts"

const mapper = (compressor: Layer.Layer<Compressor.Compressor>) =>
  Mapper.layer.pipe(Layer.provide([Transcoder.layerJson, compressor, Cipher.layerNone]))

const formats = [
  ["zlib", Compressor.zlib, Compressor.layerZlib],
  ["zstd", Compressor.zstd, Compressor.layerZstd]
] as const

const large = "all work and no play makes Jack a dull boy\n".repeat(100)

const size = (payload: string | Uint8Array | undefined) => Buffer.byteLength(payload ?? "")

describe.each(formats)("%s", (name, format, layer) => {
  it.prop("returns bytes unchanged", [Schema.Uint8Array], ([bytes]) => {
    assert.deepStrictEqual(new Uint8Array(format.decompress(format.compress(bytes))), bytes)
  })

  it.effect("stores a small payload uncompressed, as text", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const process = yield* open(log, { mapper: mapper(layer) })
      yield* write(process, "hi")
      const [event] = yield* stored(log)
      assert.deepInclude(event, { encoding: "json", payload: '{"text":"hi"}' })
      assert.deepStrictEqual(yield* texts(process), ["hi"])
    })
  )

  it.effect("stores a large one compressed, and a snapshot too", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const process = yield* open(log, { mapper: mapper(layer) })
      yield* write(process, large)
      const [event] = yield* stored(log)
      assert.strictEqual(event?.encoding, `json+${name}`)
      assert.isBelow(size(event?.payload), large.length / 10)
      assert.deepStrictEqual(yield* texts(process), [large])
    })
  )

  it.effect.prop(
    "never stores more than the plain text needs, and reads it back",
    [
      Arbitrary.map(Arbitrary.schema(Schema.Tuple([Schema.String, Schema.Int])), ([text, n]) =>
        text.repeat(Math.abs(n % 50))
      )
    ],
    Effect.fnUntraced(function* ([text]) {
      const log = yield* makeLog
      const process = yield* open(log, { mapper: mapper(layer) })
      yield* write(process, text)
      const [event] = yield* stored(log)
      const plain = size(JSON.stringify({ text }))
      assert.isTrue(event?.encoding === "json" ? size(event.payload) === plain : size(event?.payload) < plain)
      assert.deepStrictEqual(yield* texts(process), [text])
    })
  )

  it.effect("names the event whose bytes are damaged, wherever they are cut", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      yield* write(yield* open(log, { mapper: mapper(layer) }), large)
      const [event] = yield* stored(log)
      const length = size(event?.payload)
      for (let end = 0; end < length; end += 7) {
        const damaged = withRecorder(log, (recorder) => ({
          readStream: (read) =>
            Effect.map(recorder.readStream(read), (page) =>
              page.map((one) => ({ ...one, payload: (one.payload as Uint8Array).slice(0, end) }))
            )
        }))
        const error = yield* Effect.flip(texts(yield* open(damaged, { mapper: mapper(layer) })))
        assert.deepInclude(error, {
          _tag: "EventNotDecodable",
          stream: "Note-1",
          version: 0,
          position: event?.position,
          type: "Note.Written"
        })
      }
    })
  )
})

describe("Compressor", () => {
  it.effect("reads a log whose events were written plain, with zlib, with zstd, encrypted, and plain again", () =>
    Effect.gen(function* () {
      const key = { id: "k", key: yield* KeyService.randomKey(32) }
      const all = (compressor: Layer.Layer<Compressor.Compressor>, cipher = Cipher.layerKeys([key])) =>
        Mapper.layer.pipe(Layer.provide([Transcoder.layerJson, compressor, cipher]))
      const log = yield* makeLog
      const written: Array<string> = []
      for (const layer of [
        Mapper.layerJson,
        mapper(Compressor.layerZlib),
        mapper(Compressor.layerZstd),
        all(Compressor.layerNone),
        all(Compressor.layerZstd),
        Mapper.layerJson
      ]) {
        written.push(`${written.length} ${large}`)
        yield* write(yield* open(log, { mapper: layer }), written.at(-1) ?? "")
      }
      assert.deepStrictEqual(
        (yield* stored(log)).map(({ encoding }) => encoding),
        ["json", "json+zlib", "json+zstd", "json+aes-gcm:k", "json+zstd+aes-gcm:k", "json"]
      )
      assert.deepStrictEqual(yield* texts(yield* open(log, { mapper: all(Compressor.layerNone) })), written)
    })
  )

  it.effect("reads compressed events after compression was turned off", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      for (const [, , layer] of formats) yield* write(yield* open(log, { mapper: mapper(layer) }), large)
      assert.deepStrictEqual(yield* texts(yield* open(log)), [large, large])
    })
  )

  it.effect("accepts a user's own format, which others do not know", () =>
    Effect.gen(function* () {
      const halving: Compressor.Format = {
        name: "halving",
        compress: (bytes) => bytes.subarray(0, bytes.length / 2),
        decompress: (bytes) => Buffer.concat([bytes, bytes])
      }
      const log = yield* makeLog
      const process = yield* open(log, { mapper: mapper(Compressor.layer(halving)) })
      // this one does not return what it was given
      yield* write(process, large)
      const error = yield* Effect.flip(texts(process))
      assert.strictEqual(error._tag, "EventNotDecodable")
      const unknown = yield* Effect.flip(texts(yield* open(log)))
      assert.include(unknown.message, '"json+halving" is unknown here')
    })
  )

  it.effect.each(["json+zlib+zlib", "json+zlib+", "json+", "+zlib", "zlib"])(
    "is not guessed from an invalid encoding: %j",
    (encoding) =>
      Effect.gen(function* () {
        const log = yield* makeLog
        const process = yield* open(log, { mapper: mapper(Compressor.layerZlib) })
        yield* write(process, large)
        const changed = withRecorder(log, (recorder) => ({
          readStream: (read) =>
            Effect.map(recorder.readStream(read), (page) => page.map((event) => ({ ...event, encoding })))
        }))
        const error = yield* Effect.flip(texts(yield* open(changed)))
        assert.deepInclude(error, { _tag: "EventNotDecodable", stream: "Note-1", version: 0 })
        assert.include(error.message, "is unknown here")
      })
  )

  it.effect("fails with EventNotEncodable if a format throws, and records nothing", () =>
    Effect.gen(function* () {
      const broken: Compressor.Format = {
        ...Compressor.zlib,
        name: "broken",
        compress: () => {
          throw new Error("out of order")
        }
      }
      const log = yield* makeLog
      const error = yield* Effect.flip(write(yield* open(log, { mapper: mapper(Compressor.layer(broken)) }), "hi"))
      assert.deepInclude(error, { _tag: "EventNotEncodable", stream: "Note-1", version: 0, type: "Note.Written" })
      assert.deepStrictEqual(yield* stored(log), [])
    })
  )

  it.each(["ZLIB", "a+b", "a:b", ""])("refuses a format named %j: encodings would be ambiguous", (name) => {
    assert.throws(() => Compressor.layer({ ...Compressor.zlib, name }), "it must be 1 to 32 lower-case letters")
  })
})
