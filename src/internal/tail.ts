/** The newest events of a log, read once for all who follow it in this process. */
import type { Scope } from "effect"
import { Cause, Effect, Queue, Stream } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { isRecorderFailure, RecorderFailure } from "../EventSourcingError.ts"
import type { Position } from "../Position.ts"
import type { FollowState, Recorder } from "../Recorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { Growth } from "./follow.ts"
import { makeGrowth } from "./follow.ts"
import { messageOf } from "./messageOf.ts"

/** Events that are kept: whoever is further behind reads pages. */
const CAPACITY = 4096

/** States that are kept for one who takes long to be told. */
const STATES = 64

/** What is kept of the end of a log. */
export interface Tail {
  /** The events behind a position; `undefined` where the tail does not reach back to it. */
  readonly behind: (after: Position | undefined) => ReadonlyArray<Notification> | undefined
  /** How far the log has been read; `undefined` in an empty log. */
  readonly position: () => Position | undefined
  readonly growth: Growth
  /** Tells of what the tail does, until the scope closes. */
  readonly watch: (onState: (state: FollowState) => Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
}

/** Follows a log from its head on, until the scope closes or it fails, of which it tells. */
export const make = (
  recorder: Recorder["Service"],
  onFailed: Effect.Effect<void>
): Effect.Effect<Tail, RecorderError, Scope.Scope> =>
  Effect.gen(function* () {
    const start = yield* recorder.head
    /** Everything behind `from` is in here, oldest first. */
    let events: Array<Notification> = []
    let from = start
    let position = start
    let failure: RecorderFailure | undefined
    const growth = makeGrowth()
    const watchers = new Set<Queue.Queue<FollowState>>()
    /** Each of those who watch is told in its own time: one that takes long, or fails, is no matter of the others. */
    const onState = (state: FollowState) =>
      Effect.sync(() => {
        for (const watcher of watchers) Queue.offerUnsafe(watcher, state)
      })

    yield* recorder.follow({ after: start, onState }).pipe(
      Stream.runForEach((batch) =>
        Effect.sync(() => {
          for (const event of batch.notifications) events.push(event)
          if (events.length > 2 * CAPACITY) {
            const kept = events.slice(-CAPACITY)
            from = events[events.length - CAPACITY - 1]?.position
            events = kept
          }
          position = batch.position
          growth.notify()
        })
      ),
      Effect.catchCause((cause) => {
        const error = Cause.squash(cause)
        failure = isRecorderFailure(error)
          ? error
          : new RecorderFailure({ operation: "follow the log", reason: messageOf(error), cause: error })
        growth.close()
        return onFailed
      }),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => growth.close()))

    const reaches = (after: Position | undefined): boolean =>
      from === undefined || (after !== undefined && after >= from)
    return {
      behind: (after) => {
        if (!reaches(after)) return undefined
        if (after === undefined) return events
        // mostly only the last few are new
        let first = events.length
        while (first > 0 && (events[first - 1] as Notification).position > after) first--
        return events.slice(first)
      },
      position: () => position,
      growth: {
        ...growth,
        after: (seen) => Effect.catch(growth.after(seen), (closed) => Effect.fail(failure ?? closed))
      },
      watch: (onState) =>
        Effect.gen(function* () {
          const told = yield* Effect.acquireRelease(Queue.sliding<FollowState>(STATES), (queue) => {
            watchers.delete(queue)
            return Queue.shutdown(queue)
          })
          watchers.add(told)
          const tell = (state: FollowState) =>
            Effect.catchCause(onState(state), (cause) =>
              Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("onState of a subscription failed", cause)
            )
          yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(told), tell)))
        })
    }
  })
