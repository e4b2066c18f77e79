/** The server that tests run on: that of `KURRENTDB_URI`, or the protocol fake. */
import { randomUUID } from "node:crypto"
import { compare } from "../fake/settings.ts"

/** The fake of the worker that runs this, if there is one. */
const fakeUri = (): string => {
  const uris = process.env.KURRENTDB_FAKE_URIS?.split(" ") ?? []
  return uris[(Number(process.env.VITEST_POOL_ID ?? 1) - 1) % uris.length] ?? ""
}

/** A connection string. */
export const uri: string = process.env.KURRENTDB_URI ?? fakeUri()

/** Whether the server is the fake, which contains only what tests write to it. */
export const isFake = process.env.KURRENTDB_URI === undefined

/** The prefix of a new log's streams, so that a server can contain any number of logs. */
export const newPrefix = (): string => `test_${randomUUID().replaceAll("-", "")}.`

/** Whether the server has at least a version; tests of newer features are skipped on older ones. */
export const isSince = (version: string): boolean => compare(process.env.KURRENTDB_VERSION ?? "26.1.0", version) >= 0
