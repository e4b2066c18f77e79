/** The whole library except its backends, with nothing that a bundler could leave out. */
import * as Everything from "effect-eventsourcing"

export const names = () => Object.keys(Everything)

/** Whatever fails without Node says so. */
export const compress = () => {
  try {
    return Everything.Compressor.zlib.compress(new Uint8Array(1)).length
  } catch (error) {
    return String(error)
  }
}
