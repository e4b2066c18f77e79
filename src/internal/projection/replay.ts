import { Cause, Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { RecorderUnavailable } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Mapper } from "../../Mapper.ts"
import type * as Projection from "../../Projection.ts"
import { fromStorage } from "../../StreamName.ts"
import type * as View from "../../View.ts"
import type { DeadLetter, Mode, ViewStore } from "../../ViewStore.ts"
import { causeText } from "../errors/causeText.ts"
import { isTransient } from "../errors/transient.ts"
import { makeDecoder } from "../eventStore/decodeEvents.ts"
import { trackingKey } from "./trackingKey.ts"

/**
 * Handles dead-lettered events again, in the order of each stream. If one fails, the later ones of its stream keep
 * waiting.
 */
export const replay = Effect.fnUntraced(function* <Provided, R>(
  store: ViewStore<unknown, Provided>,
  recorder: LogReader["Service"],
  mapper: Mapper["Service"],
  projection: Projection.Projection<View.Any, Mode, Projection.Delivery, R>,
  stream: string | undefined
): Effect.fn.Return<Projection.Replayed, RecorderError, Exclude<R, Provided>> {
  const decode = makeDecoder(mapper, recorder).decodeOf(projection.aggregates)
  const key = trackingKey(projection)
  let replayed = 0
  const handle = Effect.fnUntraced(function* (letter: DeadLetter) {
    const stored = yield* recorder.readStream({
      stream: fromStorage(letter.stream),
      after: letter.streamVersion - 1,
      upTo: letter.streamVersion,
      limit: 1
    })
    if (stored[0]?.position !== letter.position)
      return yield* Effect.fail("the log does not have this event, or no longer")
    const events = yield* decode(stored)
    const handled = events.filter(({ aggregate, event }) => projection.compiled.handles(aggregate, event._tag))
    return yield* store.takeBack(key, letter.position, (view) =>
      handled.length === 0 ? Effect.void : projection.compiled.handle(handled, view)
    )
  })
  const failing = new Set<string>()
  while (true) {
    const letters = yield* store.deadLetters(key, stream)
    const open = letters.filter(({ stream }) => !failing.has(stream))
    if (open.length === 0) return { replayed, left: letters }
    for (const letter of open) {
      if (failing.has(letter.stream)) continue
      const exit = yield* Effect.exit(handle(letter))
      if (exit._tag === "Success") {
        if (exit.value) replayed++
        continue
      }
      const cause = causeText(exit.cause)
      if (cause === undefined) return yield* Effect.interrupt
      const failure = Cause.squash(exit.cause)
      // a failure for which the event is not to blame
      if (isTransient(failure)) {
        const operation = `replay the dead letters of projection "${projection.name}"`
        return yield* new RecorderUnavailable({ operation, reason: cause, cause: failure })
      }
      failing.add(letter.stream)
      yield* store.triedAgain(key, letter.position, cause)
    }
  }
})
