/** Follows a log with one subscription after another, each of which continues from where the last one ended. */
import { Clock, Effect, Exit, Option, Scope, Stream } from "effect"
import type { FollowError } from "../../EventSourcingError.ts"
import { RecorderFailure } from "../../EventSourcingError.ts"
import { PAGE_BYTES } from "../../internal/backend/pageSize.ts"
import { requireReached } from "../../internal/following/followPages.ts"
import { reconnect } from "../../internal/following/reconnect.ts"
import type { Position } from "../../Position.ts"
import type { Follow, FollowBatch, FollowState } from "../../Recorder.ts"
import { toClientFilter } from "../client/filters.ts"
import { allPage } from "../client/reads.ts"
import type { Checkpoint, Subscription } from "../client/subscription.ts"
import * as Subscriptions from "../client/subscription.ts"
import * as Values from "../client/values.ts"
import type { Connection } from "../connection/connection.ts"
import { KurrentFailure } from "../connection/KurrentError.ts"
import { retryUnavailable } from "../connection/retryUnavailable.ts"
import type { Log } from "./log.ts"
import type { Names } from "./names.ts"
import { makeProgress } from "./progress.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** After how many events, at most, the server reports how far it has searched. */
const SEARCH_WINDOW = 512

/** How often, in milliseconds, a follower whose filter matches nothing looks up how far it has come, at most. */
const PACE = 1000

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
      retryUnavailable(
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
    const notify = (state: FollowState) => onState?.(state) ?? Effect.void

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
      const progress = makeProgress({ names, log, after, filter, maxBytes })
      let since: number | undefined
      let attempts = 0

      const next = Effect.gen(function* () {
        if (session === undefined) {
          progress.begin()
          session = yield* start(progress.from(), parent)
        }
        const { subscription } = session
        // with a filter, the server may stay silent about the events that it leaves out
        if (filter === undefined) yield* subscription.wait
        else yield* Effect.timeoutOption(subscription.wait, PACE)
        // more events are on their way: taking them one by one would cost most of the time
        if (!progress.isLive()) yield* Effect.yieldNow
        const deliveries = yield* Effect.mapError(subscription.take, (error) => toRecorderError(OPERATION, error))
        if (deliveries.length > 0) {
          since = undefined
          attempts = 0
        }
        const batches: Array<FollowBatch> = []
        for (const delivery of deliveries) {
          batches.push(...(yield* progress.toBatches(delivery, session.head)))
        }
        if (batches.length === 0) {
          const batch = yield* Effect.orElseSucceed(progress.lookUp(PACE), () => undefined)
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
            yield* notify({ _tag: "Retrying", position: progress.position(), since, attempts, error })
          })
        ),
        Effect.retry({ schedule: reconnect, while: (error) => error._tag === "RecorderUnavailable" }),
        Effect.tap((batches) =>
          batches.length === 0
            ? Effect.void
            : notify({ _tag: progress.isLive() ? "Live" : "CatchingUp", position: progress.position() })
        )
      )
      const reason = after === undefined ? undefined : Values.placeProblem("the position", after)
      if (reason !== undefined) return Stream.fail(new RecorderFailure({ operation: OPERATION, reason }))
      if (after !== undefined) yield* requireReached(reachedBy(after), { after, onState })
      yield* notify({ _tag: "CatchingUp", position: after })
      return Stream.paginate(undefined, () =>
        Effect.map(patient, (batches) => [batches, Option.some(undefined)] as const)
      )
    })

    return Stream.unwrap(Effect.flatMap(Effect.scope, follow))
  }
})
