/** A second copy of the library in one process, as two versions of one package bring it, or two bundles. */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import type * as Library from "effect-eventsourcing"
import type * as Memory from "effect-eventsourcing/memory"
import type * as WorkAborted from "../../src/internal/projection/workAborted.ts"

const project = path.resolve(import.meta.dirname, "../..")

/** Loads the sources once more, from a folder of their own. The packages that they import are the same. */
export const loadCopy = async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "effect-eventsourcing-copy-"))
  try {
    fs.cpSync(path.join(project, "src"), path.join(folder, "src"), { recursive: true })
    fs.copyFileSync(path.join(project, "package.json"), path.join(folder, "package.json"))
    fs.symlinkSync(path.join(project, "node_modules"), path.join(folder, "node_modules"), "dir")
    const load = (file: string): Promise<unknown> => import(path.join(folder, "src", file))
    return {
      library: (await load("index.ts")) as typeof Library,
      memory: (await load("memory/index.ts")) as typeof Memory,
      workAborted: (await load("internal/projection/workAborted.ts")) as typeof WorkAborted
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}
