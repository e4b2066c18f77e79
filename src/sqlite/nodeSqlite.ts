import type * as Sqlite from "node:sqlite"

/**
 * Loads `node:sqlite` when a file is opened. If the module is missing, the layer fails with a message that names the
 * requirement. An `import` would fail before any of the program runs, and report only that there is no such module.
 */
export const sqlite = (): typeof Sqlite => {
  const found = process.getBuiltinModule?.("node:sqlite")
  if (found !== undefined) return found
  throw new Error(
    `node:sqlite is missing in this runtime, which reports Node ${process.version}; use Node 22.19 or later, without --no-experimental-sqlite`
  )
}
