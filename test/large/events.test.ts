import * as ChildProcess from "node:child_process"
import * as Path from "node:path"
import { promisify } from "node:util"
import { assert, it } from "@effect/vitest"

const execFile = promisify(ChildProcess.execFile)
const MB = 2 ** 20

it("60 events of 1 MB are recorded, followed, caught up on, read and folded within a heap of 64 MB", async () => {
  const { stdout } = await execFile(process.execPath, [
    "--max-old-space-size=64",
    "--conditions=effect-eventsourcing-source",
    Path.join(import.meta.dirname, "events.ts"),
    ...[60, MB, MB, 4 * MB].map(String)
  ])
  const done = stdout.split("\n").flatMap((line) => line.split(":").slice(0, -1))
  assert.deepStrictEqual(done.slice(-7), [
    "projected live",
    "caught up by a subscription",
    "caught up by a subscription of one stream",
    "read as a stream",
    "read in the total order",
    "caught up by a projection",
    "rebuilt"
  ])
}, 300_000)
