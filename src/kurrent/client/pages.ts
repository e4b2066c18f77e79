/**
 * Pages of streams and of `$all`. Each is read whole, within a deadline, and without requesting more events than the
 * page has.
 */
import type { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import type { Batches } from "./batches.ts"
import * as Batch from "./batches.ts"
import type { Received, ResolvedEvent } from "./events.ts"
import { parseReceived } from "./events.ts"
import type { AllFilter } from "./filters.ts"
import { toClientFilter } from "./filters.ts"

/** A page of a stream. */
export interface StreamPage {
  readonly direction: "forward" | "backward"
  /** The first revision to be read (inclusive). */
  readonly from: bigint | "start" | "end"
  readonly limit: number
  readonly resolveLinks: boolean
}

/** A page of `$all`. */
export interface AllPage {
  readonly direction: "forward" | "backward"
  /** A position: a forward read starts with it, a backward read before it. */
  readonly from: bigint | "start" | "end"
  readonly limit: number
  readonly filter: AllFilter | undefined
  readonly resolveLinks: boolean
}

/** What is kept of a page. */
export interface Keep<A> {
  /** Converts each event while others are still on their way. It must not throw. */
  readonly map: (received: Received) => A
  /** Whether nothing more is kept after this one. Default: everything is kept. */
  readonly isLast?: (kept: A) => boolean
}

const collect = async <A>(
  batches: Batches,
  alive: () => void,
  { map, isLast = () => false }: Keep<A>
): Promise<ReadonlyArray<A>> => {
  const page: Array<A> = []
  let isFull = false
  const iterator = batches[Symbol.asyncIterator]()
  let next = iterator.next()
  while (true) {
    const { done, value } = await next
    if (done) return page
    alive()
    // the client receives the next batch while this one is processed
    next = iterator.next()
    // events after the last one are read all the same: a call that is abandoned holds up the others on its connection
    for (let n = 0; n < value.length && !isFull; n++) {
      const kept = map(value[n] as Received)
      page.push(kept)
      isFull = isLast(kept)
    }
  }
}

/** Keeps everything that was received, unless something else is requested. */
const everything: <A>() => Keep<A> =
  // a caller that omits `keep` has no other type for A than the one that this returns
  (() => ({ map: parseReceived })) as never

/** Always passed together with a starting place: without one, the client reads forward whatever the direction. */
const directionOf = (direction: StreamPage["direction"]) => (direction === "forward" ? "forwards" : "backwards")

export const readStreamPage = <A = ResolvedEvent>(
  connection: Connection,
  stream: string,
  page: StreamPage,
  keep: () => Keep<A> = everything
): Effect.Effect<ReadonlyArray<A>, CallError> =>
  page.limit <= 0
    ? Effect.succeed<ReadonlyArray<A>>([])
    : connection.read("read a stream", stream, (client, alive) =>
        collect(
          Batch.ofStream(client, stream, {
            direction: directionOf(page.direction),
            fromRevision: page.from,
            maxCount: page.limit,
            resolveLinkTos: page.resolveLinks,
            ...(connection.credentials === undefined ? {} : { credentials: connection.credentials })
          }),
          alive,
          keep()
        )
      )

/**
 * A server that searches through many events for those that match a filter sends nothing in the meantime. It does not
 * count as silent as long as it answers other calls: the deadline limits silence, not work.
 */
const keepAliveWhileSearching = (
  { credentials, deadline }: Connection,
  client: KurrentDBClient,
  alive: () => void,
  isOver: () => boolean
): void => {
  const options = { direction: "backwards", fromPosition: "end", maxCount: 1 } as const
  const ask = async () => {
    for await (const _ of client.readAll(credentials === undefined ? options : { ...options, credentials })) alive()
  }
  const timer = setInterval(() => {
    if (isOver()) clearInterval(timer)
    else ask().catch(() => {})
  }, deadline / 3)
  timer.unref()
}

// a limit of 0 puts the server into a busy loop
export const readAllPage = <A = ResolvedEvent>(
  connection: Connection,
  page: AllPage,
  keep: () => Keep<A> = everything
): Effect.Effect<ReadonlyArray<A>, CallError> =>
  page.limit <= 0
    ? Effect.succeed<ReadonlyArray<A>>([])
    : connection.read("read $all", "$all", (client, alive, isOver) => {
        const filter = page.filter === undefined ? undefined : toClientFilter(page.filter)
        if (filter !== undefined) keepAliveWhileSearching(connection, client, alive, isOver)
        return collect(
          Batch.ofAll(client, {
            direction: directionOf(page.direction),
            fromPosition: typeof page.from === "bigint" ? { commit: page.from, prepare: page.from } : page.from,
            maxCount: page.limit,
            resolveLinkTos: page.resolveLinks,
            ...(filter === undefined ? {} : { filter }),
            ...(connection.credentials === undefined ? {} : { credentials: connection.credentials })
          }),
          alive,
          keep()
        )
      })
