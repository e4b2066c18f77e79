/**
 * Encrypted payloads (G9): AES-GCM, bound to the event's place, so that altering or moving a payload is always
 * detected.
 *
 * Type, stream, version and metadata are not encrypted. With random nonces one key is good for 2^32 events; rotate it
 * before that.
 */
import { Cache, Clock, Context, Duration, Effect, Exit, Layer, Option, Redacted } from "effect"
import * as Node from "./internal/encoding/nodeModules.ts"
import * as KeyService from "./KeyService.ts"
import type { StreamName } from "./StreamName.ts"

/** What a ciphertext is bound to: it can be decrypted only if all of this is the same. */
export interface Place {
  readonly stream: StreamName
  readonly version: number
  readonly type: string
  readonly schemaVersion: number
  /** How the plaintext was encoded. */
  readonly encoding: string
}

/** Why a payload could not be decrypted. */
export type Refusal = "UnknownKey" | "NotAuthentic" | "KeyServiceFailed" | "NoCipher" | "NotEncrypted"

/** Encrypts and decrypts payloads; without a cipher, its members are `undefined`. */
export class Cipher extends Context.Service<
  Cipher,
  {
    /** Recorded with each event; `undefined` if nothing is encrypted. */
    readonly name: string | undefined
    /** Whether it also reads payloads that are not encrypted. */
    readonly readsPlaintext: boolean
    readonly encrypt: (
      plaintext: Uint8Array,
      place: Place
    ) => Effect.Effect<{ readonly keyId: string; readonly ciphertext: Uint8Array }, KeyService.KeyServiceError>
    readonly decrypt: (
      ciphertext: Uint8Array,
      keyId: string,
      place: Place
    ) => Effect.Effect<Uint8Array, { readonly reason: Refusal; readonly cause?: unknown }>
    /**
     * For how many milliseconds decrypted data may still be used after its key is gone: states are not cached for
     * longer. Default one minute.
     */
    readonly keysTrustedFor?: number | undefined
  }
>()("effect-eventsourcing/Cipher") {}

/** One minute; see {@link Cipher}. @internal */
export const KEYS_TRUSTED_FOR = 60_000

/**
 * Where a cipher notes when it requested the oldest of the keys used in this scope, in milliseconds since the epoch.
 * @internal
 */
export const KeyAge: Context.Reference<{ oldest: number } | undefined> = Context.Reference(
  "effect-eventsourcing/Cipher/KeyAge",
  { defaultValue: (): { oldest: number } | undefined => undefined }
)

/**
 * Whether keys are requested within a transaction of the user's. A rollback may remove a new key, so keys requested
 * there are not cached. @internal
 */
export const Provisional: Context.Reference<boolean> = Context.Reference("effect-eventsourcing/Cipher/Provisional", {
  defaultValue: () => false
})

/**
 * Encrypts nothing. This is the default.
 *
 * **Gotchas**
 *
 * Events that were encrypted earlier can't be read with it, because that requires their keys.
 */
export const layerNone: Layer.Layer<Cipher> = Layer.succeed(Cipher, {
  name: undefined,
  readsPlaintext: true,
  encrypt: () => Effect.die(new Error("no cipher")),
  decrypt: () => Effect.fail({ reason: "NoCipher" as const })
})

const NONCE_BYTES = 12
const TAG_BYTES = 16

const algorithm = (key: Uint8Array): "aes-128-gcm" | "aes-192-gcm" | "aes-256-gcm" =>
  key.length === 16 ? "aes-128-gcm" : key.length === 24 ? "aes-192-gcm" : "aes-256-gcm"

const associatedData = (keyId: string, place: Place): Uint8Array =>
  Buffer.from(JSON.stringify([place.stream, place.version, place.type, place.schemaVersion, place.encoding, keyId]))

/** Nonce, tag, ciphertext. */
const seal = (plaintext: Uint8Array, key: Uint8Array, aad: Uint8Array): Uint8Array => {
  const { createCipheriv, randomBytes } = Node.crypto()
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(algorithm(key), key, nonce, { authTagLength: TAG_BYTES }).setAAD(aad)
  const body = cipher.update(plaintext)
  const end = cipher.final()
  return Buffer.concat([nonce, cipher.getAuthTag(), body, end])
}

const open = (sealed: Uint8Array, key: Uint8Array, aad: Uint8Array): Uint8Array => {
  const nonce = sealed.subarray(0, NONCE_BYTES)
  const tag = sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES)
  if (tag.length < TAG_BYTES) throw new Error("too short for a nonce and a tag")
  const decipher = Node.crypto()
    .createDecipheriv(algorithm(key), key, nonce, { authTagLength: TAG_BYTES })
    .setAAD(aad)
    .setAuthTag(tag)
  return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()])
}

const usable = (key: KeyService.Key): Effect.Effect<Uint8Array, KeyService.KeyServiceError> => {
  const bytes = Redacted.value(key)
  const found = KeyService.problem(bytes)
  return found === undefined ? Effect.succeed(bytes) : Effect.fail(new KeyService.KeyServiceError({ reason: found }))
}

