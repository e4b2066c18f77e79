/**
 * Converts JSON values to the payloads that are recorded, and back: transcodes, compresses, encrypts.
 *
 * Each payload says how it was encoded (`json+zstd+aes-gcm:<key id>`), so a log that was written first plain, then
 * compressed, then encrypted can be read as a whole.
 */
import { Context, Effect, Layer } from "effect"
import * as Cipher from "./Cipher.ts"
import * as Compressor from "./Compressor.ts"
import { EventNotDecodable, EventNotDecryptable, EventNotEncodable } from "./EventSourcingError.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import type { Position } from "./Position.ts"
import type { StreamName } from "./StreamName.ts"
import * as Transcoder from "./Transcoder.ts"

/** The place of a payload: named in every error, and bound to the payload by the cipher. */
export interface Place {
  readonly stream: StreamName
  readonly version: number
  readonly type: string
  readonly schemaVersion: number
}

/** A value to be recorded. */
export interface Plain extends Place {
  readonly json: unknown
}

/** A payload, and how it was encoded. */
export interface Encoded {
  readonly encoding: string
  readonly payload: string | Uint8Array
  /** The payload before compression and encryption. */
  readonly transcoded: string | Uint8Array
}

/** A recorded payload. */
export interface Recorded extends Place {
  /** Absent for a snapshot. */
  readonly position?: Position | undefined
  readonly encoding: string
  readonly payload: string | Uint8Array
}

/** Why a recorded payload can't be read. */
export type DecodeError = EventNotDecodable | EventNotDecryptable

/** Encodes and decodes payloads, many at a time. */
export class Mapper extends Context.Service<
  Mapper,
  {
    readonly encode: (values: ReadonlyArray<Plain>) => Effect.Effect<ReadonlyArray<Encoded>, EventNotEncodable>
    /** The value as readers will see it: the format may have changed it (JSON has no -0). May throw. */
    readonly readBack: (encoded: Encoded) => unknown
    readonly decode: (recorded: ReadonlyArray<Recorded>) => Effect.Effect<ReadonlyArray<unknown>, DecodeError>
    /** For how many milliseconds decrypted values may be kept; `undefined` if nothing is encrypted. */
    readonly keysTrustedFor?: number | undefined
  }
>()("effect-eventsourcing/Mapper") {}

/** The steps that a payload has gone through. */
interface Steps {
  readonly transcoder: Transcoder.Format
  readonly compressor: Compressor.Format | undefined
}

/**
 * The mapper on a transcoder, a compressor and a cipher.
 *
 * **When to use**
 *
 * Use this to compress or encrypt events: provide the three layers, and pass the result to a backend's layer as
 * `mapper`. Without it, backends use {@link layerJson}.
 *
 * **Details**
 *
 * Encoding transcodes, then compresses, then encrypts. The steps are recorded with each payload, so a log stays
 * readable when they change.
 *
 * **Gotchas**
 *
 * Every process that reads the log needs the formats and keys of all of its events. When several processes run, deploy
 * their readers before the first writer uses a new format.
 */
export const layer: Layer.Layer<Mapper, never, Transcoder.Transcoder | Compressor.Compressor | Cipher.Cipher> =
  Layer.effect(
    Mapper,
    Effect.gen(function* () {
      const transcoder = yield* Transcoder.Transcoder
      const compressor = yield* Compressor.Compressor
      const cipher = yield* Cipher.Cipher

      return Mapper.of({
        encode: makeEncode(transcoder, compressor, cipher),
        readBack: ({ transcoded }) => transcoder.write.decode(transcoded),
        decode: makeDecode(transcoder, compressor, cipher),
        keysTrustedFor: cipher.name === undefined ? undefined : (cipher.keysTrustedFor ?? Cipher.KEYS_TRUSTED_FOR)
      })
    })
  )

/**
 * JSON, neither compressed nor encrypted. This is the default.
 *
 * **When to use**
 *
 * Use this if the database's own tools should be able to read the events. Use {@link layer} to compress or encrypt.
 */
export const layerJson: Layer.Layer<Mapper> = Layer.provide(layer, [
  Transcoder.layerJson,
  Compressor.layerNone,
  Cipher.layerNone
])

const notEncodable = (place: Place, what: string) => (cause: unknown) =>
  new EventNotEncodable({
    stream: place.stream,
    version: place.version,
    type: place.type,
    reason: `${what}: ${messageOf(cause)}`,
    cause
  })

