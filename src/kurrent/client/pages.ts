/** Pages of streams and of `$all`: read whole, within a deadline, and no more of them than is asked for. */
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
  /** A position: forward the read begins with it, backward before it. */
  readonly from: bigint | "start" | "end"
  readonly limit: number
  readonly filter: AllFilter | undefined
  readonly resolveLinks: boolean
}

/** What is kept of a page. */
export interface Keep<A> {
  /** Makes what is kept of each event, while others are still on their way; it does not throw. */
  readonly map: (received: Received) => A
  /** Whether nothing more is kept after this one. Default: everything is. */
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
    // the client receives the next batch while this one is looked at
    next = iterator.next()
    // what comes after the last is read all the same: a call that is left early holds up the others of its connection
    for (let n = 0; n < value.length && !isFull; n++) {
      const kept = map(value[n] as Received)
      page.push(kept)
      isFull = isLast(kept)
    }
  }
}

/** What is kept unless something else is asked for. */
const everything: <A>() => Keep<A> =
  // who leaves it out has no other type for A than what this keeps
  (() => ({ map: parseReceived })) as never

/** With where to begin always given: without, the client reads forward whatever the direction. */
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
 * A server that looks through much for what a filter leaves says nothing meanwhile. It is not silent as long as it answers
 * others: the deadline is about silence, not about work.
 */
const whileItLooks = (
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

// a limit of 0 makes the server spin
export const readAllPage = <A = ResolvedEvent>(
  connection: Connection,
  page: AllPage,
  keep: () => Keep<A> = everything
): Effect.Effect<ReadonlyArray<A>, CallError> =>
  page.limit <= 0
    ? Effect.succeed<ReadonlyArray<A>>([])
    : connection.read("read $all", "$all", (client, alive, isOver) => {
        const filter = page.filter === undefined ? undefined : toClientFilter(page.filter)
        if (filter !== undefined) whileItLooks(connection, client, alive, isOver)
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
