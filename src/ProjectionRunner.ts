/**
 * Runs projections: one fiber each, which reports its state and never stops silently (G12).
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Schema, Stream, SubscriptionRef } from "effect"
 * import { Aggregate, EventStore, Projection, ProjectionRunner } from "effect-eventsourcing"
 * import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
 *
 * const Dog = Aggregate.make("Dog", {
 *   state: { name: Schema.String },
 *   creation: { Registered: { name: Schema.String } },
 *   events: {},
 *   reduce: { Registered: ({ name }) => ({ name }) }
 * })
 * const Dogs = Projection.make("dogs", {
 *   aggregates: [Dog],
 *   view: Projection.memory(() => 0),
 *   handlers: { Dog: { Registered: (_event, view) => view.update((count) => count + 1) } }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const runner = yield* ProjectionRunner.make(Dogs)
 *   yield* SubscriptionRef.changes(runner.state).pipe(
 *     Stream.takeUntil(({ _tag }) => _tag === "Live"),
 *     Stream.runDrain
 *   )
 *   console.log("live") // prints: live
 * })
 *
 * Effect.scoped(program).pipe(Effect.provide(Layer.merge(MemoryLayer(), MemoryViews())), NodeRuntime.runMain)
 * ```
 */
import type { Scope } from "effect"
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Pull,
  Schedule,
  Stream,
  SubscriptionRef
} from "effect"
import type {
  FollowError,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  RecorderError,
  TrackingConflict
} from "./EventSourcingError.ts"
import {
  PositionBeyondHead,
  ProjectionFailed,
  RecorderFailure,
  UpstreamBehind,
  UpstreamChanged
} from "./EventSourcingError.ts"
import { checkCount, milliseconds } from "./internal/backend/options.ts"
import { gather } from "./internal/concurrency/gather.ts"
import { nextTick } from "./internal/concurrency/ticks.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import { makeDecoder } from "./internal/eventStore/decodeEvents.ts"
import { reconnect } from "./internal/following/reconnect.ts"
import type { StoredBatch } from "./internal/following/selection.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import { definedOtherwise } from "./internal/projection/defineProjection.ts"
import type { End } from "./internal/projection/openView.ts"
import { openView } from "./internal/projection/openView.ts"
import type { BlockedOn } from "./internal/projection/projectionProcessor.ts"
import * as Projecting from "./internal/projection/projectionProcessor.ts"
import { keyOf } from "./internal/projection/trackingKey.ts"
import * as Upstream from "./internal/projection/upstream.ts"
import { outsideTransactions } from "./internal/sql/outsideTransactions.ts"
import type { FollowState } from "./LogReader.ts"
import { LogReader } from "./LogReader.ts"
import { Mapper } from "./Mapper.ts"
import * as Ownership from "./Ownership.ts"
import type { Position } from "./Position.ts"
import type * as Projection from "./Projection.ts"
import { storeOf } from "./Projection.ts"
import { Subscription } from "./Subscription.ts"
import type * as View from "./View.ts"
import type * as ViewStores from "./ViewStore.ts"
import type { Progress } from "./ViewStore.ts"

/** What a runner is doing. */
export type State =
  /** It opens its view and finds out where to resume. */
  | { readonly _tag: "Starting" }
  /** Another runner of the same version is working; this one takes over when that one is gone. */
  | { readonly _tag: "Standby" }
  /** It processes existing events. */
  | {
      readonly _tag: "CatchingUp"
      readonly position: Position | undefined
      /** The end of the log, as far as it is known. */
      readonly head: Position | undefined
      readonly eventsPerSecond: number
      /** How long it is going to take at this rate; `undefined` if there is no rate yet. */
      readonly remaining: Duration.Duration | undefined
    }
  /** It has reached the end of the log, and processes new events as they arrive. */
  | { readonly _tag: "Live"; readonly position: Position | undefined }
  /**
   * Its log or its view can't be reached at the moment, or the log ends before the view's position (`UpstreamBehind`).
   * `nextAttempt` is when it tries again (in milliseconds since the epoch).
   */
  | { readonly _tag: "Retrying"; readonly cause: unknown; readonly attempts: number; readonly nextAttempt: number }
  /** A handler fails on an event; `nextAttempt` is when it is retried (in milliseconds since the epoch). */
  | {
      readonly _tag: "Blocked"
      readonly event: BlockedOn
      readonly cause: unknown
      readonly attempts: number
      readonly nextAttempt: number
    }
  /** Handlers have had these events for longer than `slowAfter`: they are still working, or will never return. */
  | {
      readonly _tag: "Slow"
      /** The first of the events. */
      readonly event: BlockedOn
      /** How many events the handlers have. */
      readonly events: number
      /** Since when they have them, in milliseconds since the epoch. */
      readonly since: number
    }
  /** It no longer works; `error` is why. */
  | { readonly _tag: "Stopped"; readonly error: RunnerError | "interrupted" }

