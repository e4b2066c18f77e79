/** Follows a log with one subscription after another, each of which continues from where the last one ended. */
import { Clock, Effect, Exit, Option, Scope, Stream } from "effect"
import type { FollowError } from "../../EventSourcingError.ts"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { matcher } from "../../internal/backend/matching.ts"
import { intoPages, PAGE_BYTES } from "../../internal/backend/pageSize.ts"
import { furthest, requireReached } from "../../internal/following/followPages.ts"
import { reconnect } from "../../internal/following/reconnect.ts"
import type { Position } from "../../Position.ts"
import { fromStorage } from "../../Position.ts"
import type { Follow, FollowBatch, FollowState } from "../../Recorder.ts"
import { toClientFilter } from "../client/filters.ts"
import { allPage } from "../client/reads.ts"
import type { Checkpoint, Delivery, Subscription } from "../client/subscription.ts"
import * as Subscriptions from "../client/subscription.ts"
import * as Values from "../client/values.ts"
import type { Connection } from "../connection/connection.ts"
import { KurrentFailure } from "../connection/KurrentError.ts"
import { patiently } from "../connection/retryUnavailable.ts"
import type { Log } from "./log.ts"
import { toNotifications } from "./log.ts"
import type { Names } from "./names.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** After how many events, at most, the server reports how far it has searched. */
const SEARCH_WINDOW = 512

/** How often, in milliseconds, a follower whose filter matches nothing looks up how far it has come, at most. */
const PACE = 1000

/** After how many windows without any match the position of an event of others is reported as a follower's progress. */
const MANY_WINDOWS = 1000

const OPERATION = "follow the log"

interface Session {
  readonly subscription: Subscription
  readonly scope: Scope.Closeable
  /** The head of the log before the subscription began. */
  readonly head: Position | undefined
}

