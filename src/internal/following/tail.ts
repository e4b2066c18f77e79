/** The newest events of a log, read once for all who follow it in this process. */
import type { Scope } from "effect"
import { Cause, Effect, Queue, Stream } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { isRecorderFailure, RecorderFailure } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { FollowState, Recorder } from "../../Recorder.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import { sizeOf } from "../backend/pageSize.ts"
import { messageOf } from "../errors/messageOf.ts"
import type { Growth } from "./follow.ts"
import { makeGrowth } from "./follow.ts"

/** The most events that are kept: whoever is further behind reads pages. */
const CAPACITY = 8192

/** The bytes of the events that are kept, unless an option sets another bound: 32 MiB. */
export const TAIL_BYTES = 32 * 1024 * 1024

/** States that are kept for one who takes long to be told. */
const STATES = 64

/** Events that somebody follows: of a category, and those of it that are wanted. */
export interface Interest {
  readonly categories: ReadonlyArray<string>
  /** Which events of the categories. */
  readonly matches: (event: Notification) => boolean
}

/** One who follows the log. */
export interface Member {
  /**
   * The events after a position, those of others among them; `undefined` if the tail does not reach back to it. All that the
   * member is interested in are there, since it has joined.
   */
  readonly behind: (after: Position | undefined) => ReadonlyArray<Notification> | undefined
}

/** What is kept of the end of a log: events in which those who have joined are interested, and no others. */
export interface Tail {
  /** Has such events kept from now on, until the scope closes. */
  readonly join: (interest: Interest) => Effect.Effect<Member, never, Scope.Scope>
  /** How far the log has been read; `undefined` in an empty log. */
  readonly position: () => Position | undefined
  readonly growth: Growth
  /** How often the log could not be reached so far: known before anything that was read afterwards. */
  readonly outages: () => number
  /** Tells of what the tail does, until the scope closes. */
  readonly watch: (onState: (state: FollowState) => Effect.Effect<void>) => Effect.Effect<void, never, Scope.Scope>
}

/** Follows a log from its head on, until the scope closes or it fails, of which it tells. */
export const make = (
  recorder: Recorder["Service"],
  { pageBytes, tailBytes }: { readonly pageBytes: number; readonly tailBytes: number },
  onFailed: Effect.Effect<void>
): Effect.Effect<Tail, RecorderError, Scope.Scope> =>
  Effect.gen(function* () {
    const start = yield* recorder.head
    /** Everything after `from` that somebody is interested in is in here, oldest first. */
    let events: Array<Notification> = []
    let from = start
    let size = 0
    const interests = new Map<string, Set<Interest>>()
    const isWanted = (event: Notification): boolean => {
      const interested = interests.get(StreamName.category(event.stream))
      if (interested !== undefined) for (const { matches } of interested) if (matches(event)) return true
      return false
    }
    /** Drops the oldest events down to half of the bounds, so that this is not done at each event. */
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
    const growth = makeGrowth()
    const watchers = new Set<Queue.Queue<FollowState>>()
    /** Each of those who watch is told in its own time: one that takes long, or fails, is no matter of the others. */
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

    const isAfter = (after: Position | undefined, place: Position | undefined): boolean =>
      place === undefined || (after !== undefined && after >= place)
    return {
      join: (interest) => {
        const joined = Effect.sync((): Member => {
          // what came before was kept, if at all, for others
          const since = position
          for (const category of interest.categories) {
            const interested = interests.get(category)
            if (interested === undefined) interests.set(category, new Set([interest]))
            else interested.add(interest)
          }
          return {
            behind: (after) => {
              if (!isAfter(after, from) || !isAfter(after, since)) return undefined
              if (after === undefined) return events
              // mostly only the last few are new
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
