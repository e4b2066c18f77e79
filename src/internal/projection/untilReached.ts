import { Clock, Effect, Option } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ProjectionBehind } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type * as Projection from "../../Projection.ts"
import type { Progress, ViewStore } from "../../ViewStore.ts"
import { nextTick } from "../concurrency/ticks.ts"
import { readable } from "./readable.ts"
import { trackingKey } from "./trackingKey.ts"

/** How often a waiter polls for the progress of other processes, in milliseconds. */
const POLL = 50

/** How long a waiter gives other processes if the runner in its own has stopped, in milliseconds. */
const OTHERS = 1000

/** The result if it arrives within some milliseconds; none otherwise, or if a wait for a lock timed out. */
const within = <A>(
  self: Effect.Effect<A, RecorderError>,
  rest: number
): Effect.Effect<Option.Option<A>, RecorderError> =>
  (rest === Number.POSITIVE_INFINITY ? Effect.asSome(self) : Effect.timeoutOption(self, rest)).pipe(
    Effect.catchIf(
      (error) => error._tag === "RecorderUnavailable" && error.waited !== undefined,
      () => Effect.succeedNone
    )
  )

/**
 * Waits until the version that is read has processed everything up to a position. `timeout` is in milliseconds.
 *
 * The position is registered meanwhile: otherwise the position of events that the view ignores would be stored later,
 * together with other events.
 */
export const untilReached = (
  store: ViewStore<unknown, unknown>,
  projection: Projection.Any,
  position: Position,
  timeout: number
): Effect.Effect<void, ProjectionBehind | RecorderError> =>
  Effect.acquireUseRelease(
    Effect.sync(() => store.localProgress(projection.name).expect(position)),
    () => poll(store, projection, position, timeout),
    (leave) => Effect.sync(leave)
  )

/** Notified immediately of progress in this process; polls for the progress of others. */
const poll = Effect.fnUntraced(function* (
  store: ViewStore<unknown, unknown>,
  projection: Projection.Any,
  position: Position,
  timeout: number
): Effect.fn.Return<void, ProjectionBehind | RecorderError> {
  const key = trackingKey(projection)
  const local = store.localProgress(projection.name)
  const hasReached = (progress: Progress | undefined) =>
    progress !== undefined &&
    (progress.mode === "inline" || (progress.position !== undefined && progress.position >= position))
  const began = yield* Clock.currentTimeMillis
  let current: Progress | undefined
  let isTime = true
  while (true) {
    const seen = local.changes.current()
    const now = yield* Clock.currentTimeMillis
    const known = current === undefined ? undefined : local.position(current.version)
    // query when the poll interval has elapsed, or when local progress says the answer will be yes (another version may
    // be current by now)
    if (current === undefined || isTime || (known !== undefined && known >= position)) {
      // a database that does not answer, or a queue that stands still, is waited for no longer than the remaining time
      const rest = timeout === 0 ? OTHERS : timeout - (now - began)
      const versions = yield* within(store.versions(key), rest)
      isTime = false
      if (Option.isSome(versions)) {
        current = readable(projection, versions.value)
        if (hasReached(current)) return
      }
    }
    const version = current?.version ?? projection.version
    const stopped = local.stopped.get(version)
    const waited = stopped === undefined ? timeout : Math.min(timeout, OTHERS)
    const left = waited - ((yield* Clock.currentTimeMillis) - began)
    if (left <= 0) {
      return yield* new ProjectionBehind({
        ...{
          projection: projection.name,
          position,
          reached: current?.position ?? local.position(version),
          waited,
          stopped
        },
        blocked: stopped === undefined ? local.blocked.get(version) : undefined
      })
    }
    // all waiters poll at the same time
    const tick = Effect.map(nextTick(store, POLL), () => {
      isTime = true
    })
    const change = Effect.raceFirst(Effect.ignore(local.changes.after(seen)), tick)
    yield* left === Number.POSITIVE_INFINITY ? change : Effect.timeoutOption(change, left)
  }
})
