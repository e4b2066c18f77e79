/** The server that KurrentDB's scenarios run on: the one of KURRENTDB_URI, or the protocol fake, in memory. */
import { randomUUID } from "node:crypto"
import { jsonEvent, KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import { spawnFake } from "../../test/support/kurrent-fake.ts"

export interface Server {
  readonly uri: string
  readonly description: string
  /** What an append of one event takes, in seconds, one after the other. */
  readonly commit: number
}

/** Starts it if need be; stopped with the scope. */
export const server = Effect.gen(function* () {
  const given = process.env.KURRENTDB_URI
  const uri =
    given ??
    (yield* Effect.acquireRelease(
      Effect.promise(() => spawnFake()),
      ({ stop }) => Effect.promise(stop)
    )).uri
  const description =
    given === undefined
      ? "the protocol fake of the tests, in memory: its rates are no server's, only the ratios say something"
      : "the KurrentDB of KURRENTDB_URI"
  const server: Server = { uri, description, commit: yield* Effect.promise(() => appendCost(uri)) }
  return server
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