/** How a cipher caches keys, and whether it reads payloads that are not encrypted. */
export interface Options {
  readonly keysCached?: number
  readonly cacheFor?: Duration.Input
  readonly plaintext?: "accept" | "refuse"
}

/**
 * Encrypts payloads with AES-GCM, with the keys of the `KeyService`.
 *
 * **When to use**
 *
 * Use this if keys differ by stream, or come from a key management service; shredding a key makes its events
 * unreadable. Use {@link layerKeys} for a fixed set of keys.
 *
 * **Details**
 *
 * - `keysCached`: how many keys of each kind are cached. Default 1024.
 * - `cacheFor`: for how long. Default one minute.
 * - `plaintext`: `accept` (default) also reads events that were recorded before there was a cipher. `refuse` does not,
 *   so that nobody with write access to the database can replace an encrypted payload by plaintext.
 *
 * **Gotchas**
 *
 * A rotated or shredded key takes effect only after `cacheFor`. With random nonces one key is good for 2^32 events;
 * rotate it before that.
 */
export const layerAesGcm = (options: Options = {}): Layer.Layer<Cipher, never, KeyService.KeyService> =>
  Layer.effect(
    Cipher,
    Effect.gen(function* () {
      const keys = yield* KeyService.KeyService
      const cacheFor = Duration.fromInputUnsafe(options.cacheFor ?? KEYS_TRUSTED_FOR)
      const cached = cachedBy({ capacity: options.keysCached ?? 1024, cacheFor })
      const encryptionKey = yield* cached((subject: string) => {
        const [stream, type] = JSON.parse(subject) as [StreamName, string]
        return keys.encryptionKey({ stream, type })
      })
      const decryptionKey = yield* cached((id: string) => keys.decryptionKey(id))

      return Cipher.of({
        name: "aes-gcm",
        readsPlaintext: options.plaintext !== "refuse",
        keysTrustedFor: Duration.toMillis(cacheFor),
        encrypt: Effect.fnUntraced(function* (plaintext, place) {
          const { id, key } = yield* encryptionKey(JSON.stringify([place.stream, place.type]))
          const found = KeyService.idProblem(id)
          if (found !== undefined) return yield* new KeyService.KeyServiceError({ reason: found })
          return { keyId: id, ciphertext: seal(plaintext, yield* usable(key), associatedData(id, place)) }
        }),
        decrypt: Effect.fnUntraced(function* (ciphertext, keyId, place) {
          const refuse = (reason: Refusal) => (cause: unknown) => ({ reason, cause })
          const key = yield* Effect.mapError(decryptionKey(keyId), refuse("KeyServiceFailed"))
          if (key === undefined) return yield* Effect.fail({ reason: "UnknownKey" as const })
          const bytes = yield* Effect.mapError(usable(key), refuse("KeyServiceFailed"))
          return yield* Effect.try({
            try: () => open(ciphertext, bytes, associatedData(keyId, place)),
            catch: refuse("NotAuthentic")
          })
        })
      })
    })
  )

/**
 * Requests keys and caches them, except within a transaction: a key that was created there may be rolled back. Notes
 * when the key was requested.
 */
const cachedBy = ({ capacity, cacheFor }: { readonly capacity: number; readonly cacheFor: Duration.Duration }) =>
  Effect.fnUntraced(function* <A, E>(ask: (of: string) => Effect.Effect<A, E>) {
    const dated = (of: string) =>
      Effect.flatMap(Clock.currentTimeMillis, (askedAt) => Effect.map(ask(of), (answer) => ({ answer, askedAt })))
    const timeToLive = (exit: Exit.Exit<unknown, unknown>) => (Exit.isSuccess(exit) ? cacheFor : Duration.zero)
    const cache = yield* Cache.makeWith(dated, { capacity, timeToLive })
    return (of: string): Effect.Effect<A, E> =>
      Effect.withFiber((fiber) => {
        const found = fiber.getRef(Provisional)
          ? Effect.flatMap(Cache.getSuccess(cache, of), (known) =>
              Option.isSome(known) ? Effect.succeed(known.value) : dated(of)
            )
          : Cache.get(cache, of)
        const age = fiber.getRef(KeyAge)
        return Effect.map(found, ({ answer, askedAt }) => {
          if (age !== undefined && askedAt < age.oldest) age.oldest = askedAt
          return answer
        })
      })
  })

/**
 * Encrypts payloads with AES-GCM, with a fixed set of keys.
 *
 * **When to use**
 *
 * Use this if the keys are in the configuration. Use {@link layerAesGcm} with a key service of your own otherwise.
 *
 * **Details**
 *
 * All keys decrypt. The key whose id is `encryptWith` encrypts; by default it is the last one. {@link KeyService.layer}
 * describes how to rotate keys.
 */
export const layerKeys = (
  keys: readonly [KeyService.IdentifiedKey, ...ReadonlyArray<KeyService.IdentifiedKey>],
  options: Options & { readonly encryptWith?: string | undefined } = {}
): Layer.Layer<Cipher, KeyService.KeyServiceError> =>
  Layer.provide(layerAesGcm(options), KeyService.layer(keys, options))
