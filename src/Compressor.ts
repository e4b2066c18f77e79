/**
 * Compresses payloads. A payload that compression would not make smaller is stored as it was, so small events cost
 * nothing.
 *
 * The database's own tools can't read compressed payloads.
 */
import { Context, Layer } from "effect"
import { byName } from "./internal/encoding/formats.ts"
import * as Node from "./internal/encoding/nodeModules.ts"

/** A compression format. */
export interface Format {
  /** Recorded with each event: lower-case letters, digits and `-`. It must never change. */
  readonly name: string
  /** If the result is not smaller, the payload is stored as it was. */
  readonly compress: (bytes: Uint8Array) => Uint8Array
  /** May throw. */
  readonly decompress: (bytes: Uint8Array) => Uint8Array
}

/** The format to write, if any, and the formats that can be read. */
export class Compressor extends Context.Service<
  Compressor,
  {
    readonly write: Format | undefined
    readonly read: ReadonlyMap<string, Format>
  }
>()("effect-eventsourcing/Compressor") {}

/** The most bytes that a payload may decompress to: damaged bytes must not exhaust the memory. */
const maxOutputLength = 256 * 1024 * 1024

/** A payload too large to be decompressed again is left as it is. */
const unlessTooLarge = (bytes: Uint8Array, compress: (bytes: Uint8Array) => Uint8Array): Uint8Array =>
  bytes.length > maxOutputLength ? bytes : compress(bytes)

/** DEFLATE with a zlib header, which is supported everywhere. */
export const zlib: Format = {
  name: "zlib",
  compress: (bytes) => unlessTooLarge(bytes, Node.zlib().deflateSync),
  decompress: (bytes) => Node.zlib().inflateSync(bytes, { maxOutputLength })
}

/** Zstandard: faster than zlib, and smaller. */
export const zstd: Format = {
  name: "zstd",
  compress: (bytes) => unlessTooLarge(bytes, Node.zlib().zstdCompressSync),
  decompress: (bytes) => Node.zlib().zstdDecompressSync(bytes, { maxOutputLength })
}

/**
 * Compresses with a format of your choice.
 *
 * **When to use**
 *
 * Use this for a format of your own. Use {@link layerZstd} or {@link layerZlib} otherwise.
 *
 * **Details**
 *
 * It writes the given format, or none if it is `undefined`. It reads that format, zlib, zstd, and any further ones that
 * are passed. A payload that compression would not make smaller is stored as it was.
 *
 * **Gotchas**
 *
 * Formats that were written once must stay readable: pass them in `alsoRead` after a change.
 */
export const layer = (write: Format | undefined, ...alsoRead: ReadonlyArray<Format>): Layer.Layer<Compressor> =>
  Layer.succeed(Compressor, {
    write,
    read: byName([zlib, zstd, ...alsoRead, ...(write === undefined ? [] : [write])])
  })

/** Compresses nothing; events that were compressed earlier stay readable. */
export const layerNone: Layer.Layer<Compressor> = layer(undefined)

/**
 * Compresses with zlib.
 *
 * **When to use**
 *
 * Use this if other programs that read the payloads do not support Zstandard. Use {@link layerZstd} otherwise.
 */
export const layerZlib: Layer.Layer<Compressor> = layer(zlib)

/**
 * Compresses with Zstandard.
 *
 * **When to use**
 *
 * Use this for large payloads: it is faster than zlib, and its results are smaller.
 *
 * **Gotchas**
 *
 * The database's own tools can't read compressed payloads.
 */
export const layerZstd: Layer.Layer<Compressor> = layer(zstd)