/** Followers of a log. They end with the scope. */
export const make = Effect.fnUntraced(function* (connection: Connection, names: Names, log: Log) {
  let isClosed = false
  const open = new Set<Subscription>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      const closed = new KurrentFailure({ operation: OPERATION, reason: "the log was closed" })
      for (const subscription of open) subscription.end(closed)
    })
  )

  /** A checkpoint may be the position of a record that is not the log's, after the log's last event. */
  const isRecord = (position: Position) =>
    Effect.matchEffect(
      patiently(
        allPage(connection, { direction: "forward", from: position, limit: 1, filter: undefined, resolveLinks: false })
      ),
      {
        onSuccess: (page) => Effect.succeed(page.length > 0),
        // the server refuses a position at which there is no record
        onFailure: (error) =>
          error._tag === "KurrentUnavailable" ? Effect.fail(toRecorderError(OPERATION, error)) : Effect.succeed(false)
      }
    )

  /** How far the log has come: its head, or the requested position if the server has a record there. */
  const reachedBy = (position: Position) =>
    Effect.flatMap(log.head, (head) =>
      head !== undefined && head >= position
        ? Effect.succeed(head)
        : Effect.map(isRecord(position), (is) => (is ? position : head))
    )

  return ({ after, filter, onState, maxBytes = PAGE_BYTES }: Follow): Stream.Stream<FollowBatch, FollowError> => {
    const told = (state: FollowState) => onState?.(state) ?? Effect.void
    const matches = matcher(filter)

    /** Opens a subscription after a place. */
    const start = Effect.fnUntraced(function* (from: Checkpoint | undefined, parent: Scope.Scope) {
      if (isClosed) {
        return yield* Effect.fail(new RecorderFailure({ operation: OPERATION, reason: "the log was closed" }))
      }
      const head = filter === undefined ? undefined : yield* log.head
      const scope = yield* Scope.fork(parent)
      const client = yield* Scope.provide(connection.subscriber, scope)
      const subscription = yield* Subscriptions.open(OPERATION, "$all", connection.deadline, (checkpointReached) => {
        const clientFilter = toClientFilter(names.filter(filter), {
          checkpointReached,
          checkpointInterval: 1,
          maxSearchWindow: SEARCH_WINDOW
        })
        return client.subscribeToAll(
          {
            fromPosition: from ?? "start",
            resolveLinkTos: false,
            ...(clientFilter === undefined ? {} : { filter: clientFilter })
          },
          Subscriptions.readableOptions
        )
      }).pipe(
        Scope.provide(scope),
        Effect.mapError((error) => toRecorderError(OPERATION, error))
      )
      open.add(subscription)
      yield* Scope.addFinalizer(
        scope,
        Effect.sync(() => open.delete(subscription))
      )
      const session: Session = { subscription, scope, head }
      return session
    })

    const follow = Effect.fnUntraced(function* (parent: Scope.Scope) {
      let session: Session | undefined
      /** Where the next subscription begins: after everything that was searched. */
      let from: Checkpoint | undefined = after === undefined ? undefined : { commit: after, prepare: after }
      let position = after
      let isLive = false
      let lastLook = 0
      /** How many checkpoints in a row the server has sent without any event. */
      let windows = 0
      let since: number | undefined
      let attempts = 0

      const toBatches = Effect.fnUntraced(function* ({ events, checkpoint, caughtUp }: Delivery, { head }: Session) {
        const all = yield* toNotifications(names, events)
        const notifications = all.filter(
          (notification) => (position === undefined || notification.position > position) && matches(notification)
        )
        windows = events.length > 0 ? 0 : windows + (checkpoint === undefined ? 0 : 1)
        const last = events[events.length - 1]?.event?.position
        if (last !== undefined) from = { commit: last, prepare: last }
        if (checkpoint !== undefined && (from === undefined || checkpoint.commit > from.commit)) from = checkpoint
        // a checkpoint that stands before an event is not a position: continuing after it would skip the event
        const looked =
          checkpoint !== undefined && checkpoint.commit === checkpoint.prepare && checkpoint.commit > 0n
            ? checkpoint.commit
            : undefined
        const before = position
        const wasLive = isLive
        const seen = filter === undefined || looked === undefined ? undefined : fromStorage(looked)
        position = furthest(
          position,
          notifications[notifications.length - 1]?.position,
          seen,
          caughtUp ? head : undefined
        )
        const hasCaughtUp = caughtUp && !isLive
        isLive ||= caughtUp
        if (notifications.length === 0 && position === before && !hasCaughtUp) return []
        return intoPages(notifications, maxBytes).map((page, i, pages): FollowBatch => {
          const isLast = i === pages.length - 1
          return isLast
            ? { notifications: page, position, caughtUp: isLive }
            : { notifications: page, position: page[page.length - 1]?.position, caughtUp: wasLive }
        })
      })

      /** The progress of a follower whose filter matches nothing: up to the last event before what was searched. */
      const lookBehind = Effect.fnUntraced(function* () {
        const now = yield* Clock.currentTimeMillis
        if (filter === undefined || now - lastLook < PACE) return undefined
        lastLook = now
        if (isLive) {
          const head = yield* log.head
          if (head === undefined || (position !== undefined && head <= position)) return undefined
          const [missed] = yield* log.readAll({ after: position, upTo: head, filter, limit: 1 })
          if (missed !== undefined) return undefined
          position = head
          from = { commit: head, prepare: head }
        } else {
          if (from === undefined) return undefined
          const reached = furthest(position, yield* log.before(fromStorage(from.commit), windows >= MANY_WINDOWS))
          if (reached === position) return undefined
          position = reached
        }
        const batch: FollowBatch = { notifications: [], position, caughtUp: isLive }
        return batch
      })

      const next = Effect.gen(function* () {
        if (session === undefined) {
          isLive = false
          session = yield* start(from, parent)
        }
        const { subscription } = session
        // with a filter, the server may stay silent about the events that it leaves out
        if (filter === undefined) yield* subscription.wait
        else yield* Effect.timeoutOption(subscription.wait, PACE)
        // more events are on their way: taking them one by one would cost most of the time
        if (!isLive) yield* Effect.yieldNow
        const deliveries = yield* Effect.mapError(subscription.take, (error) => toRecorderError(OPERATION, error))
        if (deliveries.length > 0) {
          since = undefined
          attempts = 0
        }
        const batches: Array<FollowBatch> = []
        for (const delivery of deliveries) {
          batches.push(...(yield* toBatches(delivery, session)))
        }
        if (batches.length === 0) {
          const batch = yield* Effect.orElseSucceed(lookBehind(), () => undefined)
          if (batch !== undefined) batches.push(batch)
        }
        return batches
      })

      const patient = next.pipe(
        Effect.tapError((error) =>
          Effect.gen(function* () {
            if (session !== undefined) {
              yield* Scope.close(session.scope, Exit.void)
              session = undefined
            }
            if (error._tag !== "RecorderUnavailable") return
            since ??= yield* Clock.currentTimeMillis
            attempts++
            yield* Effect.logWarning(`a follower is waiting for its log: ${error.message}`)
            yield* told({ _tag: "Retrying", position, since, attempts, error })
          })
        ),
        Effect.retry({ schedule: reconnect, while: (error) => error._tag === "RecorderUnavailable" }),
        Effect.tap((batches) =>
          batches.length === 0 ? Effect.void : told({ _tag: isLive ? "Live" : "CatchingUp", position })
        )
      )
      const reason = after === undefined ? undefined : Values.placeProblem("the position", after)
      if (reason !== undefined) return Stream.fail(new RecorderFailure({ operation: OPERATION, reason }))
      if (after !== undefined) yield* requireReached(reachedBy(after), { after, onState })
      yield* told({ _tag: "CatchingUp", position })
      return Stream.paginate(undefined, () =>
        Effect.map(patient, (batches) => [batches, Option.some(undefined)] as const)
      )
    })

    return Stream.unwrap(Effect.flatMap(Effect.scope, follow))
  }
})
