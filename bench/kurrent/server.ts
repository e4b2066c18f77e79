/** The server that KurrentDB's scenarios run on: the one of KURRENTDB_URI, or the protocol fake, as durable as a server. */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs/promises"
import * as Path from "node:path"
import { jsonEvent, KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import { spawnFake } from "../../test/support/kurrentFake.ts"
import { inspect } from "../disk.ts"

export interface Server {
  readonly uri: string
  readonly description: string
  /** What an append of one event takes, in seconds, one after the other. */
  readonly commit: number
}

/** Starts it if need be; stopped with the scope. */
export const server = Effect.fnUntraced(function* (folder: string) {
  const given = process.env.KURRENTDB_URI
  const uri = given ?? (yield* fake(folder))
  const description =
    given === undefined
      ? "the protocol fake of the tests, on the disk when it answers: its rates are no server's, only the ratios count"
      : "the KurrentDB of KURRENTDB_URI"
  const server: Server = { uri, description, commit: yield* Effect.promise(() => appendCost(uri)) }
  return server
})

/** With its data on a disk. */
const fake = Effect.fnUntraced(function* (folder: string) {
  const disk = yield* inspect(folder)
  const directory = yield* Effect.acquireRelease(
    Effect.promise(() => Fs.mkdtemp(Path.join(Path.resolve(disk.folder), "kurrentdb-"))),
    (directory) => Effect.promise(() => Fs.rm(directory, { recursive: true, force: true }))
  )
  const { uri } = yield* Effect.acquireRelease(
    Effect.promise(() => spawnFake(directory)),
    ({ stop }) => Effect.promise(stop)
  )
  return uri
})

const APPENDS = 500

const appendCost = async (uri: string): Promise<number> => {
  const client = KurrentDBClient.connectionString(uri)
  try {
    const stream = `Cost-${randomUUID()}`
    const append = (n: number) =>
      client.appendToStream(stream, jsonEvent({ type: "cost", data: { n } }), {
        streamState: n === 0 ? "no_stream" : BigInt(n - 1)
      })
    await append(0)
    const began = performance.now()
    for (let n = 1; n <= APPENDS; n++) await append(n)
    return (performance.now() - began) / 1000 / APPENDS
  } finally {
    await client.dispose()
  }
}
