/** The events that have led to one another, for the error about a loop. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { AnyRecorded } from "./compiled.ts"

/** How many events of a chain are named: enough for the members of a loop. */
const NAMED = 10

/** How many pages of the log are searched. */
const PAGES = 20

const PAGE = 500

/**
 * The event and those that led to it, the newest first: as far as they are close to one another in this log, as those
 * of a loop are.
 */
export const chainOf = Effect.fnUntraced(function* (
  reader: Pick<LogReader["Service"], "readAll">,
  cause: AnyRecorded
): Effect.fn.Return<ReadonlyArray<string>, RecorderError> {
  const chain = [`${cause.aggregate}.${cause.event._tag} of stream "${cause.stream}" at position ${cause.position}`]
  let wanted = cause.metadata.causationId
  let after: Position = cause.position
  for (let page = 0; page < PAGES && wanted !== undefined; page++) {
    const events = yield* reader.readAll({ direction: "backward", after, limit: PAGE })
    for (const event of events) {
      if (event.id !== wanted) continue
      chain.push(`${event.type} of stream "${event.stream}" at position ${event.position}`)
      wanted = causationIdOf(event)
      if (chain.length === NAMED) return [...chain, "…"]
    }
    const last = events[events.length - 1]
    if (last === undefined) break
    after = last.position
  }
  return wanted === undefined ? chain : [...chain, "…"]
})

/** The metadata of an event that can't be decoded are unknown. */
const causationIdOf = ({ metadata }: Notification): string | undefined =>
  /"\$causationId":"([0-9a-f-]{36})"/.exec(metadata)?.[1]
