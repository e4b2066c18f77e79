/** Reads of streams and of all events, in pages, each within the deadline. */
import { Effect, Option, Stream } from "effect"
import type { Connection } from "../connection/connection.ts"
import { only } from "../connection/errors.ts"
import type { KurrentError, KurrentUnavailable, StreamError, StreamTombstoned } from "../connection/KurrentError.ts"
import { KurrentFailure } from "../connection/KurrentError.ts"
import { retryUnavailable, wasSilent } from "../connection/retryUnavailable.ts"
import type { ReadEvent, ResolvedEvent } from "./events.ts"
import { inPlace, toReadEvent } from "./events.ts"
import type { AllFilter } from "./filters.ts"
import type { AllPage, Keep, StreamPage } from "./pages.ts"
import { readAllPage, readStreamPage } from "./pages.ts"
import * as Values from "./values.ts"

/** How events are read. */
export interface ReadOptions {
  /** Default `forward`. */
  readonly direction?: "forward" | "backward" | undefined
  /** How many events to read at most: an integer of at least 0. Default: all there are. */
  readonly limit?: number | undefined
  /**
   * Whether links (events of type `$>`, as in the streams of system projections) are followed. Default: they are not.
   */
  readonly resolveLinks?: boolean | undefined
  /** How many events are requested at once and held in memory: an integer of at least 1. Default 512. */
  readonly pageSize?: number | undefined
}

/** How a stream is read. */
export interface ReadStreamOptions extends ReadOptions {
  /**
   * Start with this revision (inclusive in both directions). Default: the first event, or the last when reading
   * backward.
   */
  readonly from?: bigint | undefined
}

/** How all events are read. */
export interface ReadAllOptions extends ReadOptions {
  /**
   * Start here: forward with the event at this position (inclusive), backward with the one before it (exclusive). It
   * has to be the position of an event: the server refuses any other. Default: the first event, or the last when
   * reading backward.
   */
  readonly from?: bigint | undefined
  /**
   * Runs on the server, before the limit applies. Default: everything, including what the server records for itself.
   */
  readonly filter?: AllFilter | undefined
}

const READ_STREAM = "read a stream"
const READ_ALL = "read $all"
const REVISION = "query the revision"

const problemOf = ({ limit, pageSize, from }: ReadStreamOptions): string | undefined =>
  (limit === Number.POSITIVE_INFINITY ? undefined : Values.countProblem("limit", limit, 0, Number.MAX_SAFE_INTEGER)) ??
  Values.countProblem("pageSize", pageSize, 1) ??
  (from === undefined ? undefined : Values.placeProblem("from", from))

/** What remains of a read. */
interface Rest {
  readonly from: bigint | undefined
  readonly limit: number
  /** The place of the last event that was read, if there was one. */
  readonly last: bigint | undefined
}

const pages = <E>(
  operation: string,
  options: ReadStreamOptions,
  read: (rest: Rest, size: number) => Effect.Effect<readonly [ReadonlyArray<ReadEvent>, Rest | undefined], E>
): Stream.Stream<ReadEvent, E | KurrentFailure> => {
  const { from, limit = Number.POSITIVE_INFINITY, pageSize = 512 } = options
  const reason = problemOf(options)
  if (reason !== undefined) return Stream.fail(new KurrentFailure({ operation, reason }))
  const start: Rest = { from, limit, last: undefined }
  return limit === 0
    ? Stream.empty
    : Stream.paginate(start, (rest: Rest) =>
        Effect.map(
          read(rest, Math.min(rest.limit, pageSize)),
          ([events, next]) => [events, Option.fromUndefinedOr(next)] as const
        )
      )
}

export const readStream = (
  connection: Connection,
  stream: string,
  options: ReadStreamOptions = {}
): Stream.Stream<ReadEvent, StreamError> => {
  const { direction = "forward", resolveLinks = false } = options
  const reason = Values.streamProblem(stream)
  if (reason !== undefined) return Stream.fail(new KurrentFailure({ operation: READ_STREAM, reason }))
  const isForward = direction === "forward"
  return pages(READ_STREAM, options, (rest, size) =>
    Effect.map(
      streamPage(connection, stream, {
        ...{ direction, resolveLinks, limit: size },
        from: rest.from ?? (isForward ? "start" : "end")
      }),
      (page) => {
        const events = page.map(toReadEvent)
        const last = events[events.length - 1]
        const limit = rest.limit - events.length
        if (last === undefined || limit <= 0 || events.length < size) return [events, undefined] as const
        const { revision } = inPlace(last)
        const from = isForward ? revision + 1n : revision - 1n
        return [events, from < 0n ? undefined : { from, limit, last: revision }] as const
      }
    )
  )
}

/**
 * A page. Not every version of the server starts a backward read from beyond the end with the last event; this one
 * does.
 */
const streamPage = (
  connection: Connection,
  stream: string,
  page: StreamPage
): Effect.Effect<ReadonlyArray<ResolvedEvent>, StreamError> => {
  const narrow = only(READ_STREAM, "StreamNotFound", "StreamTombstoned")
  const read = (page: StreamPage) => retryUnavailable(readStreamPage(connection, stream, page))
  if (page.direction === "forward" || typeof page.from !== "bigint") return Effect.mapError(read(page), narrow)
  const { from } = page
  return Effect.catch(Effect.mapError(readStreamPage(connection, stream, page), narrow), (error) =>
    error._tag === "StreamNotFound" || error._tag === "StreamTombstoned"
      ? Effect.fail(error)
      : Effect.flatMap(currentRevision(connection, stream), (current) =>
          Effect.mapError(read(current !== "NoStream" && current < from ? { ...page, from: "end" } : page), narrow)
        )
  )
}

