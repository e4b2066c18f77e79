/** Looks at a SQLite log without the library, with SQLite alone. */
import * as Fs from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Effect } from "effect"

/** Uses a connection of its own. */
export const withConnection = <A>(filename: string, f: (db: DatabaseSync) => A): Effect.Effect<A> =>
  Effect.sync(() => {
    const db = new DatabaseSync(filename)
    try {
      return f(db)
    } finally {
      db.close()
    }
  })

/** An event as its row contains it. */
export interface Row {
  readonly position: number
  readonly stream: string
  readonly version: number
  readonly id: string
  readonly type: string
  readonly payload: string
}

/** All events, in the total order. */
export const rows = (filename: string): Effect.Effect<ReadonlyArray<Row>> =>
  withConnection(filename, (db) =>
    db
      .prepare("SELECT position, stream, version, id, type, payload FROM stored_events ORDER BY position")
      .all()
      .map((row) => ({ ...row }) as unknown as Row)
  )

/** What is wrong with a log: the file, gaps in versions, ids that are not unique. Empty if nothing is. */
export const problems = (db: DatabaseSync): ReadonlyArray<string> => {
  const integrity = db.prepare("PRAGMA integrity_check").all()
  const holes = db
    .prepare(
      `SELECT stream, min(version) AS first, max(version) AS last, count(*) AS count FROM stored_events
       GROUP BY stream HAVING first <> 0 OR last <> count - 1`
    )
    .all()
  const repeated = db.prepare("SELECT id FROM stored_events GROUP BY id HAVING count(*) > 1").all()
  return [
    ...integrity.flatMap(({ integrity_check: found }) => (found === "ok" ? [] : [`integrity: ${found}`])),
    ...holes.map((hole) => `holes: ${JSON.stringify(hole)}`),
    ...repeated.map(({ id }) => `repeated: ${id}`)
  ]
}

/**
 * The number of transactions in the write-ahead log of a file.
 *
 * The last frame of each contains the size of the database, all others a 0 (https://www.sqlite.org/fileformat2.html,
 * 4.1). Frames from before the log was last restarted have other salts.
 */
export const transactionsInWal = (filename: string): number => {
  const wal = Fs.existsSync(`${filename}-wal`) ? Fs.readFileSync(`${filename}-wal`) : Buffer.alloc(0)
  if (wal.length < 32) return 0
  const frame = 24 + wal.readUInt32BE(8)
  const salts = wal.subarray(16, 24)
  let transactions = 0
  for (let at = 32; at + frame <= wal.length; at += frame) {
    if (!wal.subarray(at + 8, at + 16).equals(salts)) break
    if (wal.readUInt32BE(at + 4) !== 0) transactions++
  }
  return transactions
}
