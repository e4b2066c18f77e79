/** A log on a server: its pages, and the retries of a read that found the server unavailable. */
import { Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderFailure, RecorderFailure } from "../../EventSourcingError.ts"
import { isBeyond, matcher } from "../../internal/backend/matching.ts"
import type { Page } from "../../internal/backend/pageSize.ts"
import { makePage, sizeOf } from "../../internal/backend/pageSize.ts"
import type { ReadAll, ReadStream } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { Keep, StreamPage } from "../client/pages.ts"
import { readStreamPage } from "../client/pages.ts"
import { allPage } from "../client/reads.ts"
import * as Values from "../client/values.ts"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import { retryUnavailable } from "../connection/retryUnavailable.ts"
import type { Found, Unreadable } from "./found.ts"
import { ofLog, toFoundOf } from "./found.ts"
import * as Gaps from "./gaps.ts"
import { makeHeads } from "./heads.ts"
import type { Names } from "./names.ts"
import { makePageGuess } from "./pageGuess.ts"
import { toLogError, toRecorderError } from "./recorderErrors.ts"

/** The most events that are requested at once: many, since the client may stall for 40 ms in each read. */
export const PAGE = 4096

/** In milliseconds: if a page takes longer, the stretch without matches is remembered. */
const SLOW = 200

/** Reads the log whose streams have these names. */
export const make = (connection: Connection, names: Names) => {
  const toFound = toFoundOf(names)
  const everything = names.filter(undefined)
  const gaps = Gaps.make()

  /** Returns nothing if there is no such stream, or no longer. */
  const orNothing = <A>(read: Effect.Effect<ReadonlyArray<A>, CallError>) =>
    Effect.catch(
      retryUnavailable(read),
      (error): Effect.Effect<ReadonlyArray<A>, RecorderError> =>
        error._tag === "StreamNotFound" || error._tag === "StreamTombstoned"
          ? Effect.succeed([])
          : Effect.fail(toRecorderError("read a stream", error))
    )

  type ServerPage = Pick<StreamPage, "direction" | "from" | "limit">

  /** A page of any stream of the server. */
  const readServerStream = (stream: string, page: ServerPage) =>
    orNothing(readStreamPage(connection, stream, { ...page, resolveLinks: false }))

  const guess = makePageGuess()

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
      const looked = heads.searchedTo()
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

  const heads = makeHeads(
    connection,
    names,
    Effect.suspend(() => readAll({ direction: "backward", limit: 1 }))
  )

  return {
    readServerStream,
    readStream,
    readAll,
    before: heads.before,
    head: heads.head,
    /** Fails if the log can't be read. */
    check: heads.check
  }
}

/** What {@link make} returns. */
export type Log = ReturnType<typeof make>