/** The revision of the last visible event; `Hidden` if the stream exists and none of its events is visible. */
export const lastRevision = (
  connection: Connection,
  stream: string
): Effect.Effect<bigint | "NoStream" | "Hidden", KurrentError | StreamTombstoned> =>
  retryUnavailable(
    readStreamPage(connection, stream, { direction: "backward", from: "end", limit: 1, resolveLinks: false })
  ).pipe(
    Effect.map(([last]) => last?.event?.revision ?? ("Hidden" as const)),
    Effect.mapError(only(REVISION, "StreamNotFound", "StreamTombstoned")),
    Effect.catchTag("StreamNotFound", () => Effect.succeed("NoStream" as const))
  )

/**
 * The current revision of a stream: that of its last event, or `NoStream` if there is none (also if it was deleted).
 */
export const currentRevision = (
  connection: Connection,
  stream: string
): Effect.Effect<bigint | "NoStream", KurrentError | StreamTombstoned> =>
  Values.check(REVISION, Values.streamProblem(stream)).pipe(
    Effect.andThen(lastRevision(connection, stream)),
    Effect.flatMap((last): Effect.Effect<bigint | "NoStream", KurrentFailure> => {
      if (last !== "Hidden") return Effect.succeed(last)
      const reason = `all events of stream "${stream}" are truncated or too old; the server does not report the revision then`
      return Effect.fail(new KurrentFailure({ operation: REVISION, reason }))
    })
  )

export const readAll = (
  connection: Connection,
  options: ReadAllOptions = {}
): Stream.Stream<ReadEvent, KurrentError> => {
  const { direction = "forward", filter, resolveLinks = false } = options
  const isForward = direction === "forward"
  return pages(READ_ALL, options, ({ from, last, limit }, size) => {
    // a forward read of the server begins with the event that was the last
    const overlap = isForward && last !== undefined ? 1 : 0
    const asked = size + overlap
    const page = { direction, resolveLinks, filter, limit: asked, from: from ?? (isForward ? "start" : "end") } as const
    return Effect.flatMap(allPage(connection, page), (read) =>
      Effect.gen(function* () {
        const all = read.map(toReadEvent)
        const events = overlap === 0 ? all : all.filter((event) => isBehind(inPlace(event).position, last))
        const end = all[all.length - 1]
        const left = limit - events.length
        if (end === undefined || left <= 0 || all.length < asked) return [events, undefined] as const
        const position = yield* positionOf(READ_ALL, inPlace(end).position)
        return [events, { from: position, last: position, limit: left }] as const
      })
    )
  })
}

const isBehind = (position: bigint | undefined, last: bigint | undefined): boolean =>
  position === undefined || last === undefined || position > last

/** A position. Servers before 22.6 do not always report it. */
export const positionOf = (operation: string, position: bigint | undefined): Effect.Effect<bigint, KurrentFailure> =>
  position === undefined
    ? Effect.fail(
        new KurrentFailure({
          operation,
          reason: "the server does not report the position of an event; it is older than 22.6"
        })
      )
    : Effect.succeed(position)

/** How often a read has to fail, while another one succeeds, before it is taken to be refused. */
const REFUSALS = 3

/**
 * A page. The server answers a position or a filter that it refuses in the same way as if it were unavailable. The two
 * are told apart by other reads, which a server that only refuses still answers.
 */
export const allPage = <A = ResolvedEvent>(
  connection: Connection,
  page: AllPage,
  keep?: () => Keep<A>
): Effect.Effect<ReadonlyArray<A>, KurrentUnavailable | KurrentFailure> => {
  const narrow = only(READ_ALL)
  const read = readAllPage<A>(connection, page, keep)
  const { direction, filter, from } = page
  if (filter === undefined && typeof from !== "bigint") {
    return Effect.mapError(retryUnavailable(read), narrow)
  }
  const isRead = (probe: Pick<AllPage, "direction" | "from">) =>
    Effect.match(readAllPage(connection, { ...probe, filter: undefined, limit: 1, resolveLinks: false }), {
      onSuccess: () => true,
      onFailure: () => false
    })
  const attempt = (failures: number): Effect.Effect<ReadonlyArray<A>, KurrentUnavailable | KurrentFailure> =>
    Effect.catchTag(Effect.mapError(read, narrow), "KurrentUnavailable", (error) =>
      Effect.gen(function* () {
        // a read that took too long was not refused
        if (wasSilent(error)) return yield* Effect.fail(error)
        const isFilter = filter !== undefined && (yield* isRead({ direction, from }))
        const isPosition = !isFilter && (yield* isRead({ direction: "forward", from: "start" }))
        if (!isFilter && !isPosition) return yield* Effect.mapError(retryUnavailable(read), narrow)
        if (failures + 1 < REFUSALS) return yield* attempt(failures + 1)
        const reason = isFilter
          ? "the server refuses the filter, because a pattern is not a regular expression of .NET"
          : `the server refuses position ${from}, because no event has it; take positions from reads, subscriptions and appends`
        return yield* Effect.fail(new KurrentFailure({ operation: READ_ALL, reason, cause: error }))
      })
    )
  return attempt(0)
}

/** The position of the last event of all, or of the last that matches a filter; `undefined` if there is none. */
export const commitPosition = (
  connection: Connection,
  filter?: AllFilter
): Effect.Effect<bigint | undefined, KurrentError> =>
  Effect.flatMap(
    allPage(connection, { direction: "backward", from: "end", limit: 1, filter, resolveLinks: false }),
    ([last]): Effect.Effect<bigint | undefined, KurrentFailure> =>
      last === undefined
        ? Effect.succeed(undefined)
        : positionOf("query the position", (last.link ?? last.event)?.position)
  )
