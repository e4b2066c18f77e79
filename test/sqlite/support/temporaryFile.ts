/** Files of a test: in a directory of their own, which is removed with the test's scope. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type { Scope } from "effect"
import { Effect } from "effect"

/** A new, empty directory. */
export const directory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-eventsourcing-")))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** The path of a file that does not exist yet, in a directory of its own. */
export const file: Effect.Effect<string, never, Scope.Scope> = Effect.map(directory, (path) =>
  Path.join(path, "log.db")
)

/** The files below a path that this process has open; empty if the system does not report them. */
export const openBelow = (path: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.sync(() =>
    Fs.existsSync("/proc/self/fd")
      ? Fs.readdirSync("/proc/self/fd").flatMap((fd) => {
          const link = `/proc/self/fd/${fd}`
          const target = Fs.existsSync(link) ? Fs.readlinkSync(link) : ""
          return target.startsWith(path) ? [target] : []
        })
      : []
  )
