/** The server that tests run on: the one of `KURRENTDB_URI`, or the protocol fake. */
import { randomUUID } from "node:crypto"
import { compare } from "../fake/settings.ts"

/** The fake of the worker that runs this, if it is one. */
const fakeUri = (): string => {
  const uris = process.env.KURRENTDB_FAKE_URIS?.split(" ") ?? []
  return uris[(Number(process.env.VITEST_POOL_ID ?? 1) - 1) % uris.length] ?? ""
}

/** A connection string. */
export const uri: string = process.env.KURRENTDB_URI ?? fakeUri()

/** Whether the server is the fake, which has nothing on it but what tests put there. */
export const isFake = process.env.KURRENTDB_URI === undefined

/** What the streams of a new log begin with, so that a server may hold any number of them. */
export const newPrefix = (): string => `test_${randomUUID().replaceAll("-", "")}.`

/** Whether the server has come to a version; tests of what older ones do not have are skipped there. */
export const isSince = (version: string): boolean => compare(process.env.KURRENTDB_VERSION ?? "26.1.0", version) >= 0
