import { DateTime } from "effect"

let last = DateTime.makeUnsafe(0)

/**
 * The time of this many milliseconds. Throws if there is none. Events that were recorded together, or are read one
 * after the other, often have the same time, and creating it takes a tenth as long as the rest.
 */
export const cachedDateTime = (epochMillis: number): DateTime.Utc => {
  if (epochMillis !== last.epochMilliseconds) last = DateTime.makeUnsafe(epochMillis)
  return last
}
