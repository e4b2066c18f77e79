/** The KurrentDB protocol fake as a process of its own. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Path from "node:path"
import { createInterface } from "node:readline"

const main = Path.join(import.meta.dirname, "../kurrent/fake/main.ts")

/** Starts it on a free port; `stop` ends it. With a directory, what it acknowledges is on the disk. */
export const spawnFake = async (
  directory?: string
): Promise<{ readonly uri: string; readonly stop: () => Promise<void> }> => {
  const options = directory === undefined ? [] : ["--directory", directory]
  const fake = spawn(process.execPath, [main, ...options], { stdio: ["pipe", "pipe", "inherit"] })
  const exit = once(fake, "exit")
  const [line] = await once(createInterface({ input: fake.stdout }), "line")
  return {
    uri: JSON.parse(String(line)).uri,
    stop: async () => {
      fake.stdin.end()
      await exit
    }
  }
}
