/**
 * Modules of Node, loaded when they are first used.
 *
 * A bundler for browsers refuses an `import` of them, even if nothing that uses them is in the bundle. The modules here
 * are used by `effect-eventsourcing` itself, which everybody imports, including a front end that only needs its
 * aggregates. Backends import theirs as usual.
 */
import type * as Crypto from "node:crypto"
import type * as Zlib from "node:zlib"

const builtin = <Module>(name: string): (() => Module) => {
  let fetched: Module | undefined
  const fetch = (): Module => {
    const found = globalThis.process?.getBuiltinModule?.(name) as Module | undefined
    if (found === undefined) throw new Error(`this needs ${name}, which this runtime does not have`)
    return found
  }
  return () => (fetched ??= fetch())
}

export const crypto: () => typeof Crypto = builtin("node:crypto")
export const zlib: () => typeof Zlib = builtin("node:zlib")
