import type { Context } from "effect"
import { Effect, Fiber, Option, Stream } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { ReadError, RecorderError } from "../../EventSourcingError.ts"
import type { Page } from "../../EventStore.ts"
import type { ReadStream, Recorder } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import type * as StreamName from "../../StreamName.ts"
import { isLastPage, PAGE_EVENTS } from "../backend/pageSize.ts"
import type { makeDecoder } from "./decodeEvents.ts"
import { decodeUpToFailure } from "./decodeUpToFailure.ts"
import { requireContiguous } from "./requireContiguous.ts"

/** Reads pages of a recorder, each while the one before it is decoded if the recorder wants that. */
export const makePages = (
  recorder: Recorder["Service"],
  decodePage: ReturnType<typeof makeDecoder>["decodePage"],
  maxBytes: number
) => {
  const { size, ahead } = recorder.paging ?? { size: PAGE_EVENTS, ahead: false }
  const bounds = { limit: size, maxBytes }

  const streamPage = (read: Omit<ReadStream, "limit" | "maxBytes">, isFirst: boolean) => {
    const whole = { ...read, ...bounds }
    return Effect.flatMap(recorder.readStream(whole), (page) => requireContiguous(whole, page, isFirst))
  }

  /**
   * Begins a read, or defers it until it is needed: within a transaction of the caller's there is only one at a time.
   */
  const readAhead = <A, E>(read: Effect.Effect<A, E>): Effect.Effect<Effect.Effect<A, E>> =>
    ahead
      ? Effect.contextWith((context: Context.Context<never>) =>
          recorder.inTransaction?.(context) === true
            ? Effect.succeed(read)
            : Effect.map(Effect.forkChild(read, { startImmediately: true }), Fiber.join)
        )
      : Effect.succeed(read)

  const readPage = (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    { known, upTo }: { readonly known: number | undefined; readonly upTo: number | undefined }
  ) => {
    const aggregateOf = () => aggregate
    const decode = (page: ReadonlyArray<Notification>, isFirst: boolean, next: Page["next"]) => {
      const overlap = isFirst && known !== undefined
      const notifications = overlap ? page.slice(1) : page
      return Effect.map(
        notifications.length === 0 ? Effect.succeed([]) : decodePage(aggregateOf, notifications),
        (events): Page => ({ known: overlap ? page[0] : undefined, notifications, events, next })
      )
    }
    const decoded = (
      page: Effect.Effect<ReadonlyArray<Notification>, RecorderError>,
      isFirst: boolean
    ): Effect.Effect<Page, ReadError> =>
      Effect.flatMap(page, (notifications) => {
        const last = notifications[notifications.length - 1]
        return last === undefined || isLastPage(notifications, bounds)
          ? decode(notifications, isFirst, undefined)
          : Effect.flatMap(readAhead(streamPage({ stream, after: last.version, upTo }, false)), (next) =>
              decode(notifications, isFirst, decoded(next, false))
            )
      })
    const after = known === undefined ? undefined : known - 1
    return decoded(streamPage({ stream, after, upTo }, true), true)
  }

  /** A stream of pages: each starts after the end of the one before. Events before a failure are delivered first. */
  const paginate = <Place, A, E, E2>(
    start: Place | undefined,
    page: (after: Place | undefined) => Effect.Effect<ReadonlyArray<Notification>, E>,
    placeOf: (last: Notification) => Place,
    decode: (page: ReadonlyArray<Notification>) => Effect.Effect<ReadonlyArray<A>, E2>
  ): Stream.Stream<A, E | E2> => {
    type Next = Effect.Effect<ReadonlyArray<Notification>, E | E2>
    const decodeUpTo = decodeUpToFailure(decode)
    const decoded = (notifications: ReadonlyArray<Notification>, next: Option.Option<Next>) =>
      Effect.map(
        decodeUpTo(notifications),
        ({ events, failure }) => [events, failure === undefined ? next : Option.some(failure)] as const
      )
    return Stream.paginate(page(start) as Next, (current) =>
      Effect.flatMap(current, (notifications) => {
        const last = notifications[notifications.length - 1]
        return last === undefined || isLastPage(notifications, bounds)
          ? decoded(notifications, Option.none())
          : Effect.flatMap(readAhead(page(placeOf(last))), (next) => decoded(notifications, Option.some(next)))
      })
    )
  }

  return { bounds, streamPage, readPage, paginate }
}
