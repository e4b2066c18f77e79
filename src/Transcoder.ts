/**
 * Converts values to text or bytes, and back.
 *
 * A schema first turns an event into JSON values (with every codec of `effect/Schema`: bigint, bytes, dates, decimals,
 * options, a user's own types); a transcoder writes those. JSON is the default; another format is a pair of functions:
 *
 * @example
 * ```ts
 * import { decode, encode } from "@msgpack/msgpack"
 * import { Transcoder } from "effect-eventsourcing"
 *
 * // new events are written as MessagePack, those written as JSON before stay readable
 * const layer = Transcoder.layer({
 *   name: "msgpack",
 *   encode: (json) => encode(json),
 *   decode: (payload) => decode(payload as Uint8Array)
 * })
 * console.log(typeof layer) // prints: object
 * ```
 */
import { Context, Layer } from "effect"
import { byName } from "./internal/encoding/formats.ts"
import * as Json from "./internal/encoding/json.ts"

/** A format for JSON values. */
export interface Format {
  /** Recorded with each event: lower-case letters, digits and `-`. It must never change. */
  readonly name: string
  /** Returns text if the format is text. May throw. */
  readonly encode: (json: unknown) => string | Uint8Array
  /**
   * The reverse; it must return a new value each time. It gets text if `encode` returned text, unless the payload was
   * compressed or encrypted on its way. May throw.
   */
  readonly decode: (payload: string | Uint8Array) => unknown
}

/** The format to write, and those that can be read. */
export class Transcoder extends Context.Service<
  Transcoder,
  {
    readonly write: Format
    readonly read: ReadonlyMap<string, Format>
  }
>()("effect-eventsourcing/Transcoder") {}

/** JSON text. */
export const json: Format = {
  name: "json",
  encode: (value) => JSON.stringify(value),
  decode: (payload) => Json.parse(typeof payload === "string" ? payload : decodeText(payload))
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const decodeText = (bytes: Uint8Array): string => utf8.decode(bytes)

/** Writes one format; reads it, JSON, and any others that are given. */
export const layer = (write: Format, ...alsoRead: ReadonlyArray<Format>): Layer.Layer<Transcoder> =>
  Layer.succeed(Transcoder, { write, read: byName([json, ...alsoRead, write]) })

/** Writes and reads JSON. */
export const layerJson: Layer.Layer<Transcoder> = layer(json)
