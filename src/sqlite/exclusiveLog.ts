import type { DatabaseSync, SQLInputValue } from "node:sqlite"
import type { ExclusiveLog } from "../internal/backend/exclusiveAppend.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import { firstArray } from "./prepare.ts"

/** The log as the holder of the write lock sees it. */
export const exclusiveLog = (db: DatabaseSync): ExclusiveLog => {
  const last = db.prepare("SELECT version FROM stored_events WHERE stream = ? ORDER BY version DESC LIMIT 1")
  // each append queries it, and an array is created faster than an object
  last.setReturnArrays(true)
  const from = db.prepare(
    "SELECT id, position FROM stored_events WHERE stream = ? AND version >= ? ORDER BY version LIMIT ?"
  )
  const inserting = (rows: number) =>
    db.prepare(
      `INSERT INTO stored_events (stream, version, id, type, schema_version, encoding, payload, metadata, recorded_at)
       VALUES ${Array(rows).fill("(?, ?, ?, ?, ?, ?, ?, ?, ?)").join(", ")}`
    )
  const insertOne = inserting(1)
  const insertMany = inserting(MANY)
  return {
    lastVersion: (stream) => firstArray<readonly [number]>(last, stream)?.[0] ?? "NoStream",
    eventsFrom: (stream, version, count) =>
      from.all(stream, version, count).map(({ id, position }) => ({
        id: id as string,
        position: fromStorage(BigInt(position as number))
      })),
    insert: ({ stream, events }, firstVersion) => {
      const positions: Array<Position> = []
      let next = 0
      while (next < events.length) {
        const rows = events.length - next < MANY ? 1 : MANY
        const values: Array<SQLInputValue> = []
        for (const event of events.slice(next, next + rows)) {
          const { id, type, schemaVersion, encoding, payload, metadata, recordedAt } = event
          values.push(stream, firstVersion + next++, id, type, schemaVersion, encoding, payload, metadata, recordedAt)
        }
        // one statement numbers its rows one by one: nobody else writes meanwhile
        const last = BigInt((rows === 1 ? insertOne : insertMany).run(...values).lastInsertRowid)
        for (let before = rows - 1; before >= 0; before--) positions.push(fromStorage(last - BigInt(before)))
      }
      return positions
    }
  }
}

/** From this many rows on, one statement inserts many: a call costs as much as half a row. */
const MANY = 10
