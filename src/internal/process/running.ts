/** Runs a process: from where its tracking is, for as long as nothing stops it. */
import { Cause, Clock, Duration, Effect, Metric, Schedule, Stream } from "effect"
import type {
  FollowError,
  ProcessSuperseded,
  RecorderError,
  RecorderFailure,
  TrackingConflict,
  UpstreamChanged
} from "../../EventSourcingError.ts"
import { RecorderUnavailable } from "../../EventSourcingError.ts"
import type { FollowState } from "../../LogReader.ts"
import type { Position } from "../../Position.ts"
import type { State } from "../../ProjectionRunner.ts"
import type { Service } from "../../Subscription.ts"
import { messageOf } from "../errors/messageOf.ts"
import { eventAt } from "../following/eventAt.ts"
import { furthest } from "../following/followPages.ts"
import { makePace } from "../following/pace.ts"
import { reconnect } from "../following/reconnect.ts"
import type { StoredBatch } from "../following/selection.ts"
import * as Metrics from "../observability/metrics.ts"
import type { Definition } from "./compiled.ts"
import type { FromNewerProgram, Parts, ReactError } from "./reactor.ts"
import { makeReactor } from "./reactor.ts"
import { verifyLog } from "./sameLog.ts"
import { readAfter, successorOf, takeOver, trackingOf } from "./trackingOf.ts"

/** The states that a runner reports on its own. */
export type Told = Extract<
  State,
  { readonly _tag: "Starting" | "Standby" | "CatchingUp" | "Live" | "Retrying" | "Blocked" }
>

/** The errors that stop a process. */
export type StopError<E> =
  | Exclude<ReactError<E>, TrackingConflict | FromNewerProgram<E> | RecorderUnavailable>
  | ProcessSuperseded
  | UpstreamChanged
  | RecorderFailure

/** How it is run, besides what its reactor needs. */
export interface Running {
  readonly subscription: Service
  /**
   * How long the tracking of another runner may stand still, in milliseconds, before this one handles the events
   * itself.
   */
  readonly patience: number
  readonly tell: (state: Told) => Effect.Effect<void>
  /** The end of the log when the process was started, if it is known. */
  readonly end: { readonly head: Position | undefined } | undefined
  /** Called at each step of progress. */
  readonly onProgress: () => void
}

/** How often the tracking is moved past events that have no handler, in milliseconds. */
const TRAILING = 10_000

/** The stored types of the events that have a handler. */
export const wantedTypes = ({ compiled, follows }: Definition<unknown, unknown>): ReadonlyArray<string> =>
  follows.flatMap(({ compiled: { byType }, name }) =>
    [...byType].flatMap(([type, { tag }]) => (compiled.handles(name, tag) ? [type] : []))
  )

/** The first event after a position that has a handler. */
export const nextWanted = (
  reader: Parts<unknown, unknown>["reader"],
  process: Definition<unknown, unknown>,
  after: Position | undefined,
  upTo?: Position
): Effect.Effect<Position | undefined, RecorderError> => {
  const types = wantedTypes(process)
  if (types.length === 0) return Effect.undefined
  const filter = { categories: process.follows.map(({ name }) => name), types }
  return Effect.map(reader.readAll({ after, upTo, filter, limit: 1 }), ([next]) => next?.position)
}

