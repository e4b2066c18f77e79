/** Converts and checks the times at which something is due. */
import { DateTime } from "effect"
import type { Due } from "../../Deadline.ts"

/** The last and, negated, the first millisecond that a date can be. */
const LAST = 8_640_000_000_000_000

/**
 * The millisecond at which something is due; `undefined` for never, as for any time after the last date. Throws if the
 * value is not a time.
 */
export const toMillis = (due: Due): number | undefined => {
  if (due === undefined) return undefined
  const at = DateTime.isDateTime(due) ? DateTime.toEpochMillis(due) : due
  if (typeof at !== "number" || Number.isNaN(at)) {
    throw new Error(
      `due must return a time, as milliseconds since the epoch or as a DateTime, or undefined, but it returned ${String(due)}`
    )
  }
  // never before it is due
  return at > LAST ? undefined : Math.max(Math.ceil(at), -LAST)
}
