import { readFileSync } from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"

const root = Path.resolve(import.meta.dirname, "..")

const versionOf = (folder: string): string =>
  JSON.parse(readFileSync(Path.join(root, folder, "package.json"), "utf8")).version

/** What it runs on, a line each. */
export const machine = (): ReadonlyArray<string> => {
  const cpus = Os.cpus()
  const gibibytes = Math.round(Os.totalmem() / 2 ** 30)
  return [
    `Machine   ${cpus.length} × ${cpus[0]?.model.trim() ?? "unknown processor"}, ${gibibytes} GiB, ${Os.type()} ${Os.release()} ${Os.arch()}`,
    `Versions  effect-eventsourcing ${versionOf(".")}, effect ${versionOf("node_modules/effect")}, Node ${process.versions.node}, SQLite ${process.versions.sqlite}`
  ]
}
