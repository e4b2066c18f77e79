import { Effect } from "effect"
import { RecorderFailure } from "../EventSourcingError.ts"
import type { ExclusiveTracking } from "../internal/backend/exclusiveAppend.ts"
import { exclusiveTracking } from "../internal/backend/exclusiveAppend.ts"
import { decodeNote, encodeNote } from "../internal/backend/trackingNote.ts"
import { fromStorage } from "../Position.ts"
import type * as Tracking from "../Tracking.ts"
import type { Prepare } from "./prepare.ts"

const TRACKING_PROGRESS = `
  SELECT position, note FROM stored_tracking WHERE projection = ? AND projection_version = ? AND upstream = ? AND slice = ?
`

/** The positions of another backend's log can be larger than a number represents exactly. */
export const trackingProgress = (
  statement: Prepare,
  { projection, version, upstream, slice }: Tracking.Key
): Tracking.Progress | undefined => {
  const select = statement(TRACKING_PROGRESS)
  select.setReadBigInts(true)
  const row = select.get(projection, version, upstream, slice)
  if (row === undefined) return undefined
  const position = fromStorage(row.position as bigint)
  return { position, note: decodeNote(row.note, position) }
}

/** Refuses a key with half a surrogate pair: stored, it would become another key. */
export const checkKey = ({ projection, upstream }: Tracking.Key): Effect.Effect<void, RecorderFailure> =>
  projection.isWellFormed() && upstream.isWellFormed()
    ? Effect.void
    : Effect.fail(
        new RecorderFailure({
          operation: "track a position",
          reason: `the name of a projection or an upstream contains half of a surrogate pair: ${JSON.stringify([projection, upstream])}`
        })
      )

/** The tracking of a key, for the holder of the write lock. */
export const trackingOf = (statement: Prepare, move: Tracking.Move): ExclusiveTracking =>
  exclusiveTracking(move, {
    get: () => trackingProgress(statement, move.key)?.position,
    set: (position) => {
      const { projection, version, upstream, slice } = move.key
      statement(
        `INSERT OR REPLACE INTO stored_tracking (projection, projection_version, upstream, slice, position, note)
         VALUES (?, ?, ?, ?, ?, ?)`
      ).run(projection, version, upstream, slice, position, encodeNote(move))
    }
  })
