/** A log on a server: its pages, and how they are read again where the server was unavailable. */
import { Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { messageOf } from "../internal/messageOf.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { Filter, ReadAll, ReadStream } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import * as StreamName from "../StreamName.ts"
import { fromEvent } from "./codec.ts"
import type { Connection } from "./connection.ts"
import type { ResolvedEvent } from "./events.ts"
import type { Names } from "./names.ts"
import { readAllPage, readStreamPage } from "./pages.ts"
import { patiently } from "./patience.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** The most events that are asked for at once. */
const PAGE = 4096

/** Tells which events of the log meet a filter. */
export const matcher = (filter: Filter | undefined): ((event: Notification) => boolean) => {
  const types = filter?.types === undefined ? undefined : new Set(filter.types)
  const categories = filter?.categories === undefined ? undefined : new Set(filter.categories)
  return ({ type, stream }) =>
    (types === undefined || types.has(type)) &&
    (categories === undefined || categories.has(StreamName.category(stream)))
}

/** What the library makes of an event of the server; `undefined` where it is none of the log's. */
export const toNotification = (names: Names, { event }: ResolvedEvent): Notification | undefined => {
  const stream = event === undefined ? undefined : names.fromServer(event.stream)
  if (event === undefined || stream === undefined) return undefined
  const { revision, position } = event
  try {
    if (position === undefined) throw new Error("the server does not tell its position; it is older than 22.6")
    return { ...fromEvent(event), stream, version: Number(revision), position: fromStorage(position) }
  } catch (cause) {
    const reason = `event ${revision} of stream "${stream}" can't be read: ${messageOf(cause)}`
    throw new RecorderFailure({ operation: "read the log", reason, cause })
  }
}

/** Makes notifications of what was read. */
export const toNotifications = (
  names: Names,
  page: ReadonlyArray<ResolvedEvent>
): Effect.Effect<ReadonlyArray<Notification>, RecorderFailure> =>
  Effect.try({
    try: () => {
      const notifications: Array<Notification> = []
      for (const one of page) {
        const notification = toNotification(names, one)
        if (notification !== undefined) notifications.push(notification)
      }
      return notifications
    },
    catch: (cause) => cause as RecorderFailure
  })

/** Reads the log of such names. */
export const make = (connection: Connection, names: Names) => {
  /** Nothing, where there is no such stream, or no longer. */
  const readServerStream = (
    stream: string,
    page: Pick<Parameters<typeof readStreamPage>[2], "direction" | "from" | "limit">
  ): Effect.Effect<ReadonlyArray<ResolvedEvent>, RecorderError> =>
    patiently(readStreamPage(connection, stream, { ...page, resolveLinks: false })).pipe(
      Effect.catch((error) =>
        error._tag === "StreamNotFound" || error._tag === "StreamTombstoned"
          ? Effect.succeed<ReadonlyArray<ResolvedEvent>>([])
          : Effect.fail(toRecorderError("read a stream", error))
      )
    )

  const readStream = ({ stream, direction, after, upTo, limit }: ReadStream) => {
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
    return readServerStream(names.toServer(stream), {
      direction: isBackward ? "backward" : "forward",
      from,
      limit: Math.min(inRange, Number.MAX_SAFE_INTEGER)
    }).pipe(
      Effect.flatMap((page) => toNotifications(names, page)),
      Effect.map((page) => (isBackward && upTo !== undefined ? page.filter(({ version }) => version >= upTo) : page))
    )
  }

  /** A page of the server's; a position that it refuses is told from a server that is unavailable. */
  const serverPage = (page: Pick<Parameters<typeof readAllPage>[1], "direction" | "from" | "limit" | "filter">) => {
    const read = readAllPage(connection, { ...page, resolveLinks: false })
    return Effect.catch(patiently(read), (error): Effect.Effect<ReadonlyArray<ResolvedEvent>, RecorderError> => {
      const failure = Effect.fail(toRecorderError("read the log", error))
      if (typeof page.from !== "bigint") return failure
      // the server's answer to a position that is no event's looks as if it were unavailable
      const probe = readAllPage(connection, {
        ...page,
        from: "start",
        filter: undefined,
        limit: 1,
        resolveLinks: false
      })
      return Effect.matchEffect(probe, {
        onFailure: () => failure,
        onSuccess: () => {
          const reason = `the server refuses position ${page.from}: it is no event's; positions come from reads, followers and appends`
          return Effect.fail(new RecorderFailure({ operation: "read the log", reason, cause: error }))
        }
      })
    })
  }

  const readAll = Effect.fnUntraced(function* ({ direction = "forward", after, upTo, filter, limit }: ReadAll) {
    const isBackward = direction === "backward"
    const matches = matcher(filter)
    const page: Array<Notification> = []
    let last = after
    while (page.length < limit) {
      // forward the server begins with the event at the position
      const overlap = !isBackward && last !== undefined ? 1 : 0
      const asked = Math.min(limit - page.length, PAGE) + overlap
      const read = yield* serverPage({
        direction,
        from: last ?? (isBackward ? "end" : "start"),
        limit: asked,
        filter: names.filter(filter)
      })
      for (const notification of yield* toNotifications(names, read)) {
        const { position } = notification
        if (last !== undefined && (isBackward ? position >= last : position <= last)) continue
        if (upTo !== undefined && (isBackward ? position < upTo : position > upTo)) return page
        if (!matches(notification)) continue
        page.push(notification)
        if (page.length === limit) return page
      }
      const end = read[read.length - 1]?.event?.position
      if (read.length < asked || end === undefined) break
      last = fromStorage(end)
    }
    return page as ReadonlyArray<Notification>
  })

  const head: Effect.Effect<Position | undefined, RecorderError> = Effect.map(
    readAll({ direction: "backward", limit: 1 }),
    ([event]) => event?.position
  )

  return { readServerStream, readStream, readAll, head }
}

/** What {@link make} makes. */
export type Log = ReturnType<typeof make>
