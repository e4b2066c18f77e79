/** How payloads are encoded, from the configuration: compressor and cipher, with defaults from code. */
import { Config, Effect, Layer, Redacted } from "effect"
import * as Cipher from "../Cipher.ts"
import * as Compressor from "../Compressor.ts"
import { optional, read } from "../internal/backend/settings.ts"
import * as KeyService from "../KeyService.ts"
import * as Mapper from "../Mapper.ts"
import * as Transcoder from "../Transcoder.ts"
import { problem, reported } from "./problem.ts"
import { prefixOf, variable, withVariables } from "./provider.ts"

/** How payloads are encrypted. */
export interface EncryptionOptions {
  /** `CIPHER_KEYS`: all of them decrypt. */
  readonly keys?: readonly [KeyService.IdentifiedKey, ...ReadonlyArray<KeyService.IdentifiedKey>] | undefined
  /** `CIPHER_ENCRYPT_WITH`: the id of the key that encrypts. Default: that of the last one. */
  readonly encryptWith?: string | undefined
  /** `CIPHER_PLAINTEXT`: whether events that are not encrypted are read. Default `accept`. */
  readonly plaintext?: "accept" | "refuse" | undefined
  /** Whether keys are required, so that nothing is stored unencrypted if they are forgotten. Default false. */
  readonly required?: boolean | undefined
}

/** How payloads are encoded. Variables that are set override these options. */
export interface MapperOptions<E = never, R = never> {
  /** The name of the application, in capitals the prefix of its variables. Default: none. */
  readonly application?: string | undefined
  /** `COMPRESSOR`. Default `none`. */
  readonly compressor?: "none" | "zlib" | "zstd" | undefined
  /** `CIPHER_KEYS`, `CIPHER_ENCRYPT_WITH`, `CIPHER_PLAINTEXT`. Default: nothing is encrypted. */
  readonly encryption?: EncryptionOptions | undefined
  /** How values become payloads. Default: `Transcoder.layerJson`. */
  readonly transcoder?: Layer.Layer<Transcoder.Transcoder, E, R> | undefined
}

/**
 * A mapper that compresses and encrypts as the configuration says.
 *
 * **When to use**
 *
 * Use this as the option `mapper` of a backend's layer that is chosen in code. `ConfigLayer` includes it.
 *
 * **Details**
 *
 * It reads `COMPRESSOR` (`none`, `zlib`, `zstd`), `CIPHER_KEYS` (`<id>:<base64>`, several of them separated by commas or
 * spaces), `CIPHER_ENCRYPT_WITH` (an id; by default the last key encrypts) and `CIPHER_PLAINTEXT` (`accept`, `refuse`).
 * Encoding and cipher are those of `Mapper.layer` and `Cipher.layerKeys`.
 *
 * **Gotchas**
 *
 * Without keys, nothing is encrypted. With `encryption: { required: true }`, building the layer fails instead.
 *
 * **Example** (Compressed by default)
 *
 * ```ts
 * import { ConfigMapper } from "effect-eventsourcing/config"
 * import { SqliteLayer } from "effect-eventsourcing/sqlite"
 *
 * export const Live = SqliteLayer.config({ mapper: ConfigMapper({ compressor: "zstd" }) })
 * ```
 */
export const ConfigMapper = <E = never, R = never>(
  options: MapperOptions<E, R> = {}
): Layer.Layer<Mapper.Mapper, Config.ConfigError | E, R> => {
  const prefix = prefixOf(options.application)
  return reported(Layer.unwrap(withVariables(makeMapper(options), prefix)), prefix)
}