/** Encodes values: transcodes, compresses, and encrypts if the cipher does. */
const makeEncode = (
  transcoder: Transcoder.Transcoder["Service"],
  compressor: Compressor.Compressor["Service"],
  cipher: Cipher.Cipher["Service"]
): Mapper["Service"]["encode"] => {
  /** Transcodes and, if that makes the payload smaller, compresses. */
  const pack = (value: Plain): Encoded => {
    const format = transcoder.write
    const transcoded = format.encode(value.json)
    if (transcoded === undefined) throw new Error(`format "${format.name}" can't represent the value`)
    if (typeof transcoded === "string" && !transcoded.isWellFormed()) {
      throw new Error(`format "${format.name}" produced text that is not well-formed Unicode`)
    }
    if (compressor.write !== undefined) {
      const bytes = toBytes(transcoded)
      const compressed = compressor.write.compress(bytes)
      if (compressed.length < bytes.length) {
        return { encoding: `${format.name}+${compressor.write.name}`, payload: compressed, transcoded }
      }
    }
    return { encoding: format.name, payload: transcoded, transcoded }
  }

  const encrypt = Effect.fnUntraced(function* (value: Plain, packed: Encoded) {
    const place = cipherPlace(value, packed.encoding)
    const { ciphertext, keyId } = yield* Effect.mapError(
      cipher.encrypt(toBytes(packed.payload), place),
      notEncodable(value, "no key to encrypt it with could be obtained")
    )
    return {
      encoding: `${packed.encoding}+${cipher.name}:${keyId}`,
      payload: ciphertext,
      transcoded: packed.transcoded
    }
  })

  // encodes when it is called, so that the result is available immediately if nothing has to be encrypted
  return (values) => {
    const packed: Array<Encoded> = []
    for (const value of values) {
      try {
        packed.push(pack(value))
      } catch (cause) {
        return Effect.fail(notEncodable(value, "its payload could not be encoded")(cause))
      }
    }
    if (cipher.name === undefined) return Effect.succeed(packed)
    return Effect.forEach(values, (value, i) => encrypt(value, packed[i] as Encoded))
  }
}

const notDecodable = (place: Recorded) => (cause: unknown) =>
  new EventNotDecodable({
    stream: place.stream,
    version: place.version,
    position: place.position,
    type: place.type,
    reason: messageOf(cause),
    cause
  })

const refused = (place: Recorded, keyId: string, reason: Cipher.Refusal, cause?: unknown) =>
  new EventNotDecryptable({
    stream: place.stream,
    version: place.version,
    position: place.position,
    type: place.type,
    keyId,
    reason,
    ...(cause === undefined ? {} : { cause })
  })

/** Decodes payloads by the formats that each of them names. */
const makeDecode = (
  transcoder: Transcoder.Transcoder["Service"],
  compressor: Compressor.Compressor["Service"],
  cipher: Cipher.Cipher["Service"]
): Mapper["Service"]["decode"] => {
  const known = new Map<string, Steps>()

  /** Parses the names of the formats; throws on an unknown one. */
  const parse = (formats: string): Steps => {
    const cached = known.get(formats)
    if (cached !== undefined) return cached
    const [transcoded = "", compressed, ...more] = formats.split("+")
    const format = transcoder.read.get(transcoded)
    const compression = compressed === undefined ? undefined : compressor.read.get(compressed)
    if (format === undefined || more.length > 0 || (compressed !== undefined && compression === undefined)) {
      throw new Error(`the encoding "${formats}" is unknown here; add its formats to Transcoder or Compressor`)
    }
    const steps: Steps = { transcoder: format, compressor: compression }
    known.set(formats, steps)
    return steps
  }

  const unpack = (steps: Steps, payload: string | Uint8Array): unknown =>
    steps.transcoder.decode(steps.compressor === undefined ? payload : steps.compressor.decompress(toBytes(payload)))

  const decrypt = Effect.fnUntraced(function* (recorded: Recorded, encoding: string, keyId: string) {
    const end = encoding.lastIndexOf("+")
    const formats = encoding.slice(0, end)
    if (encoding.slice(end + 1) !== cipher.name) return yield* refused(recorded, keyId, "NoCipher")
    const steps = yield* Effect.try({ try: () => parse(formats), catch: notDecodable(recorded) })
    const payload = yield* Effect.mapError(
      cipher.decrypt(toBytes(recorded.payload), keyId, cipherPlace(recorded, formats)),
      ({ reason, cause }) => refused(recorded, keyId, reason, cause)
    )
    return yield* Effect.try({ try: () => unpack(steps, payload), catch: notDecodable(recorded) })
  })

  /** Everything but decryption is synchronous: a page without encrypted events is decoded in one loop. */
  const decodePlain = (recorded: Recorded): unknown => unpack(parse(recorded.encoding), recorded.payload)

  const decodeOne = (recorded: Recorded): Effect.Effect<unknown, DecodeError> => {
    const colon = recorded.encoding.indexOf(":")
    if (colon !== -1) return decrypt(recorded, recorded.encoding.slice(0, colon), recorded.encoding.slice(colon + 1))
    return cipher.readsPlaintext
      ? Effect.try({ try: () => decodePlain(recorded), catch: notDecodable(recorded) })
      : Effect.fail(refused(recorded, "", "NotEncrypted"))
  }

  return (recorded) =>
    Effect.suspend(() => {
      const decoded: Array<unknown> = []
      for (const value of recorded) {
        if (!cipher.readsPlaintext || value.encoding.includes(":")) return Effect.forEach(recorded, decodeOne)
        try {
          decoded.push(decodePlain(value))
        } catch (cause) {
          return Effect.fail(notDecodable(value)(cause))
        }
      }
      return Effect.succeed(decoded)
    })
}

const cipherPlace = (place: Place, encoding: string): Cipher.Place => ({
  stream: place.stream,
  version: place.version,
  type: place.type,
  schemaVersion: place.schemaVersion,
  encoding
})

const utf8 = new TextEncoder()
const toBytes = (payload: string | Uint8Array): Uint8Array =>
  typeof payload === "string" ? utf8.encode(payload) : payload
