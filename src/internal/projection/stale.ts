import { Clock, Effect } from "effect"
import type { Position } from "../../Position.ts"
import type { Progress } from "../../ViewStore.ts"
import type { LocalProgress } from "./localProgress.ts"

/**
 * For how long a view may stand still while others advance before its readers are warned, and how often, in
 * milliseconds.
 */
const PATIENCE = 10_000
const AGAIN = 60_000

/** A view that is read and lags another version of it. */
export interface Stale {
  readonly position: Position | undefined
  /** Since when it has been known to be at this position, in milliseconds since the epoch. */
  readonly since: number
  /** When a warning was last logged. */
  warned: number | undefined
}

/** Warns readers of a version that stands still while another one advances: nobody keeps it up to date. */
export const warnOfStale = (
  { stale }: LocalProgress,
  name: string,
  { mode, position, version }: Progress,
  versions: ReadonlyArray<Progress>
): Effect.Effect<void> => {
  const further = versions.find(
    (other) =>
      other.mode === "followed" && other.position !== undefined && (position === undefined || other.position > position)
  )
  if (mode === "inline" || further === undefined) {
    stale.delete(version)
    return Effect.void
  }
  return Effect.flatMap(Clock.currentTimeMillis, (now) => {
    const known = stale.get(version)
    if (known === undefined || known.position !== position) {
      stale.set(version, { position, since: now, warned: undefined })
      return Effect.void
    }
    if (now - known.since < PATIENCE || (known.warned !== undefined && now - known.warned < AGAIN)) return Effect.void
    known.warned = now
    return Effect.logWarning(
      `version ${version} of projection "${name}" is being read but not kept up to date: it has been ${position === undefined ? "at the start" : `at position ${position}`} for ${Math.round((now - known.since) / 1000)} s, while version ${further.version} is at position ${further.position}`
    )
  })
}