/** The errors that stop a runner. Transient failures do not: they are retried indefinitely. */
export type RunnerError =
  | ProjectionFailed
  | ProjectionSuperseded
  | ProjectionModeChanged
  | ProjectionRemoved
  | UpstreamChanged
  | RecorderFailure

/** How a projection is run. */
export interface Options {
  /**
   * When to retry an event on which a handler fails; the input of the schedule is the handler's error. Default: 5
   * times, after 100 ms, 200 ms, 400 ms, 800 ms and 1.6 s. Side effects (`Projection.atLeastOnce`) depend on systems
   * that may be down for any time. They are retried indefinitely, after 100 ms and then after twice the last pause, up
   * to a minute; the runner is `Blocked` meanwhile.
   *
   * Transient failures of a database (connections, locks, deadlocks) are retried indefinitely in any case.
   */
  readonly retry?: Schedule.Schedule<unknown>
  /**
   * What to do with an event when `retry` is exhausted. With `stop` (the default), the runner stops at the event. With
   * `set-aside`, the event is dead-lettered and the runner continues; later events of its stream are dead-lettered too.
   * See `Projection.replay`.
   *
   * An event whose type or schema version is unknown here is never dead-lettered, since a newer program wrote it.
   * Instead, the runner releases its lease before each new attempt, so that a runner of the newer program can take
   * over.
   */
  readonly onFailure?: "stop" | "set-aside"
  /**
   * The most events in a transaction, from 1 to 512. Default 512. While live, a batch is usually a single event. A
   * transaction also ends with the event at which it has taken a second, or 75 ms in a SQLite file, so that other
   * writers are not held up.
   */
  readonly maxBatch?: number
  /**
   * When to report handlers that have not returned, by the state `Slow` and a warning in the log. They are not
   * interrupted: give the calls that they make a timeout. From 1 ms, or `Infinity`; default 10 seconds.
   */
  readonly slowAfter?: Duration.Input
  /** How long the lease lasts; if a process dies, another takes over after that. From 100 ms; default 5 seconds. */
  readonly lease?: Duration.Input
  /** Decides which of several runners works. Default: by a lease in the view's database. */
  readonly ownership?: Ownership.Ownership
}

/** A runner that was started. */
export interface ProjectionRunner {
  /** What it is doing now, and every change of that. */
  readonly state: SubscriptionRef.SubscriptionRef<State>
  /** Waits until the runner has stopped, and fails with the reason. */
  readonly join: Effect.Effect<never, RunnerError>
}

/** The services that a runner requires. */
export type Services<K extends View.Any, R> =
  | LogReader
  | Mapper
  | Subscription
  | ViewStores.Of<K>
  | Projection.HandlerServices<K, R>

const defaultRetry: Readonly<Record<Projection.Delivery, Schedule.Schedule<unknown>>> = {
  "exactly-once": Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 5 })),
  "at-least-once": Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("1 minute")])
}

/** How long the tracking position may lag events that the projection does not handle, in milliseconds. */
const CATCH_UP = 100

/** How often a runner that makes no progress measures its lag, in milliseconds. */
const MEASURE = 1000

