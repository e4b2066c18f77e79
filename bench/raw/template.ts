import { Effect } from "effect"
import type { StoredEvent } from "effect-eventsourcing"
import { Recorder } from "effect-eventsourcing"
import { itemAt } from "../order.ts"

/**
 * The newest stored event of the log, as the model of the rows that the raw side writes, so that they can't drift apart
 * from the library's. Dies if `JSON.stringify` gives other bytes than the library wrote: then the comparison is off.
 */
export const template: Effect.Effect<StoredEvent.StoredEvent, unknown, Recorder.Recorder> = Effect.gen(function* () {
  const recorder = yield* Recorder.Recorder
  const [newest] = yield* recorder.readAll({ direction: "backward", limit: 1 })
  if (newest === undefined) return yield* Effect.die(new Error("there is no event that shows what to write"))
  const payload = JSON.stringify(itemAt(newest.version))
  if (newest.payload !== payload) {
    return yield* Effect.die(new Error(`the raw side would write ${payload}, the library wrote ${newest.payload}`))
  }
  return newest
})
