import * as Fs from "node:fs"
import * as Path from "node:path"
import { Effect } from "effect"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as RawSqlite from "../raw/sqlite.ts"
import type { Backend } from "./Backend.ts"

/** Each log is a file of its own in the folder, with the durability that the library has by default. */
export const sqlite = (folder: string, commit: number): Backend => ({
  name: "sqlite",
  commit,
  newLog: Effect.map(newFile(folder), (filename) => ({
    layer: (options) => SqliteLayer({ ...options, filename }),
    raw: RawSqlite.open(filename)
  }))
})

let files = 0

/** The name of a file that is not there yet. */
export const newFile = (folder: string) =>
  Effect.acquireRelease(
    Effect.sync(() => Path.join(folder, `${process.pid}-${files++}.db`)),
    (filename) =>
      Effect.sync(() => {
        for (const suffix of ["", "-wal", "-shm"]) Fs.rmSync(filename + suffix, { force: true })
      })
  )
