/** A log on a server: its pages, and the retries of a read that found the server unavailable. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderFailure, RecorderFailure } from "../../EventSourcingError.ts"
import { isBeyond, matcher } from "../../internal/backend/matching.ts"
import type { Bounds, Page } from "../../internal/backend/pageSize.ts"
import { makePage, sizeOf } from "../../internal/backend/pageSize.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { ReadAll, ReadStream } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Received, RecordedEvent, ResolvedEvent } from "../client/events.ts"
import type { Keep, StreamPage } from "../client/pages.ts"
import { readStreamPage } from "../client/pages.ts"
import { allPage } from "../client/reads.ts"
import * as Values from "../client/values.ts"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import { isAccessDenied } from "../connection/errors.ts"
import { patiently } from "../connection/retryUnavailable.ts"
import type { Place } from "./codec.ts"
import { fromEvent, fromReceived } from "./codec.ts"
import * as Gaps from "./gaps.ts"
import type { Names } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** The most events that are requested at once: many, since the client may stall for 40 ms in each read. */
export const PAGE = 4096

/** The fewest events that are first requested, unless the page has fewer. */
const FIRST = 16

/**
 * How many events to request at a time. The server sends every event that was requested, even after a page has reached
 * its size: a few are requested at first, then as many as the page is likely to hold.
 */
const makeGuess = () => {
  /** The estimated size of an event: quick to grow, slow to shrink. */
  let perEvent = 2 ** 17
  return {
    learn: ({ events, size }: Page) => {
      if (events.length > 0) perEvent = Math.max(size() / events.length, perEvent / 4)
    },
    next: ({ limit, maxBytes = Number.POSITIVE_INFINITY }: Bounds, { events, size }: Page): number => {
      const count = events.length
      const likely =
        count === 0
          ? Math.max(Math.ceil(maxBytes / perEvent), FIRST)
          : Math.ceil((1.5 * (maxBytes - size())) / Math.max(size() / count, 1))
      return Math.min(Math.max(likely, 4), limit - count)
    }
  }
}

/**
 * What an event of the server means to the log: a notification, or an event that is not the log's, of which only the
 * position is kept.
 */
type Found = Notification | { readonly stream: undefined; readonly position: Position }

/** An event that can't be read is kept until it would be delivered. */
type Unreadable = RecorderFailure

const unreadable = (stream: string, revision: bigint, cause: unknown): Unreadable => {
  const reason = `event ${revision} of stream "${stream}" can't be read: ${messageOf(cause)}`
  return new RecorderFailure({ operation: "read the log", reason, cause })
}

/**
 * Whether it is the event with which the server ends a stream that was deleted for good. It is not an event of the
 * stream and has no version in it.
 */
const isTombstone = ({ type, revision }: Pick<RecordedEvent, "type" | "revision">): boolean =>
  type === "$streamDeleted" && revision === TOMBSTONE

const TOMBSTONE = 2n ** 63n - 1n

const find = <E extends Pick<RecordedEvent, "type" | "revision">>(
  names: Names,
  event: E,
  serverStream: string,
  commit: bigint | undefined,
  decode: (event: E, place: Place) => Notification
): Found | Unreadable => {
  try {
    if (commit === undefined) throw new Error("the server does not report its position; it is older than 22.6")
    const position = fromStorage(commit)
    const stream = names.fromServer(serverStream)
    return stream === undefined || isTombstone(event)
      ? { stream: undefined, position }
      : decode(event, { stream, version: Number(event.revision), position })
  } catch (cause) {
    return unreadable(serverStream, event.revision, cause)
  }
}

/** Converts each event while the client receives the next; `undefined` for a link that leads nowhere. */
const toFoundOf =
  (names: Names) =>
  ({ event, commitPosition }: Received): Found | Unreadable | undefined =>
    event === undefined
      ? undefined
      : find(names, event, event.streamId, event.position?.commit ?? commitPosition, fromReceived)