/** How often an event of a newer program is tried again after `retry` is exhausted, in milliseconds. */
const NEWER = 10_000

/** How often a runner checks that its view is still as it left it, in milliseconds. */
const CHECK = 1000

/** Finds the head of each log, with one query for all runners that ask at the same time. */
const heads = new WeakMap<LogReader["Service"], Effect.Effect<Position | undefined, RecorderError>>()
const headOf = (recorder: LogReader["Service"]): Effect.Effect<Position | undefined, RecorderError> => {
  const known = heads.get(recorder)
  if (known !== undefined) return known
  const ask = gather(
    (askers: ReadonlyArray<void>) => Effect.map(recorder.head, (head) => askers.map(() => head)),
    recorder.inTransaction
  )
  const made = ask()
  heads.set(recorder, made)
  return made
}

const runWith = Effect.fnUntraced(function* (
  projection: Projection.Any,
  options: Options,
  attributes: Metric.Metric.AttributeSet,
  tell: (next: State) => Effect.Effect<void>,
  endAtStart: End | undefined
): Effect.fn.Return<never, RunnerError, LogReader | Mapper | Subscription> {
  const { name } = projection
  const operation = `run projection "${name}"`
  const { maxBatch = 512, onFailure = "stop", retry = defaultRetry[projection.delivery] } = options
  yield* checkCount(operation, "maxBatch", maxBatch, 1)
  const leaseMillis = yield* milliseconds(operation, "lease", options.lease ?? "5 seconds", { least: 100 })
  const slowAfter = yield* milliseconds(operation, "slowAfter", options.slowAfter ?? "10 seconds", {
    least: 1,
    endless: true
  })
  const recorder = yield* LogReader
  const subscription = yield* Subscription
  const decode = makeDecoder(yield* Mapper, recorder).decodeOf(projection.aggregates)
  const store = yield* storeOf(projection) as Effect.Effect<ViewStores.ViewStore<unknown, never>>
  const key = keyOf(projection)
  const local = store.localProgress(name)
  local.stopped.delete(key.version)
  local.blocked.delete(key.version)
  const ownership = options.ownership ?? Ownership.lease(store, leaseMillis)
  const lagPositions = Metric.withAttributes(Metrics.lagPositions, attributes)
  const lagSeconds = Metric.withAttributes(Metrics.lagSeconds, attributes)
  const retries = Metric.withAttributes(Metrics.retries, attributes)

  /** Several versions of a view can be maintained beside each other; only one version of a side effect may work. */
  const keep = projection.delivery === "exactly-once"

  /** Whether the view has existed: if it is gone later, somebody has removed it, and it must not be created again. */
  let existing = false
  const noteExisting = Effect.ignore(
    Effect.map(store.versions(key), (versions) => {
      existing ||= versions.some(({ version }) => version === key.version)
    })
  )

  let current: State = { _tag: "Starting" }
  const set = (next: State) => {
    current = next
    return tell(next)
  }
  let isStandbyTold = false
  /** The processor of the batches, while this runner is the owner. */
  let working: Projecting.Processor | undefined

  /** The number of failed attempts since the last successful one. */
  let attempts = 0
  let failure: State | undefined
  const retrying = (cause: unknown, delay: Duration.Duration) =>
    Effect.gen(function* () {
      attempts++
      const nextAttempt = (yield* Clock.currentTimeMillis) + Duration.toMillis(delay)
      yield* Metric.update(retries, 1)
      failure = { _tag: "Retrying", cause, attempts, nextAttempt }
      yield* set(failure)
    })
  const succeeded = Effect.sync(() => {
    attempts = 0
    failure = undefined
  })

  const names = projection.aggregates.map((aggregate) => aggregate.name)
  const upstreamChanged = (position: Position, { reason, agreed }: Upstream.Changed) =>
    new UpstreamChanged({
      ...{ projection: name, upstream: key.upstream, position, reason, agreed },
      delivery: projection.delivery
    })

  /** Waits until the end of the log or the tracking position has changed. */
  const awaitChange = Effect.fnUntraced(function* (head: Position | undefined, position: Position) {
    while (true) {
      const before = local.versionChanges.current()
      yield* Effect.raceFirst(nextTick(store, CHECK), Effect.ignore(local.versionChanges.after(before)))
      const mine = (yield* store.versions(key)).find(({ version }) => version === key.version)
      if (
        mine?.position !== position ||
        (mine.status === "retired" && !mine.ready) ||
        (yield* headOf(recorder)) !== head
      )
        return
    }
  })

  let end = endAtStart

  /** Opens the view, and waits until the log has reached the position of the view. */
  const openLevel = Effect.gen(function* () {
    let attempts = 0
    /** What a log of which nothing was stored is compared with. */
    let assumed: ViewStores.Seen | undefined
    while (true) {
      const progress = yield* openView(store, projection, "followed", recorder, { existing, beside: keep, end })
      // wakes the readers that wait for the view to exist
      if (!existing) local.changes.notify()
      existing = true
      // a view that is reset starts at the end that the log has then
      end = undefined
      const { position } = progress
      if (position === undefined) return progress
      const seen = progress.seen ?? (assumed?.position === position ? assumed : undefined)
      const verdict = yield* Upstream.inspect(recorder, seen?.aggregates ?? names, position, seen)
      if (verdict._tag === "Changed") return yield* upstreamChanged(position, verdict)
      if (verdict._tag === "Same") {
        // a version that continues the work of another may have other aggregates
        const isOwn = isSame(verdict.seen.aggregates, names)
        const own = isOwn ? verdict : yield* Upstream.inspect(recorder, names, position, undefined)
        if (own._tag !== "Same") continue
        // an earlier version of the library stored nothing
        if (!isOwn || progress.seen === undefined) yield* store.note(key, own.seen)
        return { ...progress, seen: own.seen }
      }
      assumed = verdict.seen
      const cause = new UpstreamBehind({ projection: name, upstream: key.upstream, position, head: verdict.head })
      if (attempts === 0) yield* Effect.logWarning(cause.message)
      attempts++
      yield* Metric.update(retries, 1)
      yield* set({ _tag: "Retrying", cause, attempts, nextAttempt: (yield* Clock.currentTimeMillis) + CHECK })
      yield* awaitChange(verdict.head, position)
    }
  })

  /** One period of work: from the tracking position until something fails. */
  const stretch = Effect.gen(function* () {
    /** The state of the projection itself, to be reported again when the log can be reached again. */
    let shown: State = failure ?? { _tag: "Starting" }
    /** The state while the log can't be reached. */
    let cutOff: State | undefined
    const show = (next: State) => {
      shown = next
      return set(next._tag === "Blocked" ? next : (cutOff ?? next))
    }
    if (failure === undefined) yield* show(shown)
    const progress = yield* openLevel
    let isBuilding = progress.status === "building"
    const processor = yield* Projecting.make(
      {
        ...{ projection, key, attributes, store, decode, maxBatch },
        ...{ retry, onFailure },
        onBlocked: (event, cause, tries, nextAttempt) => {
          local.blocked.set(
            key.version,
            `a handler has failed ${tries} times on event ${event.version} of stream "${event.stream}" (${event.type}): ${messageOf(cause)}`
          )
          return show({ _tag: "Blocked", event, cause, attempts: tries, nextAttempt })
        }
      },
      progress.position,
      progress.seen
    )
    working = processor
    /** Whether the log was unreachable: it may be a different one when it can be reached again. */
    let wasAway = false
    /** The outages seen so far: a state is reported asynchronously, perhaps after a batch that was read later. */
    let outages = 0
    const inspectAgain = Effect.gen(function* () {
      const seen = processor.seen()
      if (!wasAway || seen === undefined) return
      const { position } = seen
      const verdict = yield* Upstream.inspect(recorder, names, position, seen)
      if (verdict._tag === "Changed") return yield* upstreamChanged(position, verdict)
      if (verdict._tag === "Behind") return yield* new PositionBeyondHead({ from: position, head: verdict.head })
      wasAway = false
    })
    const pace = makePace(progress.position, yield* Clock.currentTimeMillis)

    /**
     * On a log that grows faster than it is processed no version reaches the end, but one can reach the other's
     * position.
     */
    const isLevel = Effect.map(store.versions(key), (versions) => {
      const current = versions.find(({ status }) => status === "current")
      const position = processor.position()
      // an inline projection is at the end of the log, whatever its position
      if (current?.mode === "inline") return false
      return current?.position === undefined || (position !== undefined && position >= current.position)
    })
    const promote = Effect.gen(function* () {
      if (!isBuilding) return
      if (yield* store.promote(key, { keep })) {
        isBuilding = false
        yield* Effect.logInfo(`version ${key.version} of projection "${name}" is the current one from now on`)
        return
      }
      // a version below the current one becomes ready when it has caught up
      const mine = (yield* store.versions(key)).find(({ version }) => version === key.version)
      isBuilding = mine?.status === "building"
    })

    const report = Effect.fnUntraced(function* ({ notifications, caughtUp, head }: StoredBatch) {
      yield* succeeded
      const now = yield* Clock.currentTimeMillis
      const position = processor.position()
      const last = notifications[notifications.length - 1]
      yield* Metric.update(lagPositions, caughtUp ? 0 : Number((head ?? 0n) - (position ?? 0n)))
      yield* Metric.update(lagSeconds, caughtUp || last === undefined ? 0 : Math.max(now - last.recordedAt, 0) / 1000)
      if (caughtUp) return yield* show({ _tag: "Live", position })
      yield* show({ _tag: "CatchingUp", position, head, ...pace(position, head, notifications.length, now) })
    })

    /** Arriving batches show that the log can be reached; this reports when it can't. */
    const onState = (followed: FollowState) => {
      if (followed._tag !== "Retrying") {
        const wasCutOff = cutOff !== undefined
        cutOff = undefined
        return wasCutOff ? set(shown) : Effect.void
      }
      wasAway = true
      const { error: cause, attempts: tries } = followed
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        cutOff = { _tag: "Retrying", cause, attempts: tries, nextAttempt: now }
        return Effect.andThen(Metric.update(retries, 1), set(cutOff))
      })
    }

    let idle = false
    /** Whether somebody in this process waits for a position that was passed, but is not stored yet. */
    const isAwaited = () => local.isAwaited(processor.position(), processor.end())
    const following = subscription
      .follow({ aggregates: projection.aggregates }, { from: progress.position ?? "start", onState })
      .pipe(
        Stream.runForEach((batch) =>
          Effect.gen(function* () {
            if (batch.outages !== outages) {
              outages = batch.outages
              wasAway = true
            }
            yield* inspectAgain
            yield* processor.process(batch)
            if (isBuilding && (batch.caughtUp || (yield* isLevel))) {
              yield* processor.catchUp
              yield* promote
            }
            // an attempt has succeeded once the view could be written to
            if (failure !== undefined || isAwaited()) yield* processor.catchUp
            idle = true
            yield* report(batch)
          })
        )
      )
    // events that this projection does not handle do not cost a transaction each
    const trailing = Effect.gen(function* () {
      yield* Effect.sleep(CATCH_UP)
      if (!idle) return
      idle = false
      yield* processor.catchUp
    }).pipe(Effect.forever)
    // a new waiter is not held up by that delay
    const answering = Effect.gen(function* () {
      const before = local.newWaiters.current()
      if (isAwaited()) yield* processor.catchUp
      yield* Effect.ignore(local.newWaiters.after(before))
    }).pipe(Effect.forever)
    // a fiber of its own: the other fibers may all be waiting for the slow handlers
    const timing = Effect.gen(function* () {
      let told: Projecting.InHand | undefined
      while (true) {
        yield* Effect.sleep(Math.min(Math.max(slowAfter / 4, 1), CHECK))
        const inHand = processor.inHand()
        if (inHand === undefined || inHand === told) continue
        const took = (yield* Clock.currentTimeMillis) - inHand.since
        if (took < slowAfter) continue
        told = inHand
        const { stream, version, type } = inHand.event
        const reason = `handlers have had ${inHand.events} events for ${took} ms, the first of them event ${version} of stream "${stream}" (${type})`
        local.blocked.set(key.version, reason)
        yield* Effect.logWarning(`projection "${name}" is slow: ${reason}`)
        yield* show({ _tag: "Slow", ...inHand })
      }
    })
    // the log does not report a reset, or that another version has become the current one
    const checking = Effect.gen(function* () {
      const seen = local.versionChanges.current()
      yield* Effect.raceFirst(nextTick(store, CHECK), Effect.ignore(local.versionChanges.after(seen)))
      yield* processor.check
      // while the log can't be reached, following it handles that
      if (cutOff === undefined) yield* inspectAgain
    }).pipe(Effect.forever)
    return yield* Effect.raceFirst(
      Effect.andThen(following, Effect.die(new Error("a subscription ended without an error"))),
      Effect.raceFirst(
        Effect.raceFirst(Effect.raceFirst(trailing, answering), checking),
        slowAfter === Number.POSITIVE_INFINITY ? Effect.never : timing
      )
    )
  })

  const isTransient = (
    error: RunnerError | FollowError | TrackingConflict | Projecting.FromNewerProgram
  ): error is Exclude<FollowError, RecorderFailure> | TrackingConflict =>
    !(error instanceof Projecting.FromNewerProgram) &&
    (error._tag === "RecorderUnavailable" || error._tag === "TrackingConflict" || error._tag === "PositionBeyondHead")

  const work = Effect.gen(function* () {
    let step = yield* Schedule.toStep(reconnect)
    while (true) {
      const cause = yield* Effect.flip(Effect.sandbox(stretch))
      const error = Cause.findErrorOption(cause)
      if (error._tag === "None" || !isTransient(error.value)) {
        return yield* Effect.failCause(cause as Cause.Cause<RunnerError | Projecting.FromNewerProgram>)
      }
      // it has worked in between: the pauses start again with the shortest
      if (attempts === 0) step = yield* Schedule.toStep(reconnect)
      const [, delay] = yield* Effect.orDie(step(yield* Clock.currentTimeMillis, undefined))
      yield* Effect.logWarning(`projection "${name}" tries again: ${error.value.message}`)
      yield* retrying(error.value, delay)
      yield* Effect.sleep(delay)
    }
  })

  yield* noteExisting
  const owned = ownership.whileOwner(key, work, {
    onStandby: Effect.andThen(
      noteExisting,
      Effect.suspend(() => {
        // the other runner reports that now
        local.blocked.delete(key.version)
        working = undefined
        const told = isStandbyTold
        isStandbyTold = true
        const saying = Effect.logInfo(`projection "${name}" stands by: another runner of version ${key.version} works`)
        return Effect.andThen(succeeded, Effect.andThen(set({ _tag: "Standby" }), told ? Effect.void : saying))
      })
    ),
    onUnavailable: (error) => retrying(error, Duration.seconds(1))
  }) as Effect.Effect<never, RunnerError | Projecting.FromNewerProgram>
  /** The failed attempts at an event of a newer program: its position, their number, and when the next one is due. */
  let vain = { position: undefined as Position | undefined, times: 0, step: yield* Schedule.toStep(retry) }
  const running = Effect.gen(function* (): Effect.fn.Return<never, RunnerError> {
    while (true) {
      const ended = yield* Effect.flip(owned)
      if (!(ended instanceof Projecting.FromNewerProgram)) return yield* Effect.fail(ended)
      const { event, cause } = ended
      if (vain.position !== event.position) {
        vain = { position: event.position, times: 0, step: yield* Schedule.toStep(retry) }
      }
      vain.times++
      yield* Metric.update(retries, 1)
      const now = yield* Clock.currentTimeMillis
      const next = yield* Pull.catchDone(
        Effect.map(vain.step(now, cause), ([, delay]) => Duration.toMillis(delay)),
        () => Effect.succeed(undefined)
      )
      if (next === undefined && onFailure === "stop") {
        return yield* new ProjectionFailed({ projection: name, ...event, attempts: vain.times, cause })
      }
      // enough time for standby runners to look at the lease
      const delay = Math.max(next ?? NEWER, 2 * Math.min(leaseMillis / 4, 1000))
      const reason = `event ${event.version} of stream "${event.stream}" (${event.type}) is of a newer program: ${messageOf(cause)}`
      yield* Effect.logWarning(`projection "${name}" gives its lease up: ${reason}`)
      local.blocked.set(key.version, reason)
      yield* set({ _tag: "Blocked", event, cause, attempts: vain.times, nextAttempt: now + delay })
      yield* Effect.sleep(delay)
    }
  })

  /** Whether arriving batches already report the lag. */
  const isTold = (now: number) =>
    (current._tag === "Live" || current._tag === "CatchingUp") && now - (working?.inHand()?.since ?? now) < MEASURE
  /** When the lag was last known, and what it was; both in milliseconds. */
  let known = { at: yield* Clock.currentTimeMillis, lag: 0 }
  const filter = { categories: projection.aggregates.map((aggregate) => aggregate.name) }
  const look = Effect.gen(function* () {
    const mine = (all: ReadonlyArray<Progress>) => all.find(({ version }) => version === key.version)?.position
    const position = working === undefined ? mine(yield* store.versions(key)) : working.position()
    const head = yield* headOf(recorder)
    if (head === undefined || (position !== undefined && position >= head)) return { positions: 0, next: undefined }
    const [next] = yield* recorder.readAll({ after: position, filter, limit: 1 })
    return { positions: next === undefined ? 0 : Number(head - (position ?? 0n)), next }
  })
  /** Measures the lag while no progress is made; as long as it can't be measured, the reported lag grows with time. */
  const measuring = Effect.gen(function* () {
    while (true) {
      yield* nextTick(store, current._tag === "Standby" ? 5 * MEASURE : MEASURE)
      if (isTold(yield* Clock.currentTimeMillis)) {
        known = { at: yield* Clock.currentTimeMillis, lag: 0 }
        continue
      }
      const found = yield* Effect.option(Effect.timeout(look, MEASURE))
      const now = yield* Clock.currentTimeMillis
      if (isTold(now)) continue
      if (found._tag === "None") {
        yield* Metric.update(lagSeconds, (known.lag + now - known.at) / 1000)
        continue
      }
      const { positions, next } = found.value
      known = { at: now, lag: next === undefined ? 0 : Math.max(now - next.recordedAt, 0) }
      yield* Metric.update(lagPositions, positions)
      yield* Metric.update(lagSeconds, known.lag / 1000)
    }
  })
  return yield* Effect.raceFirst(running, measuring)
})

