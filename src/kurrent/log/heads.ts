/** How far a log has come. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Received } from "../client/events.ts"
import { allPage } from "../client/reads.ts"
import type { Connection } from "../connection/connection.ts"
import { isTombstone } from "./found.ts"
import type { Names } from "./names.ts"
import { toLogError } from "./recorderErrors.ts"

/** How many of the server's last events are searched for one of the log. */
const FEW = 32

/** For how long, in milliseconds, the server then searches for it. */
const HEAD_SEARCH = 300

/** The position of an event of the server, and whether the event belongs to the log. Its content is not looked at. */
const toPlace =
  (names: Names) =>
  ({ event, commitPosition }: Received) => ({
    position: fromStorage(event?.position?.commit ?? commitPosition ?? 0n),
    isOwn: event !== undefined && names.fromServer(event.streamId) !== undefined && !isTombstone(event)
  })

/** The last event of the log; `last` is the page that has it, for which the server may have to search. */
export const makeHeads = (
  connection: Connection,
  names: Names,
  last: Effect.Effect<ReadonlyArray<Notification>, RecorderError>
) => {
  /** The server's last events, backward from the end: their positions, and whether they belong to the log. */
  const newest = (limit: number) =>
    Effect.mapError(
      allPage(
        connection,
        { direction: "backward", from: "end", limit, filter: undefined, resolveLinks: false },
        () => ({ map: toPlace(names) })
      ),
      toLogError
    )

  /**
   * The position of the last event of the log before another, if it is near. Otherwise, if `orAny`, the position of the
   * last event of any kind.
   */
  const before = (position: Position, orAny: boolean) =>
    Effect.map(
      Effect.mapError(
        allPage(
          connection,
          { direction: "backward", from: position, limit: FEW, filter: undefined, resolveLinks: false },
          () => ({ map: toPlace(names) })
        ),
        toLogError
      ),
      (few) => (few.find(({ isOwn }) => isOwn) ?? (orAny ? few[0] : undefined))?.position
    )

  /** The head that was returned last, and the server's last event at that time. */
  let seen: { readonly head: Position | undefined; readonly to: Position } | undefined
  /** Whether the search for the last event took too long, and no later call has found the head without a search. */
  let isSparse = false

  /**
   * Among many events of others, the server would have to search all of them for the last one of the log. If that takes
   * too long, the server's last event serves as well: no event of the log that existed then comes after it.
   */
  const head: Effect.Effect<Position | undefined, RecorderError> = Effect.gen(function* () {
    const remember = (head: Position | undefined, to: Position) => {
      seen = { head, to }
      return head
    }
    const [end] = yield* newest(1)
    if (end === undefined) return undefined
    if (end.isOwn) {
      isSparse = false
      return remember(end.position, end.position)
    }
    if (seen?.to === end.position) return seen.head
    const few = yield* newest(FEW)
    const near = few.find(({ isOwn, position }) => isOwn && position <= end.position)
    if (near !== undefined) {
      isSparse = false
      return remember(near.position, end.position)
    }
    const known = seen
    if (known !== undefined && few.some(({ position }) => position <= known.to)) {
      return remember(known.head, end.position)
    }
    if (few.length < FEW) return remember(undefined, end.position)
    if (isSparse) return remember(end.position, end.position)
    const found = yield* Effect.timeoutOption(last, HEAD_SEARCH)
    if (found._tag === "Some") return remember(found.value[0]?.position, end.position)
    isSparse = true
    return remember(end.position, end.position)
  })

  /** Fails if the log can't be read. */
  const check = Effect.asVoid(newest(1))

  return { head, before, check, searchedTo: () => seen?.to }
}