/** The notifications among the events of a subscription. */
export const toNotifications = (
  names: Names,
  events: ReadonlyArray<ResolvedEvent>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> =>
  ofLog(
    events.map(({ event }) =>
      event === undefined ? undefined : find(names, event, event.stream, event.position, fromEvent)
    )
  )

/** The notifications among what was found. An event that can't be read is a failure. */
const ofLog = (
  found: ReadonlyArray<Found | Unreadable | undefined>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> => {
  const notifications: Array<Notification> = []
  for (const one of found) {
    if (isRecorderFailure(one)) return Effect.fail(one)
    if (one?.stream !== undefined) notifications.push(one)
  }
  return Effect.succeed(notifications)
}

const toLogError = (error: CallError): RecorderError =>
  isAccessDenied(error)
    ? new RecorderFailure({
        operation: "read the log",
        reason: `the user needs the right to read "$all", which contains the log; name the user in the metadata of "$all" (KurrentClient.updateStreamMetadata, $acl), or use a member of $admins (${toRecorderError("read the log", error).reason})`,
        cause: error
      })
    : toRecorderError("read the log", error)

/** The position of an event of the server, and whether the event belongs to the log. Its content is not looked at. */
const toPlace =
  (names: Names) =>
  ({ event, commitPosition }: Received) => ({
    position: fromStorage(event?.position?.commit ?? commitPosition ?? 0n),
    isOwn: event !== undefined && names.fromServer(event.streamId) !== undefined && !isTombstone(event)
  })

/** In milliseconds: if a page takes longer, the stretch without matches is remembered. */
const SLOW = 200

/** How many of the server's last events are searched for one of the log. */
const FEW = 32

/** For how long, in milliseconds, the server then searches for it. */
const HEAD_SEARCH = 300

/** Reads the log whose streams have these names. */
export const make = (connection: Connection, names: Names) => {
  const toFound = toFoundOf(names)
  const everything = names.filter(undefined)
  const gaps = Gaps.make()

  /** Returns nothing if there is no such stream, or no longer. */
  const orNothing = <A>(read: Effect.Effect<ReadonlyArray<A>, CallError>) =>
    Effect.catch(
      patiently(read),
      (error): Effect.Effect<ReadonlyArray<A>, RecorderError> =>
        error._tag === "StreamNotFound" || error._tag === "StreamTombstoned"
          ? Effect.succeed([])
          : Effect.fail(toRecorderError("read a stream", error))
    )

  type ServerPage = Pick<StreamPage, "direction" | "from" | "limit">

  /** A page of any stream of the server. */
  const readServerStream = (stream: string, page: ServerPage) =>
    orNothing(readStreamPage(connection, stream, { ...page, resolveLinks: false }))

  const guess = makeGuess()

  /** Keeps what is found, up to the event with which the page reaches its size. */
  const keepUpTo =
    (maxBytes: number | undefined, page: Page, isOfPage: (event: Notification) => boolean) =>
    (): Keep<Found | Unreadable | undefined> => {
      if (maxBytes === undefined) return { map: toFound }
      let size = page.size()
      return {
        map: toFound,
        isLast: (found) => {
          if (found === undefined || isRecorderFailure(found) || found.stream === undefined) return false
          if (isOfPage(found)) size += sizeOf(found)
          return size >= maxBytes
        }
      }
    }

  const readPart = ({ stream, direction, after, upTo, limit, maxBytes }: ReadStream, page: Page) => {
    const isBackward = direction === "backward"
    const first = isBackward ? (after === undefined ? undefined : after - 1) : Math.max((after ?? -1) + 1, 0)
    const inRange =
      upTo === undefined
        ? limit
        : isBackward
          ? first === undefined
            ? limit
            : Math.min(limit, first - Math.max(upTo, 0) + 1)
          : Math.min(limit, upTo - (first ?? 0) + 1)
    if (inRange <= 0 || (first !== undefined && first < 0)) return Effect.succeed([])
    const from = first === undefined ? "end" : BigInt(Math.min(first, Number.MAX_SAFE_INTEGER))
    const asking: StreamPage = {
      direction: isBackward ? "backward" : "forward",
      from,
      limit: Math.min(inRange, Number.MAX_SAFE_INTEGER),
      resolveLinks: false
    }
    const isInRange = ({ version }: Notification) => !isBackward || upTo === undefined || version >= upTo
    const keep = keepUpTo(maxBytes, page, isInRange)
    return orNothing(readStreamPage(connection, names.toServer(stream), asking, keep)).pipe(
      Effect.flatMap(ofLog),
      Effect.map((part) => part.filter(isInRange))
    )
  }

  const readStream = Effect.fnUntraced(function* (
    read: ReadStream
  ): Effect.fn.Return<ReadonlyArray<Notification>, RecorderError> {
    const page = makePage(read)
    let { after } = read
    while (!page.isFull()) {
      const limit = guess.next(read, page)
      const part = yield* readPart({ ...read, after, limit }, page)
      for (const event of part) page.add(event)
      if (part.length < limit) break
      after = part[part.length - 1]?.version
    }
    guess.learn(page)
    return page.events
  })

  const readAll = Effect.fnUntraced(function* (
    read: ReadAll
  ): Effect.fn.Return<ReadonlyArray<Notification>, RecorderError> {
    const { direction = "forward", after, upTo, filter, maxBytes } = read
    const reason = after === undefined ? undefined : Values.placeProblem("the position", after)
    if (reason !== undefined) return yield* new RecorderFailure({ operation: "read the log", reason })
    const isBackward = direction === "backward"
    const matches = matcher(filter)
    const page = makePage(read)
    let last = after
    const serverFilter = names.filter(filter)
    const past = isBackward ? undefined : gaps.past([serverFilter, everything], after)
    let least = 0
    const isAfterEnd = ({ position }: Notification) => isBeyond(position, upTo, isBackward)
    const isOfPage = (event: Notification) =>
      (last === undefined || (isBackward ? event.position < last : event.position > last)) &&
      !isAfterEnd(event) &&
      matches(event)
    while (!page.isFull()) {
      // a forward read of the server begins with the event at the position itself
      const overlap = !isBackward && last !== undefined ? 1 : 0
      const likely = Math.max(guess.next(read, page), Math.min(least, read.limit - page.events.length))
      const asked = Math.min(likely, PAGE) + overlap
      const isFirst = last === after
      const from = (isFirst ? past : undefined) ?? last ?? (isBackward ? "end" : "start")
      const asking = { direction, from, limit: asked, filter: serverFilter, resolveLinks: false } as const
      const looked = seen?.to
      const begun = performance.now()
      const found = yield* Effect.mapError(allPage(connection, asking, keepUpTo(maxBytes, page, isOfPage)), toLogError)
      if (!isBackward && performance.now() - begun > SLOW) {
        const [first] = found
        const at = first === undefined ? looked : isRecorderFailure(first) ? undefined : first.position
        if (at !== undefined) gaps.note(serverFilter, { after: last, at })
      }
      const events = yield* ofLog(found)
      for (const event of events) if (isOfPage(event) && !page.isFull()) page.add(event)
      const end = found[found.length - 1]
      if (found.length < asked || end === undefined || isRecorderFailure(end) || events.some(isAfterEnd)) break
      last = end.position
      // there may be many events of which none is of the page
      least = page.events.length === 0 ? 4 * asked : 0
    }
    guess.learn(page)
    return page.events
  })

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
    const answer = (head: Position | undefined, to: Position) => {
      seen = { head, to }
      return head
    }
    const [end] = yield* newest(1)
    if (end === undefined) return undefined
    if (end.isOwn) {
      isSparse = false
      return answer(end.position, end.position)
    }
    if (seen?.to === end.position) return seen.head
    const few = yield* newest(FEW)
    const last = few.find(({ isOwn, position }) => isOwn && position <= end.position)
    if (last !== undefined) {
      isSparse = false
      return answer(last.position, end.position)
    }
    const known = seen
    if (known !== undefined && few.some(({ position }) => position <= known.to)) return answer(known.head, end.position)
    if (few.length < FEW) return answer(undefined, end.position)
    if (isSparse) return answer(end.position, end.position)
    const search = readAll({ direction: "backward", limit: 1 })
    const found = yield* Effect.timeoutOption(search, HEAD_SEARCH)
    if (found._tag === "Some") return answer(found.value[0]?.position, end.position)
    isSparse = true
    return answer(end.position, end.position)
  })

  /** Fails if the log can't be read. */
  const check = Effect.asVoid(newest(1))

  return { readServerStream, readStream, readAll, before, head, check }
}

/** What {@link make} returns. */
export type Log = ReturnType<typeof make>
