/** Opens the view of a runner, and waits until its log has reached the position of the view. */
import { Clock, Effect } from "effect"
import type {
  FollowError,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  RecorderError,
  UpstreamChanged
} from "../../EventSourcingError.ts"
import { UpstreamBehind } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { Opened, Seen } from "../../ViewStore.ts"
import { headOf } from "./lag.ts"
import type { End } from "./openView.ts"
import { openView } from "./openView.ts"
import type { RunnerContext } from "./runnerContext.ts"
import { CHECK_INTERVAL, keepsOtherVersions, nextCheck, ownVersion } from "./runnerContext.ts"
import * as Upstream from "./upstream.ts"

/** Opens the view at the start of each session. */
export interface Opener {
  readonly open: Effect.Effect<
    Opened,
    ProjectionSuperseded | ProjectionModeChanged | ProjectionRemoved | UpstreamChanged | FollowError
  >
  /** Checks whether the view exists: if it is missing later, it was removed, and must not be created again. */
  readonly noteExisting: Effect.Effect<void>
}

/** `endAtStart` is the end of the log when the runner was started, if the projection starts there. */
export const makeOpener = (context: RunnerContext, endAtStart: End | undefined): Opener => {
  const { key, local, projection, recorder, store } = context
  const beside = keepsOtherVersions(context)
  let existing = false
  let end = endAtStart

  const openOnce = Effect.gen(function* () {
    const opened = yield* openView(store, projection, "followed", recorder, { existing, beside, end })
    // wakes the readers that wait for the view to exist
    if (!existing) local.changes.notify()
    existing = true
    // a view that is reset starts at the end that the log has then
    end = undefined
    return opened
  })

  const open = Effect.gen(function* () {
    let attempts = 0
    /** What a log is compared with if nothing was stored of it. */
    let assumed: Seen | undefined
    while (true) {
      const opened = yield* openOnce
      const { position } = opened
      if (position === undefined) return opened
      const seen = opened.seen ?? (assumed?.position === position ? assumed : undefined)
      const verdict = yield* Upstream.inspect(recorder, seen?.aggregates ?? context.aggregates, position, seen)
      if (verdict._tag === "Changed") return yield* Upstream.toUpstreamChanged(projection, position, verdict)
      if (verdict._tag === "Same") {
        const own = yield* noteOwn(context, opened, position, verdict.seen)
        if (own === undefined) continue
        return { ...opened, seen: own }
      }
      assumed = verdict.seen
      attempts++
      yield* reportBehind(context, position, verdict.head, attempts)
      yield* awaitChange(context, verdict.head, position)
    }
  })

  return {
    open,
    noteExisting: Effect.ignore(
      Effect.map(store.versions(key), (versions) => {
        existing ||= ownVersion(context, versions) !== undefined
      })
    )
  }
}

/**
 * What was seen of the log, of the projection's own aggregates: a version that continues the work of another may have
 * different ones. Stored if an earlier version of the library has not stored it. `undefined` if the log has changed
 * meanwhile.
 */
const noteOwn = Effect.fnUntraced(function* (
  { aggregates, key, recorder, store }: RunnerContext,
  opened: Opened,
  position: Position,
  seen: Seen
): Effect.fn.Return<Seen | undefined, RecorderError> {
  const isOwn = isSame(seen.aggregates, aggregates)
  const own = isOwn
    ? { _tag: "Same" as const, seen }
    : yield* Upstream.inspect(recorder, aggregates, position, undefined)
  if (own._tag !== "Same") return undefined
  if (!isOwn || opened.seen === undefined) yield* store.note(key, own.seen)
  return own.seen
})

/** Reports that the log ends before the position of the view. */
const reportBehind = Effect.fnUntraced(function* (
  { key, projection, status }: RunnerContext,
  position: Position,
  head: Position | undefined,
  attempts: number
) {
  const cause = new UpstreamBehind({ projection: projection.name, upstream: key.upstream, position, head })
  if (attempts === 1) yield* Effect.logWarning(cause.message)
  yield* status.countRetry
  const nextAttempt = (yield* Clock.currentTimeMillis) + CHECK_INTERVAL
  yield* status.set({ _tag: "Retrying", cause, attempts, nextAttempt })
})

/** Waits until the end of the log or the tracking position has changed. */
const awaitChange = Effect.fnUntraced(function* (
  context: RunnerContext,
  head: Position | undefined,
  position: Position
) {
  while (true) {
    yield* nextCheck(context)
    const own = ownVersion(context, yield* context.store.versions(context.key))
    if (own?.position !== position || (own.status === "retired" && !own.ready)) return
    if ((yield* headOf(context.recorder)) !== head) return
  }
})

const isSame = (some: ReadonlyArray<string>, others: ReadonlyArray<string>): boolean =>
  some.toSorted().join() === others.toSorted().join()
