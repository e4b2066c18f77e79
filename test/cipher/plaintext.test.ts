import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Cipher, Compressor, KeyService, Mapper, Transcoder } from "effect-eventsourcing"
import { makeLog, open, withRecorder } from "../support/memoryLog.ts"
import { texts, write } from "../support/note.ts"

const mapper = Effect.map(KeyService.randomKey(32), (key) => (plaintext: "accept" | "refuse") => ({
  mapper: Mapper.layer.pipe(
    Layer.provide([Transcoder.layerJson, Compressor.layerNone, Cipher.layerKeys([{ id: "a", key }], { plaintext })])
  )
}))

describe("G9 plaintext in a log with a cipher", () => {
  it.effect("is read by default, so that encryption can be introduced in an existing log", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      yield* write(yield* open(log), "plain")
      const process = yield* open(log, (yield* mapper)("accept"))
      yield* write(process, "secret")
      assert.deepStrictEqual(yield* texts(process), ["plain", "secret"])
    })
  )

  it.effect("is refused on request, also in place of an encrypted event", () =>
    Effect.gen(function* () {
      const log = yield* makeLog
      const options = (yield* mapper)("refuse")
      const process = yield* open(log, options)
      yield* write(process, "secret")
      assert.deepStrictEqual(yield* texts(process), ["secret"])

      const replaced = withRecorder(log, (recorder) => ({
        readStream: (read) =>
          Effect.map(recorder.readStream(read), (page) =>
            page.map((event) => ({ ...event, encoding: "json", payload: '{"text":"forged"}' }))
          )
      }))
      const error = yield* Effect.flip(texts(yield* open(replaced, options)))
      assert.deepInclude(error, {
        _tag: "EventNotDecryptable",
        reason: "NotEncrypted",
        version: 0,
        type: "Note.Written"
      })
      assert.include(error.message, "plaintext is refused")
    })
  )
})
