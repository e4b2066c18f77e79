import type * as Sqlite from "node:sqlite"

/**
 * `node:sqlite`, fetched when a file is opened: where it is missing, the layer fails and says what is needed. An `import` would
 * fail before anything of the program runs, and only say that there is no such module.
 */
export const sqlite = (): typeof Sqlite => {
  const found = process.getBuiltinModule?.("node:sqlite")
  if (found !== undefined) return found
  throw new Error(
    `node:sqlite is missing in this runtime (${process.version} of Node): use Node 22.19 or later, without --no-experimental-sqlite`
  )
}
