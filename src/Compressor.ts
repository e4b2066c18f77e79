/**
 * Smaller payloads. What would grow is stored as it was, so small events cost nothing.
 *
 * Compressed payloads can't be read with the database's own tools.
 */
import { Context, Layer } from "effect"
import { byName } from "./internal/encoding/formats.ts"
import * as Node from "./internal/encoding/nodeModules.ts"

/** A compression format. */
export interface Format {
  /** Recorded with each event: lower-case letters, digits and `-`. It must never change. */
  readonly name: string
  /** What does not come out smaller is stored as it was. */
  readonly compress: (bytes: Uint8Array) => Uint8Array
  /** May throw. */
  readonly decompress: (bytes: Uint8Array) => Uint8Array
}

/** The format to write, if any, and those that can be read. */
export class Compressor extends Context.Service<
  Compressor,
  {
    readonly write: Format | undefined
    readonly read: ReadonlyMap<string, Format>
  }
>()("effect-eventsourcing/Compressor") {}

/** No payload may grow beyond this when it is decompressed: damaged bytes must not fill the memory. */
const maxOutputLength = 256 * 1024 * 1024

/** What could not be decompressed again is left as it is. */
const unlessTooLarge = (bytes: Uint8Array, compress: (bytes: Uint8Array) => Uint8Array): Uint8Array =>
  bytes.length > maxOutputLength ? bytes : compress(bytes)

/** DEFLATE with a zlib header: understood everywhere. */
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

/** Writes one format; reads it, zlib, zstd, and any others that are given. */
export const layer = (write: Format | undefined, ...alsoRead: ReadonlyArray<Format>): Layer.Layer<Compressor> =>
  Layer.succeed(Compressor, {
    write,
    read: byName([zlib, zstd, ...alsoRead, ...(write === undefined ? [] : [write])])
  })

/** Compresses nothing; what was compressed before stays readable. */
export const layerNone: Layer.Layer<Compressor> = layer(undefined)

/** Compresses with zlib. */
export const layerZlib: Layer.Layer<Compressor> = layer(zlib)

/** Compresses with Zstandard. */
export const layerZstd: Layer.Layer<Compressor> = layer(zstd)