/** The mapper, as the variables of the current provider define it. */
export const makeMapper = <E, R>(
  options: MapperOptions<E, R>
): Effect.Effect<Layer.Layer<Mapper.Mapper, Config.ConfigError | E, R>, Config.ConfigError> =>
  Effect.map(Effect.all([compressor(options), cipher(options.encryption ?? {})]), ([compressor, cipher]) =>
    Mapper.layer.pipe(
      Layer.provide([compressor, cipher]),
      Layer.provide(options.transcoder ?? (Transcoder.layerJson as Layer.Layer<Transcoder.Transcoder, E, R>))
    )
  )

/** The variables that define how payloads are encoded. */
export const encodingVariables = ["COMPRESSOR", "CIPHER_KEYS", "CIPHER_ENCRYPT_WITH", "CIPHER_PLAINTEXT"] as const

const compressors = { none: Compressor.layerNone, zlib: Compressor.layerZlib, zstd: Compressor.layerZstd }

const compressor = ({ compressor: byDefault = "none" }: MapperOptions<unknown, unknown>) =>
  Effect.map(
    read(optional(Config.Literals(["none", "zlib", "zstd"], "COMPRESSOR"))),
    (name = byDefault) => compressors[name]
  )

const cipher = (
  byDefault: EncryptionOptions
): Effect.Effect<Layer.Layer<Cipher.Cipher, Config.ConfigError>, Config.ConfigError> =>
  Effect.gen(function* () {
    const text = yield* read(optional(Config.Redacted("CIPHER_KEYS")))
    const given = yield* read(
      Config.all({
        encryptWith: optional(Config.String("CIPHER_ENCRYPT_WITH")),
        plaintext: optional(Config.Literals(["accept", "refuse"], "CIPHER_PLAINTEXT"))
      })
    )
    const keys = text === undefined ? byDefault.keys : yield* parseKeys(text)
    if (keys === undefined) {
      if (byDefault.required === true) {
        return yield* Effect.fail(
          problem("CIPHER_KEYS is not set, and this program requires encryption; set it to <id>:<base64 of 32 bytes>")
        )
      }
      for (const name of ["CIPHER_ENCRYPT_WITH", "CIPHER_PLAINTEXT"]) {
        if ((yield* variable(name)) === undefined) continue
        return yield* Effect.fail(problem(`${name} is set, but there are no keys; set CIPHER_KEYS or remove ${name}`))
      }
      return Cipher.layerNone
    }
    // an id that was given in code refers to a key that was given in code
    const encryptWith = given.encryptWith ?? (text === undefined ? byDefault.encryptWith : undefined)
    const plaintext = given.plaintext ?? byDefault.plaintext ?? "accept"
    return Layer.catch(Cipher.layerKeys(keys, { encryptWith, plaintext }), ({ reason }) =>
      Layer.effect(Cipher.Cipher, Effect.fail(problem(`CIPHER_KEYS or CIPHER_ENCRYPT_WITH: ${reason}`)))
    )
  })

type Keys = readonly [KeyService.IdentifiedKey, ...ReadonlyArray<KeyService.IdentifiedKey>]

/** Reads keys. Errors count them: an id might be a key that somebody wrote in the wrong place. */
const parseKeys = (text: Redacted.Redacted): Effect.Effect<Keys, Config.ConfigError> =>
  Effect.gen(function* () {
    const parts = Redacted.value(text)
      .split(/[\s,]+/)
      .filter((part) => part !== "")
    const keys = yield* Effect.forEach(parts, (part, i) => {
      const which = `CIPHER_KEYS: key ${i + 1} of ${parts.length}`
      const colon = part.lastIndexOf(":")
      if (colon < 1) return Effect.fail(problem(`${which} is not of the form <id>:<base64>`))
      return KeyService.keyFromBase64(Redacted.make(part.slice(colon + 1))).pipe(
        Effect.map((key) => ({ id: part.slice(0, colon), key })),
        Effect.mapError(({ reason }) => problem(`${which}: ${reason}`))
      )
    })
    const [first, ...others] = keys
    return first === undefined ? yield* Effect.fail(problem("CIPHER_KEYS has no key in it")) : [first, ...others]
  })
