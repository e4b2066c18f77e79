/**
 * A KurrentDB protocol fake for each worker, so that no test file sees the events of another that runs at the same
 * time, unless `KURRENTDB_URI` names a server for all.
 */
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import type { TestProject } from "vitest/node"
import { compare } from "../kurrent/fake/settings.ts"
import { spawnFake } from "./kurrentFake.ts"

/** The version of the server that tests run on, without what follows its numbers. */
const versionOf = async (uri: string): Promise<string> => {
  const client = KurrentDBClient.connectionString(uri)
  // the client requests it, and does not expose it
  const { capabilities } = client as unknown as { readonly capabilities: Promise<{ readonly serverVersion: string }> }
  const { serverVersion } = await capabilities
  await client.dispose()
  return serverVersion.replace(/-.*/, "")
}

const setup = async ({ config }: TestProject): Promise<(() => Promise<void>) | undefined> => {
  const { KURRENTDB_URI: real } = process.env
  if (real !== undefined) {
    const version = await versionOf(real)
    process.env.KURRENTDB_VERSION = version
    const older = compare(version, "25.1.0") < 0 ? "; tests of what it has only from 25.1 on are skipped" : ""
    console.log(`tests run on KurrentDB ${version}${older}`)
    return undefined
  }
  const fakes = await Promise.all(Array.from({ length: config.maxWorkers }, () => spawnFake()))
  process.env.KURRENTDB_FAKE_URIS = fakes.map(({ uri }) => uri).join(" ")
  return async () => {
    await Promise.all(fakes.map(({ stop }) => stop()))
  }
}

export default setup
