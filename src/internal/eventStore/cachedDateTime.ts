import { DateTime } from "effect"

let last = DateTime.makeUnsafe(0)

/**
 * The time of so many milliseconds; throws where there is none. Events that were recorded together, or read one after the
 * other, mostly have the same, and to make it takes as long as a tenth of the rest.
 */
export const moment = (epochMillis: number): DateTime.Utc => {
  if (epochMillis !== last.epochMilliseconds) last = DateTime.makeUnsafe(epochMillis)
  return last
}
