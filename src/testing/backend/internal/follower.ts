import { assert } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Fiber, Stream } from "effect"
import type { FollowError } from "../../../EventSourcingError.ts"
import type { Position } from "../../../Position.ts"
import type { Follow, FollowBatch, Recorder } from "../../../Recorder.ts"
import type { Notification } from "../../../StoredEvent.ts"

/** What a follower has received so far. */
export interface Progress {
  readonly batches: ReadonlyArray<FollowBatch>
  readonly notifications: ReadonlyArray<Notification>
  readonly position: Position | undefined
  readonly caughtUp: boolean
}

/** A follower in the background, which keeps what it receives. */
export interface Follower extends Progress {
  /** Waits until it has received this much; fails if it ends before that. */
  readonly until: (condition: (progress: Progress) => boolean) => Effect.Effect<void, FollowError>
  /** Waits until it has reached a position, or a later one; fails if it ends before that. */
  readonly untilReached: (position: Position | undefined) => Effect.Effect<void, FollowError>
  readonly fiber: Fiber.Fiber<void, FollowError>
}

/** Starts a follower that is interrupted with the scope; checks each of its batches. */
export const startFollower = (
  recorder: Recorder["Service"],
  follow: Follow = {},
  options: { readonly beforeEach?: Effect.Effect<void> } = {}
): Effect.Effect<Follower, never, Scope.Scope> =>
  Effect.gen(function* () {
    const batches: Array<FollowBatch> = []
    const notifications: Array<Notification> = []
    const progress = {
      batches,
      notifications,
      position: follow.after,
      caughtUp: false
    }
    const waiting = new Set<() => void>()

    const take = (batch: FollowBatch): void => {
      assertGoesOn(progress.position, batch)
      batches.push(batch)
      notifications.push(...batch.notifications)
      progress.position = batch.position
      progress.caughtUp = batch.caughtUp
      for (const look of waiting) look()
    }
    const fiber = yield* recorder.follow(follow).pipe(
      Stream.runForEach((batch) =>
        Effect.andThen(
          options.beforeEach ?? Effect.void,
          Effect.sync(() => take(batch))
        )
      ),
      Effect.forkScoped({ startImmediately: true })
    )

    const reached = (condition: (progress: Progress) => boolean) =>
      Effect.callback<void>((resume) => {
        if (condition(progress)) return resume(Effect.void)
        const look = () => {
          if (condition(progress)) resume(Effect.void)
        }
        waiting.add(look)
        return Effect.sync(() => waiting.delete(look))
      })
    const ended = Effect.andThen(Fiber.join(fiber), Effect.die(new Error("the follower ended")))
    const until = (condition: (progress: Progress) => boolean) => Effect.raceFirst(reached(condition), ended)
    return Object.assign(progress, {
      until,
      untilReached: (position: Position | undefined) => until((progress) => hasReached(progress, position)),
      fiber
    })
  })

/**
 * Whether a follower has reached a position, or a later one: if logs share a server, a follower with a filter may
 * report the position of a record that does not belong to its log.
 */
export const hasReached = ({ position }: Pick<FollowBatch, "position">, wanted: Position | undefined): boolean =>
  wanted === undefined || (position !== undefined && position >= wanted)

/** Checks that a batch continues strictly after what was seen, and that its position is not before its last event. */
const assertGoesOn = (seen: Position | undefined, { notifications, position }: FollowBatch): void => {
  let last = seen
  for (const notification of notifications) {
    assert.isTrue(
      last === undefined || notification.position > last,
      `a follower that had seen ${last} got ${notification.position}`
    )
    last = notification.position
  }
  assert.isTrue(
    last === undefined || (position !== undefined && position >= last),
    `a follower that had seen ${last} was notified of ${position}`
  )
}
