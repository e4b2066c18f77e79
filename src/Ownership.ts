/**
 * Which of several runners of one projection works, in one process or in several; the others stand by.
 *
 * Ownership only avoids duplicate work. Exactly-once processing does not depend on it: if two runners both believe that
 * they are the owner, only one of them can advance the tracking position (G6).
 */
import { Clock, Effect } from "effect"
import type { RecorderError } from "./EventSourcingError.ts"
import { nextTick } from "./internal/concurrency/ticks.ts"
import * as Uuid from "./internal/encoding/uuid.ts"
import { reconnect } from "./internal/following/reconnect.ts"
import type * as Tracking from "./Tracking.ts"
import type { ViewStore } from "./ViewStore.ts"

/** Decides which runner owns a version of a projection. */
export interface Ownership {
  /**
   * Waits until it is the owner, then runs an effect for as long as it is. It runs the effect again, from the
   * beginning, whenever it becomes the owner again. When the effect ends, it releases the ownership.
   */
  readonly whileOwner: <A, E, R>(
    key: Tracking.Key,
    self: Effect.Effect<A, E, R>,
    options: {
      /** Runs when another runner turns out to be the owner. */
      readonly onStandby: Effect.Effect<void>
      /** Called when the current owner cannot be determined. */
      readonly onUnavailable: (error: RecorderError) => Effect.Effect<void>
    }
  ) => Effect.Effect<A, E | RecorderError, R>
}

/**
 * Ownership by a lease in the view's database: taken for `milliseconds`, renewed after a third of that. If the owner
 * disappears without releasing it, another takes over after that time.
 */
export const lease = (store: Pick<ViewStore<never, never>, "lease">, milliseconds: number): Ownership => ({
  whileOwner: (key, self, { onStandby, onUnavailable }) =>
    Effect.gen(function* () {
      const holder = Uuid.v7(yield* Clock.currentTimeMillis)
      const take = store.lease(key, holder, milliseconds)
      const lookInterval = Math.min(milliseconds / 4, 1000)
      const acquired = Effect.gen(function* () {
        let isReported = false
        while (!(yield* take)) {
          if (!isReported) yield* onStandby
          isReported = true
          yield* nextTick(store, lookInterval)
        }
      }).pipe(
        Effect.tapError((error) => (error._tag === "RecorderUnavailable" ? onUnavailable(error) : Effect.void)),
        Effect.retry({ schedule: reconnect, while: (error) => error._tag === "RecorderUnavailable" })
      )
      /**
       * Ends when another is the owner. It does not end if the owner can't be determined: the renewal may be waiting
       * for a long transaction of this very runner.
       */
      const lost = Effect.gen(function* () {
        let isOwner = true
        while (isOwner) {
          yield* nextTick(store, milliseconds / 3)
          isOwner = yield* Effect.orElseSucceed(take, () => true)
        }
      })
      const release = store.lease(key, holder, 0).pipe(Effect.timeout("1 second"), Effect.ignore)
      const term = Effect.raceFirst(
        Effect.map(self, (result) => ({ result })),
        Effect.as(lost, undefined)
      )
      while (true) {
        const ended = yield* Effect.ensuring(Effect.andThen(acquired, term), release)
        if (ended !== undefined) return ended.result
        yield* Effect.logWarning(`projection "${key.projection}" lost its lease and is on standby`)
      }
    })
})
