/** The newest events of a log, read once for all followers in this process. */
import type { Scope } from "effect"
import { Cause, Effect, Queue, Stream } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderFailure, RecorderFailure } from "../../EventSourcingError.ts"
import type { FollowState, LogReader } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { sizeOf } from "../backend/pageSize.ts"
import { messageOf } from "../errors/messageOf.ts"
import type { ChangeSignal } from "./changeSignal.ts"
import { makeChangeSignal } from "./changeSignal.ts"

/** How many events are kept; subscribers that lag further read pages. */
const CAPACITY = 8192

/** The bytes of the events that are kept, unless an option sets another limit: 32 MiB. */
export const TAIL_BYTES = 32 * 1024 * 1024

/** How many states are kept for a watcher that is slow to handle them. */
const STATES = 64

/** The events that somebody follows: their categories, and which events of those. */
export interface Interest {
  readonly categories: ReadonlyArray<string>
  /** Which events of the categories are wanted. */
  readonly matches: (event: Notification) => boolean
}

/** A follower of the log. */
export interface Member {
  /**
   * The events after a position, including those of other members; `undefined` if the tail does not reach back that
   * far. It contains every event that the member is interested in, since it has joined.
   */
  readonly eventsAfter: (after: Position | undefined) => ReadonlyArray<Notification> | undefined
}

/** The kept end of a log: only events in which a member is interested. */
export interface Tail {
  /** Keeps such events from now on, until the scope closes. */
  readonly join: (interest: Interest) => Effect.Effect<Member, never, Scope.Scope>
  /** How far the log has been read; `undefined` in an empty log. */
  readonly position: () => Position | undefined
  readonly changes: ChangeSignal
  /** How often the log could not be reached so far. An outage is counted before anything that is read after it. */
  readonly outages: () => number
  /** Reports the states of the tail, until the scope closes. */
  readonly watch: (onState: (state: FollowState) => Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
}

/** Follows a log from its head, until the scope closes or the log fails; a failure runs `onFailed`. */
export const make = (
  recorder: LogReader["Service"],
  { pageBytes, tailBytes }: { readonly pageBytes: number; readonly tailBytes: number },
  onFailed: Effect.Effect<void>
): Effect.Effect<Tail, RecorderError, Scope.Scope> =>
  Effect.gen(function* () {
    const start = yield* recorder.head
    /** Every event after `from` in which a member is interested, oldest first. */
    let events: Array<Notification> = []
    let from = start
    let size = 0
    const interests = new Map<string, Set<Interest>>()
    const isWanted = (event: Notification): boolean => {
      const interested = interests.get(StreamName.category(event.stream))
      if (interested !== undefined) for (const { matches } of interested) if (matches(event)) return true
      return false
    }
    /** Drops the oldest events down to half of the limits, so that this does not happen at each event. */
    const forget = () => {
      let first = Math.max(events.length - CAPACITY / 2, 0)
      for (let i = 0; i < first; i++) size -= sizeOf(events[i] as Notification)
      for (; size > tailBytes / 2 && first < events.length; first++) size -= sizeOf(events[first] as Notification)
      from = events[first - 1]?.position ?? from
      events = events.slice(first)
    }
    let position = start
    let failure: RecorderFailure | undefined
    let outages = 0
    const changes = makeChangeSignal()
    const watchers = new Set<Queue.Queue<FollowState>>()
    /** Each watcher is notified in its own time: a slow or failing one does not affect the others. */
    const onState = (state: FollowState) =>
      Effect.sync(() => {
        if (state._tag === "Retrying") outages++
        for (const watcher of watchers) Queue.offerUnsafe(watcher, state)
      })

    yield* recorder.follow({ after: start, onState, maxBytes: pageBytes }).pipe(
      Stream.runForEach((batch) =>
        Effect.sync(() => {
          for (const event of batch.notifications) {
            if (!isWanted(event)) continue
            events.push(event)
            size += sizeOf(event)
            if (events.length > CAPACITY || size > tailBytes) forget()
          }
          position = batch.position
          changes.notify()
        })
      ),
      Effect.catchCause((cause) => {
        const error = Cause.squash(cause)
        failure = isRecorderFailure(error)
          ? error
          : new RecorderFailure({ operation: "follow the log", reason: messageOf(error), cause: error })
        changes.close()
        return onFailed
      }),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => changes.close()))

    const isAfter = (after: Position | undefined, place: Position | undefined): boolean =>
      place === undefined || (after !== undefined && after >= place)
    return {
      join: (interest) => {
        const joined = Effect.sync((): Member => {
          // earlier events were kept, if at all, for other members
          const since = position
          for (const category of interest.categories) {
            const interested = interests.get(category)
            if (interested === undefined) interests.set(category, new Set([interest]))
            else interested.add(interest)
          }
          return {
            eventsAfter: (after) => {
              if (!isAfter(after, from) || !isAfter(after, since)) return undefined
              if (after === undefined) return events
              // usually only the last few are new
              let first = events.length
              while (first > 0 && (events[first - 1] as Notification).position > after) first--
              return events.slice(first)
            }
          }
        })
        const left = Effect.sync(() => {
          for (const category of interest.categories) {
            const interested = interests.get(category)
            interested?.delete(interest)
            if (interested?.size === 0) interests.delete(category)
          }
        })
        return Effect.acquireRelease(joined, () => left)
      },
      position: () => position,
      outages: () => outages,
      changes: {
        ...changes,
        after: (seen) => Effect.catch(changes.after(seen), (closed) => Effect.fail(failure ?? closed))
      },
      watch: (onState) =>
        Effect.gen(function* () {
          const states = yield* Effect.acquireRelease(Queue.sliding<FollowState>(STATES), (queue) => {
            watchers.delete(queue)
            return Queue.shutdown(queue)
          })
          watchers.add(states)
          const report = (state: FollowState) =>
            Effect.catchCause(onState(state), (cause) =>
              Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.logError("onState of a subscription failed", cause)
            )
          yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(states), report)))
        })
    }
  })
