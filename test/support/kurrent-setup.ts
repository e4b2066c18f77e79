/** One KurrentDB protocol fake for all tests, a process of its own, unless `KURRENTDB_URI` names a server. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Path from "node:path"
import { createInterface } from "node:readline"

const main = Path.join(import.meta.dirname, "../kurrent/fake/main.ts")

const setup = async (): Promise<(() => Promise<void>) | undefined> => {
  if (process.env.KURRENTDB_URI !== undefined) return undefined
  const fake = spawn(process.execPath, [main], { stdio: ["pipe", "pipe", "inherit"] })
  const exit = once(fake, "exit")
  const [line] = await once(createInterface({ input: fake.stdout }), "line")
  process.env.KURRENTDB_FAKE_URI = JSON.parse(String(line)).uri
  return async () => {
    fake.stdin.end()
    await exit
  }
}

export default setup
