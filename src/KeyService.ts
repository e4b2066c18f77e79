/**
 * The cipher's source of keys: which key encrypts an event, and which key belongs to an id.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { KeyService } from "effect-eventsourcing"
 *
 * const program = Effect.gen(function*() {
 *   const key = yield* KeyService.randomKey(32)
 *   // the newest key is the last: events are encrypted with it, those encrypted with the others stay readable
 *   return KeyService.layer([{ id: "2026-01", key }])
 * })
 * console.log(typeof Effect.runSync(program)) // prints: object
 * ```
 */
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import { Base64 } from "effect/encoding"
import type { StreamName } from "./StreamName.ts"

/** The bytes of an AES key: 16, 24 or 32 of them. */
export type Key = Redacted.Redacted<Uint8Array>

/** A key, and the id that is recorded with everything that it encrypts. */
export interface IdentifiedKey {
  /** Any text that is not empty. It is not encrypted. */
  readonly id: string
  readonly key: Key
}

/** What a key is requested for. */
export interface Subject {
  readonly stream: StreamName
  readonly type: string
}

/** A key can't be used, or the service that holds it can't be reached. */
export class KeyServiceError extends Schema.TaggedError<KeyServiceError>()("KeyServiceError", {
  reason: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message(): string {
    return this.reason
  }
}

/**
 * Provides keys to the cipher, which caches them.
 *
 * **When to use**
 *
 * Implement this service to take keys from a key management service, or to have one key per person, which can be
 * shredded. Use {@link layer} for a fixed set of keys.
 *
 * **Gotchas**
 *
 * Return `undefined` from `decryptionKey` if a key no longer exists. A failure is reported as a failure of the service.
 */
export class KeyService extends Context.Service<
  KeyService,
  {
    /** The key that encrypts an event of this stream and type. */
    readonly encryptionKey: (subject: Subject) => Effect.Effect<IdentifiedKey, KeyServiceError>
    /** The key with an id; `undefined` if it does not exist, or no longer exists. */
    readonly decryptionKey: (id: string) => Effect.Effect<Key | undefined, KeyServiceError>
  }
>()("effect-eventsourcing/KeyService") {}

/** Generates a random key of 16, 24 or 32 bytes (AES-128, AES-192, AES-256). */
export const randomKey = (bytes: 16 | 24 | 32): Effect.Effect<Key> =>
  Effect.sync(() => Redacted.make(crypto.getRandomValues(new Uint8Array(bytes)), { label: "key" }))

/** Reads a key from base64, as in a configuration; fails on text that is not base64 of 16, 24 or 32 bytes. */
export const keyFromBase64 = (text: Redacted.Redacted<string>): Effect.Effect<Key, KeyServiceError> =>
  Effect.mapError(
    Effect.flatMap(Effect.fromResult(Base64.decode(Redacted.value(text))), (bytes) => {
      const found = problem(bytes)
      return found === undefined
        ? Effect.succeed(Redacted.make(bytes, { label: "key" }))
        : Effect.fail(new Error(found))
    }),
    ({ message }) => new KeyServiceError({ reason: `the base64 text is not a key: ${message}` })
  )

/** Writes a key as base64, for a configuration. */
export const keyToBase64 = (key: Key): Redacted.Redacted<string> =>
  Redacted.make(Base64.encode(Redacted.value(key)), { label: "key" })

/** Returns what is wrong with the bytes of a key, or `undefined`. */
export const problem = (bytes: Uint8Array): string | undefined =>
  bytes.length === 16 || bytes.length === 24 || bytes.length === 32
    ? undefined
    : `an AES key must have 16, 24 or 32 bytes, got ${bytes.length}`

/** Returns what is wrong with a key's id, which is recorded as text, or `undefined`. */
export const idProblem = (id: string): string | undefined =>
  id.length === 0 || id.includes("\0") || !id.isWellFormed()
    ? "a key's id must be well-formed Unicode text that is not empty and contains no NUL"
    : undefined

/**
 * A fixed set of keys, all of which decrypt.
 *
 * **When to use**
 *
 * Use this if the keys are in the configuration. Implement {@link KeyService} for any other source.
 *
 * **Details**
 *
 * `encryptWith` is the id of the key that encrypts; without it, the last key does. It fails on keys and ids that can't
 * be used, on two keys with the same id, and on an `encryptWith` that is not one of the ids.
 *
 * **Gotchas**
 *
 * To rotate while several processes run, first give all of them the new key, with `encryptWith` unchanged: a process
 * without the new key can't read what is encrypted with it. Then change `encryptWith`.
 */
export const layer = (
  keys: readonly [IdentifiedKey, ...ReadonlyArray<IdentifiedKey>],
  options: { readonly encryptWith?: string | undefined } = {}
): Layer.Layer<KeyService, KeyServiceError> =>
  Layer.effect(
    KeyService,
    Effect.gen(function* () {
      for (const { id, key } of keys) {
        const found = idProblem(id) ?? problem(Redacted.value(key))
        if (found !== undefined) return yield* new KeyServiceError({ reason: `key "${id}": ${found}` })
      }
      const byId = new Map(keys.map(({ id, key }) => [id, key]))
      if (byId.size < keys.length) return yield* new KeyServiceError({ reason: "two keys have the same id" })
      const { encryptWith } = options
      const encrypting = encryptWith === undefined ? keys[keys.length - 1] : keys.find(({ id }) => id === encryptWith)
      if (encrypting === undefined) {
        const ids = keys.map(({ id }) => `"${id}"`).join(", ")
        return yield* new KeyServiceError({
          reason: `encryptWith must be the id of one of the keys ${ids}, got "${encryptWith}"`
        })
      }
      return KeyService.of({
        encryptionKey: () => Effect.succeed(encrypting),
        decryptionKey: (id) => Effect.succeed(byId.get(id))
      })
    })
  )