export const runProcess = Effect.fnUntraced(function* <E, R>(
  parts: Parts<E, R>,
  { end, onProgress, patience, subscription, tell }: Running
): Effect.fn.Return<never, StopError<E>, R> {
  const { attributes, process, reader, tracked } = parts
  const { name } = process
  const key = trackingOf(process)
  const lagSeconds = Metric.withAttributes(Metrics.processLagSeconds, attributes)
  /** The number of failed attempts since the last successful one. */
  let attempts = 0
  let isStandbyTold = false

  const retrying = (cause: unknown, delay: Duration.Duration) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      attempts++
      return tell({ _tag: "Retrying", cause, attempts, nextAttempt: now + Duration.toMillis(delay) })
    })

  /** One period of work: from the tracking position until something fails. */
  const stretch = Effect.gen(function* (): Effect.fn.Return<never, StretchError<E>, R> {
    if (attempts === 0) yield* tell({ _tag: "Starting" })
    const progress = yield* takeOver(tracked, process, reader, end)
    yield* verifyLog(process, reader, progress)
    const start = progress?.position
    const reactor = makeReactor(parts, progress)
    /** The position up to which every event was handled, or has no handler. */
    let passed = start
    let shown: Told = { _tag: "Starting" }
    /** The state while the log can't be reached. */
    let cutOff: Told | undefined
    const show = (next: Told) => {
      shown = next
      return tell(cutOff ?? next)
    }
    const onState = (followed: FollowState) => {
      if (followed._tag !== "Retrying") {
        const wasCutOff = cutOff !== undefined
        cutOff = undefined
        return wasCutOff ? tell(shown) : Effect.void
      }
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        cutOff = { _tag: "Retrying", cause: followed.error, attempts: followed.attempts, nextAttempt: now }
        return tell(cutOff)
      })
    }
    const pace = makePace(start, yield* Clock.currentTimeMillis)
    const take = Effect.fnUntraced(function* ({ caughtUp, head, notifications, position: read }: StoredBatch) {
      if (!caughtUp) {
        const position = furthest(passed, reactor.position())
        yield* show({ _tag: "CatchingUp", position, head, ...pace(position, head, 0, yield* Clock.currentTimeMillis) })
      }
      yield* reactor.handle(notifications)
      attempts = 0
      passed = furthest(passed, read, reactor.position())
      onProgress()
      const now = yield* Clock.currentTimeMillis
      const last = notifications[notifications.length - 1]
      yield* Metric.update(lagSeconds, caughtUp || last === undefined ? 0 : Math.max(now - last.recordedAt, 0) / 1000)
      const rate = pace(passed, head, notifications.length, now)
      yield* show(
        caughtUp ? { _tag: "Live", position: passed } : { _tag: "CatchingUp", position: passed, head, ...rate }
      )
    })
    const following = subscription
      .follow({ aggregates: process.follows }, { from: readAfter(start) ?? "start", onState })
      .pipe(Stream.runForEach(take))
    // a restart does not have to read events without a handler again
    const trailing = Effect.gen(function* () {
      yield* Effect.sleep(TRAILING)
      if (passed !== undefined) yield* reactor.passTo(passed)
    }).pipe(Effect.forever)
    return yield* Effect.raceFirst(
      Effect.andThen(following, Effect.die(new Error("a subscription ended without an error"))),
      trailing
    )
  })

  /**
   * Waits while the tracking moves, or there is nothing to handle. Events that existed at the last check, and that have
   * not been handled since, have lost their runner.
   */
  const standBy = Effect.gen(function* () {
    yield* tell({ _tag: "Standby" })
    if (!isStandbyTold) {
      yield* Effect.logInfo(`process "${name}" stands by: another runner of version ${process.version} works`)
    }
    isStandbyTold = true
    let seen: { readonly position: Position | undefined; readonly next: Position } | undefined
    while (true) {
      yield* Effect.sleep(patience)
      const position = yield* tracked.position(key)
      onProgress()
      if (successorOf(position) !== undefined) return
      const next = yield* nextWanted(reader, process, readAfter(position))
      if (next !== undefined && seen?.next === next && seen.position === position) return
      seen = next === undefined ? undefined : { position, next }
    }
  })

  /** Waits until a runner of a newer program has handled the next event, or the event is gone. */
  const awaitNewer = Effect.fnUntraced(function* ({ failed }: FromNewerProgram<E>) {
    const { cause, position, stream, type, version } = failed
    yield* Effect.logWarning(
      `process "${name}" waits for a runner that knows event ${version} of stream "${stream}" (${type}), which a newer program wrote: ${messageOf(cause)}`
    )
    for (let attempts = 1; ; attempts++) {
      const nextAttempt = (yield* Clock.currentTimeMillis) + patience
      yield* tell({ _tag: "Blocked", event: { position, stream, version, type }, cause, attempts, nextAttempt })
      yield* Effect.sleep(patience)
      const reached = yield* tracked.position(key)
      if (reached !== undefined && reached >= position) return
      if ((yield* eventAt(reader, position)) === undefined) return
    }
  })

  let step = yield* Schedule.toStep(reconnect)
  let period: Effect.Effect<unknown, StretchError<E>, R> = stretch
  while (true) {
    const exit = yield* Effect.exit(period)
    period = stretch
    if (exit._tag === "Success") continue
    const error = Cause.findErrorOption(exit.cause)
    if (error._tag === "None") return yield* Effect.failCause(exit.cause as Cause.Cause<never>)
    if (error.value._tag === "FromNewerProgram") {
      attempts = 0
      period = awaitNewer(error.value)
      continue
    }
    if (isConflict(error.value)) {
      attempts = 0
      period = standBy
      continue
    }
    if (!isTransient(error.value)) return yield* Effect.fail(error.value)
    // it has worked in between: the pauses start again with the shortest
    if (attempts === 0) step = yield* Schedule.toStep(reconnect)
    const [, delay] = yield* Effect.orDie(step(yield* Clock.currentTimeMillis, undefined))
    yield* Effect.logWarning(`process "${name}" tries again: ${error.value.message}`)
    yield* retrying(error.value, delay)
    yield* Effect.sleep(delay)
  }
})

type StretchError<E> = ReactError<E> | ProcessSuperseded | UpstreamChanged | FollowError

const isConflict = <E>(error: StretchError<E>): error is TrackingConflict => error._tag === "TrackingConflict"

/** Whether a failure is transient. */
const isTransient = <E>(error: StretchError<E>): error is Exclude<FollowError, RecorderFailure> =>
  error._tag === "RecorderUnavailable" || error._tag === "PositionBeyondHead"

/** Handles everything that exists, and ends. Returns how many events it has handled. */
export const settleProcess = Effect.fnUntraced(function* <E, R>(
  parts: Parts<E, R>
): Effect.fn.Return<number, Exclude<ReactError<E>, FromNewerProgram<E>> | ProcessSuperseded | UpstreamChanged, R> {
  const { process, reader, tracked } = parts
  const filter = { categories: process.follows.map(({ name }) => name) }
  const progress = yield* takeOver(tracked, process, reader, undefined)
  yield* Effect.catchTag(verifyLog(process, reader, progress), "PositionBeyondHead", (cause) =>
    Effect.fail(
      new RecorderUnavailable({ operation: `settle process "${process.name}"`, reason: cause.message, cause })
    )
  )
  const reactor = makeReactor(parts, progress)
  let handled = 0
  let after = readAfter(progress?.position)
  while (true) {
    const page = yield* reader.readAll({ after, filter, limit: PAGE })
    const last = page[page.length - 1]
    if (last === undefined) return handled
    // there is no other runner that could know the event
    handled += yield* Effect.catchTag(reactor.handle(page), "FromNewerProgram", ({ failed }) => Effect.fail(failed))
    after = last.position
  }
})

/** How many events are read at once when a process is settled. */
const PAGE = 512
