/** All of the library but its backends, with nothing for a bundler to leave out. */
import * as Everything from "effect-eventsourcing"

export const names = () => Object.keys(Everything)

/** What fails where there is no Node says so. */
export const compress = () => {
  try {
    return Everything.Compressor.zlib.compress(new Uint8Array(1)).length
  } catch (error) {
    return String(error)
  }
}
