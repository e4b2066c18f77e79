/**
 * The fake as a process of its own, to be killed and started again on the same port and directory.
 *
 * It writes `{"port":…}` when it is ready. A line `["silence","appends"]` on its standard input calls that method of
 * the faults, and is answered with `{"done":"silence"}`.
 */
import * as Readline from "node:readline"
import * as Util from "node:util"
import { startFake } from "./server.ts"

const { values } = Util.parseArgs({
  options: {
    port: { type: "string", default: "0" },
    directory: { type: "string" },
    version: { type: "string" },
    user: { type: "string" },
    password: { type: "string" },
    maxAppendSize: { type: "string" },
    maxAppendEventSize: { type: "string" }
  }
})

const fake = await startFake({
  port: Number(values.port),
  ...(values.directory === undefined ? {} : { directory: values.directory }),
  ...(values.version === undefined ? {} : { version: values.version }),
  ...(values.user === undefined ? {} : { credentials: { user: values.user, password: values.password ?? "" } }),
  ...(values.maxAppendSize === undefined ? {} : { maxAppendSize: Number(values.maxAppendSize) }),
  ...(values.maxAppendEventSize === undefined ? {} : { maxAppendEventSize: Number(values.maxAppendEventSize) })
})
const say = (message: unknown) => process.stdout.write(`${JSON.stringify(message)}\n`)
say({ port: fake.port, uri: fake.uri })

const faults = fake.faults as unknown as Record<string, (...args: ReadonlyArray<unknown>) => unknown>
Readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const [method, ...args] = JSON.parse(line)
  await faults[method]?.(...args)
  say({ done: method })
})
process.stdin.on("end", () => fake.stop().then(() => process.exit(0)))
process.on("SIGTERM", () => fake.stop().then(() => process.exit(0)))