const isSame = (some: ReadonlyArray<string>, others: ReadonlyArray<string>): boolean =>
  some.toSorted().join() === others.toSorted().join()

/** To observers, a defect in a handler or in the library is a failure like any other. */
const toRunnerError = (name: string, error: unknown): RunnerError =>
  error instanceof Error && "_tag" in error
    ? (error as RunnerError)
    : new RecorderFailure({ operation: `run projection "${name}"`, reason: messageOf(error), cause: error })

/** How fast a projection catches up, and how long it is going to take. */
const makePace = (start: Position | undefined, began: number) => {
  let events = 0
  return (position: Position | undefined, head: Position | undefined, more: number, now: number) => {
    events += more
    const elapsed = Math.max(now - began, 1)
    const done = Number((position ?? 0n) - (start ?? 0n))
    const left = Number((head ?? 0n) - (position ?? 0n))
    return {
      eventsPerSecond: Math.round((events * 1000) / elapsed),
      remaining: done > 0 ? Duration.millis(Math.round((elapsed * Math.max(left, 0)) / done)) : undefined
    }
  }
}

/**
 * Starts a runner in the current scope.
 *
 * **When to use**
 *
 * Use this to observe a runner: by its `state`, or by `join`, which waits until it stops. Use {@link layer} if logs and
 * metrics are enough, and {@link run} to wait for its end only.
 *
 * **Details**
 *
 * The runner works until the scope closes, or until an error of `RunnerError` stops it. Transient failures are retried
 * indefinitely. Several runners of one projection, in one or more processes, agree on one that works; the others stand
 * by.
 *
 * If it is started inside a transaction of the program's, the runner is not part of that transaction.
 *
 * **Gotchas**
 *
 * A runner that stops does not fail the scope: its `state` is `Stopped`, and the error is logged.
 */
