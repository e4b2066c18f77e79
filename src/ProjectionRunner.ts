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
import type { Duration, Metric, Scope } from "effect"
import { Cause, Effect, Exit, Fiber, Layer, Schedule, SubscriptionRef } from "effect"
import type {
  ProjectionFailed,
  ProjectionModeChanged,
  ProjectionRemoved,
  ProjectionSuperseded,
  UpstreamChanged
} from "./EventSourcingError.ts"
import { RecorderFailure } from "./EventSourcingError.ts"
import { checkCount, milliseconds } from "./internal/backend/options.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import { makeDecoder } from "./internal/eventStore/decodeEvents.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import type { End } from "./internal/projection/openView.ts"
import type { BlockedOn } from "./internal/projection/processing.ts"
import type { RunnerContext, Settings } from "./internal/projection/runnerContext.ts"
import type { RunnerStatus } from "./internal/projection/runnerStatus.ts"
import { makeStatus } from "./internal/projection/runnerStatus.ts"
import { runProjection } from "./internal/projection/runProjection.ts"
import { definedOtherwise } from "./internal/projection/sameDefinition.ts"
import { storeOf } from "./internal/projection/storeOf.ts"
import { trackingKey } from "./internal/projection/trackingKey.ts"
import { outsideTransactions } from "./internal/sql/outsideTransactions.ts"
import { LogReader } from "./LogReader.ts"
import { Mapper } from "./Mapper.ts"
import * as Ownership from "./Ownership.ts"
import type { Position } from "./Position.ts"
import type * as Projection from "./Projection.ts"
import { Subscription } from "./Subscription.ts"
import type * as View from "./View.ts"
import type * as ViewStores from "./ViewStore.ts"

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

const settingsOf = Effect.fnUntraced(function* (
  { delivery, name }: Projection.Any,
  options: Options
): Effect.fn.Return<Settings, RecorderFailure> {
  const operation = `run projection "${name}"`
  const { maxBatch = 512, onFailure = "stop", retry = defaultRetry[delivery] } = options
  yield* checkCount(operation, "maxBatch", maxBatch, 1)
  const leaseMillis = yield* milliseconds(operation, "lease", options.lease ?? "5 seconds", { least: 100 })
  const slowAfterMillis = yield* milliseconds(operation, "slowAfter", options.slowAfter ?? "10 seconds", {
    least: 1,
    endless: true
  })
  return { maxBatch, onFailure, retry, leaseMillis, slowAfterMillis }
})

/** What the parts of a runner work with. */
const contextOf = Effect.fnUntraced(function* (
  projection: Projection.Any,
  options: Options,
  attributes: Metric.Metric.AttributeSet,
  status: RunnerStatus
): Effect.fn.Return<RunnerContext, RecorderFailure, LogReader | Mapper | Subscription> {
  const settings = yield* settingsOf(projection, options)
  const recorder = yield* LogReader
  const subscription = yield* Subscription
  const decode = makeDecoder(yield* Mapper, recorder).decodeOf(projection.aggregates)
  const store = yield* storeOf(projection) as Effect.Effect<ViewStores.ViewStore<unknown, never>>
  return {
    ...{ projection, recorder, subscription, decode, store, settings, attributes, status },
    key: trackingKey(projection),
    aggregates: projection.aggregates.map((aggregate) => aggregate.name),
    local: store.localProgress(projection.name),
    ownership: options.ownership ?? Ownership.lease(store, settings.leaseMillis),
    processor: undefined
  }
})

const runWith = Effect.fnUntraced(function* (
  projection: Projection.Any,
  options: Options,
  attributes: Metric.Metric.AttributeSet,
  report: (next: State) => Effect.Effect<void>,
  endAtStart: End | undefined
): Effect.fn.Return<never, RunnerError, LogReader | Mapper | Subscription> {
  const context = yield* contextOf(projection, options, attributes, makeStatus(attributes, report))
  const { key, local } = context
  local.stopped.delete(key.version)
  local.blocked.delete(key.version)
  return yield* runProjection(context, endAtStart)
})

/** To observers, a defect in a handler or in the library is a failure like any other. */
const toRunnerError = (name: string, error: unknown): RunnerError =>
  error instanceof Error && "_tag" in error
    ? (error as RunnerError)
    : new RecorderFailure({ operation: `run projection "${name}"`, reason: messageOf(error), cause: error })

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
    const end = projection.from === "end" ? yield* endNow : undefined
    const { attributes, release } = yield* Metrics.labelsOf(projection)
    const report = Metrics.reportingState(attributes)
    const set = (next: State) => Effect.andThen(SubscriptionRef.set(state, next), report(next._tag))
    const { name, version } = projection
    const local = store.localProgress(name)
    const unregister = local.addRunner(version, projection.compiled.source())
    const running = runWith(projection as Projection.Any, options, attributes, set, end)
    const fiber = yield* (
      unregister === undefined ? Effect.fail(definedOtherwise(`run projection "${name}"`, version)) : running
    ).pipe(
      Effect.catchDefect((defect) => Effect.fail(toRunnerError(name, defect))),
      Effect.onExit((exit) => {
        if (Exit.isSuccess(exit)) return Effect.void
        if (Cause.hasInterruptsOnly(exit.cause)) return set({ _tag: "Stopped", error: "interrupted" })
        const error = toRunnerError(name, Cause.squash(exit.cause))
        if (unregister !== undefined) {
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
          Effect.sync(() => unregister?.())
        )
      ),
      Effect.forkScoped({ startImmediately: true })
    )
    return { state, join: Fiber.join(fiber) }
    // the runner outlives a transaction of the fiber that starts it
  }).pipe(Effect.updateContext(outsideTransactions))

/** The end of the log; `undefined` if it can't be read in time. */
const endNow: Effect.Effect<End | undefined, never, LogReader> = Effect.flatMap(LogReader, ({ head }) => head).pipe(
  Effect.map((head) => ({ head })),
  Effect.timeout("5 seconds"),
  Effect.orElseSucceed(() => undefined)
)

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
