/** Example programs as a user runs them: as processes of their own. */
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { Effect } from "effect"

/** How a program ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

const root = path.resolve(import.meta.dirname, "../../..")

/**
 * Runs `examples/<name>/main.ts` in a directory and waits for its end.
 *
 * `onStderr` gets the process each time that it has written to stderr, with everything that it has written there so
 * far.
 */
export const run = (
  name: string,
  args: ReadonlyArray<string>,
  options: {
    readonly cwd: string
    readonly env?: NodeJS.ProcessEnv
    readonly onStderr?: (stderr: string, child: ChildProcess) => void
  }
): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const main = path.join(root, "examples", name, "main.ts")
    const child = spawn(process.execPath, ["--conditions=effect-eventsourcing-source", main, ...args], {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text
      options.onStderr?.(stderr, child)
    })
    child.on("error", (error) => resume(Effect.die(error)))
    child.on("close", (code, signal) => resume(Effect.succeed({ code, signal, stdout, stderr })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** A fresh directory, removed when the test ends. */
export const temporaryDirectory = Effect.acquireRelease(
  // by its real name, which is the one that programs see
  Effect.sync(() => fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "examples-")))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true, force: true }))
)