export const make = <K extends View.Any, R>(
  projection: Projection.Followed<K, Projection.Delivery, R>,
  options: Options = {}
): Effect.Effect<ProjectionRunner, never, Scope.Scope | Services<K, R>> =>
  Effect.gen(function* () {
    const state = yield* SubscriptionRef.make<State>({ _tag: "Starting" })
    const store = yield* storeOf(projection)
    // events that are recorded after this has returned are not left out
    const end: End | undefined =
      projection.from === "end"
        ? yield* Effect.flatMap(LogReader, ({ head }) => head).pipe(
            Effect.map((head) => ({ head })),
            Effect.timeout("5 seconds"),
            Effect.orElseSucceed(() => undefined)
          )
        : undefined
    const { attributes, release } = yield* Metrics.labelsOf(projection)
    const report = Metrics.reportingState(attributes)
    const set = (next: State) => Effect.andThen(SubscriptionRef.set(state, next), report(next._tag))
    const { name, version } = projection
    const local = store.localProgress(name)
    const removed = local.addRunner(version, projection.compiled.source())
    const working = runWith(projection as Projection.Any, options, attributes, set, end)
    const fiber = yield* (
      removed === undefined ? Effect.fail(definedOtherwise(`run projection "${name}"`, version)) : working
    ).pipe(
      Effect.catchDefect((defect) => Effect.fail(toRunnerError(name, defect))),
      Effect.onExit((exit) => {
        if (Exit.isSuccess(exit)) return Effect.void
        if (Cause.hasInterruptsOnly(exit.cause)) return set({ _tag: "Stopped", error: "interrupted" })
        const error = toRunnerError(name, Cause.squash(exit.cause))
        if (removed !== undefined) {
          local.stopped.set(version, error.message)
          local.changes.notify()
        }
        return Effect.andThen(
          set({ _tag: "Stopped", error }),
          Effect.logError(`projection "${name}" has stopped: ${error.message}`)
        )
      }),
      Effect.ensuring(
        Effect.andThen(
          release,
          Effect.sync(() => removed?.())
        )
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    return { state, join: Fiber.join(fiber) }
    // the runner outlives a transaction of the fiber that starts it
  }).pipe(Effect.updateContext(outsideTransactions))

/**
 * Runs a projection, and fails with the error that stops it.
 *
 * **When to use**
 *
 * Use this if the program supervises the runner itself, for instance to shut down or to restart it when it fails.
 *
 * **Details**
 *
 * It never succeeds. Interrupting it stops the runner.
 */
export const run = <K extends View.Any, R>(
  projection: Projection.Followed<K, Projection.Delivery, R>,
  options: Options = {}
): Effect.Effect<never, RunnerError, Services<K, R>> =>
  Effect.scoped(Effect.flatMap(make(projection, options), ({ join }) => join))

/**
 * Runs a projection for as long as the layer is open.
 *
 * **When to use**
 *
 * Use this in the main layer of a program. Use {@link run} or {@link make} if the program should react to a runner that
 * stops.
 *
 * **Gotchas**
 *
 * If the runner has to stop, that is logged as an error, and the program continues without it.
 */
export const layer = <K extends View.Any, R>(
  projection: Projection.Followed<K, Projection.Delivery, R>,
  options: Options = {}
): Layer.Layer<never, never, Exclude<Services<K, R>, Scope.Scope>> => Layer.effectDiscard(make(projection, options))
