/** The server that PostgreSQL's scenarios run on: the one of POSTGRES_URL, or one of its own whose data is on a disk. */
import * as Path from "node:path"
import { Effect } from "effect"
import Pg from "pg"
import { startServer } from "../../test/support/postgresServer.ts"
import { inspect } from "../disk.ts"
import { median } from "../timing.ts"

export interface Server {
  readonly url: string
  /** A line each: version, settings, and where its data is. */
  readonly description: ReadonlyArray<string>
  /** What a transaction of one row takes, in seconds, one after the other on one connection. */
  readonly commit: number
}

const SETTINGS = ["fsync", "synchronous_commit", "wal_sync_method", "shared_buffers", "max_connections"]

/** Starts it if need be; stopped with the scope. */
export const server = Effect.fnUntraced(function* (folder: string) {
  const given = process.env.POSTGRES_URL
  const disk = given === undefined ? yield* inspect(folder) : undefined
  const url =
    given ??
    (yield* Effect.acquireRelease(
      Effect.promise(() => startServer({}, { folder: Path.resolve(disk?.folder ?? folder) })),
      ({ stop }) => Effect.promise(stop)
    )).url
  return yield* Effect.promise(async (): Promise<Server> => {
    const client = new Pg.Client({ connectionString: url })
    await client.connect()
    try {
      const version = (await client.query("SHOW server_version")).rows[0]?.server_version
      const settings = await client.query(
        "SELECT name, current_setting(name) AS value FROM unnest($1::text[]) AS name",
        [SETTINGS]
      )
      const place = disk === undefined ? "the server of POSTGRES_URL" : `${disk.description} (${disk.folder})`
      return {
        url,
        description: [
          `Server    PostgreSQL ${version}, ${settings.rows.map(({ name, value }) => `${name}=${value}`).join(" ")}`,
          `Data      ${place}`
        ],
        commit: await commitCost(client)
      }
    } finally {
      await client.end()
    }
  })
})

const COMMITS = 300

const commitCost = async (client: Pg.Client): Promise<number> => {
  await client.query("CREATE TABLE IF NOT EXISTS commit_cost (n integer)")
  try {
    const turns: Array<number> = []
    for (let turn = 0; turn < 4; turn++) {
      const began = performance.now()
      for (let n = 0; n < COMMITS; n++) {
        await client.query({ name: "commit cost", text: "INSERT INTO commit_cost VALUES ($1)", values: [n] })
      }
      turns.push((performance.now() - began) / 1000 / COMMITS)
    }
    return median(turns)
  } finally {
    await client.query("DROP TABLE commit_cost")
  }
}
