/**
 * Deadlines: decisions on an aggregate that are taken once a time has come which the aggregate's state determines.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Clock, Effect, Layer, Schema } from "effect"
 * import { Aggregate, Deadline, Repository } from "effect-eventsourcing"
 * import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
 *
 * const Payment = Aggregate.make("Payment", {
 *   state: { status: Schema.Literals(["awaiting", "paid", "expired"]), dueAt: Schema.Finite },
 *   creation: { Requested: { dueAt: Schema.Finite } },
 *   events: { Paid: {}, Expired: {} },
 *   reduce: {
 *     Requested: ({ dueAt }) => ({ status: "awaiting" as const, dueAt }),
 *     Paid: (payment) => ({ ...payment, status: "paid" as const }),
 *     Expired: (payment) => ({ ...payment, status: "expired" as const })
 *   }
 * })
 *
 * const Expiry = Deadline.make("expiry", {
 *   aggregate: Payment,
 *   index: "memory",
 *   due: (payment) => (payment.status === "awaiting" ? payment.dueAt : undefined),
 *   decide: () => Payment.Expired()
 * })
 *
 * const program = Effect.gen(function*() {
 *   const payments = yield* Repository.of(Payment)
 *   const id = Payment.id("order 1")
 *   yield* payments.execute(id, Payment.Requested({ dueAt: (yield* Clock.currentTimeMillis) + 50 }))
 *   yield* Effect.sleep("1 second")
 *   console.log((yield* payments.get(id)).state.status) // prints: expired
 * })
 *
 * const layer = Deadline.layer(Expiry).pipe(Layer.provideMerge([MemoryLayer(), MemoryViews()]))
 * program.pipe(Effect.provide(layer), NodeRuntime.runMain)
 * ```
 */
import type { DateTime, Scope } from "effect"
import { Cause, Effect, Exit, Fiber, Layer, Schedule, SubscriptionRef } from "effect"
import type * as Aggregate from "./Aggregate.ts"
import * as Decision from "./Decision.ts"
import type { ReadError, RecorderError } from "./EventSourcingError.ts"
import {
  AggregateNotFound,
  DeadlineFailed,
  DeadlineUnchanged,
  isRecorderError,
  RecorderFailure,
  RecorderUnavailable
} from "./EventSourcingError.ts"
import { checkCount } from "./internal/backend/options.ts"
import type { Standing } from "./internal/deadline/changesOf.ts"
import { changesOf } from "./internal/deadline/changesOf.ts"
import { toMillis } from "./internal/deadline/dueAt.ts"
import type { Row } from "./internal/deadline/dueRow.ts"
import * as DueTable from "./internal/deadline/dueTable.ts"
import * as DueTree from "./internal/deadline/dueTree.ts"
import { runDeadline } from "./internal/deadline/running.ts"
import { unopened, unopenedMapper } from "./internal/deadline/unopened.ts"
import type { Decided } from "./internal/deadline/worker.ts"
import { makeWorker } from "./internal/deadline/worker.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import { isTransient } from "./internal/errors/transient.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import type { LocalProgress } from "./internal/projection/localProgress.ts"
import { storeOf } from "./internal/projection/storeOf.ts"
import { outsideTransactions } from "./internal/sql/outsideTransactions.ts"
import { LogReader } from "./LogReader.ts"
import { Mapper } from "./Mapper.ts"
import type { Position } from "./Position.ts"
import * as Projection from "./Projection.ts"
import * as ProjectionRunner from "./ProjectionRunner.ts"
import * as Repository from "./Repository.ts"
import type { Subscription } from "./Subscription.ts"
import type * as View from "./View.ts"
import type * as ViewStores from "./ViewStore.ts"

/**
 * When something is due: milliseconds since the epoch, or a `DateTime`. `undefined` means never, and so does any time
 * after the last one that a date can represent, such as `Infinity`.
 */
export type Due = number | DateTime.DateTime | undefined

/** A decision that fails, and is retried. */
export interface Failure<out E> {
  /** The id of the aggregate. */
  readonly id: string
  /** When it is due according to the index, in milliseconds since the epoch. */
  readonly dueAt: number
  /** The error of the last attempt. */
  readonly cause: E
  readonly attempts: number
  /**
   * When it is retried, in milliseconds since the epoch; `undefined` if `retry` is exhausted, so that the aggregate has
   * to change first.
   */
  readonly nextAttempt: number | undefined
}

/** What a deadline may decide: one event, several, none, or an Effect of these, which may fail. */
export type Outcome<Change> = Decision.Events<Change> | Effect.Effect<Decision.Events<Change>, unknown>

/** The place of a deadline's index: tables of a database, or memory. */
export type Place = "tables" | "memory"

/** The view of an index, by its place. */
export type ViewIn<I> = I extends "memory" ? View.AnyMemory : View.Sql<never>

/** The errors of a decision on an aggregate, besides those of `decide` itself. */
export type DecideError = Repository.ExecuteError | DeadlineUnchanged

interface Compiled<out E, out S> {
  readonly page: (after: Row | undefined, limit: number) => Effect.Effect<ReadonlyArray<Row>, unknown, S>
  readonly local: Effect.Effect<LocalProgress, never, S>
  readonly runIndex: (
    options: ProjectionRunner.Options
  ) => Effect.Effect<
    ProjectionRunner.ProjectionRunner,
    never,
    Scope.Scope | LogReader | Subscription | Repository.Repository | S
  >
  readonly wait: (position: Position | undefined) => Effect.Effect<void, unknown, S>
  readonly decide: (id: string, now: number) => Effect.Effect<Decided, E | DecideError, Repository.Repository>
}

/**
 * A deadline: when something is due on aggregates of one kind, and what is then decided. `E` is the type of the errors
 * with which its decisions may be refused, `K` the view of its index.
 */
export interface Deadline<out E, out K extends View.Any> {
  readonly name: string
  readonly version: number
  readonly aggregate: Aggregate.Any
  /**
   * The index: an ordinary projection, which the runner of the deadline maintains. `Projection.progress`, `versions`,
   * `reset` and `remove` accept it.
   */
  readonly index: Projection.Followed<K, "exactly-once", Repository.Repository>
  /** @internal */
  readonly compiled: Compiled<E, ViewStores.Of<K>>
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly error: E }
}

/** Any deadline. */
export type Any = Deadline<unknown, View.Any>

/** Loads the times at which something is due on aggregates, for the index. */
type Load = (
  id: string,
  isStaleAllowed: boolean
) => Effect.Effect<Standing, AggregateNotFound | ReadError, Repository.Repository>

/** What an index needs to know of its deadline. */
interface Indexed {
  readonly name: string
  readonly version: number
  readonly aggregate: Aggregate.Any
  readonly load: Load
  /** The functions that define it: their texts reveal two different deadlines with one name in a process. */
  readonly functions: ReadonlyArray<Function>
}

/** The changes that events cause in an index, with the services of the index. */
const changing = (
  { name, load }: Indexed,
  events: ReadonlyArray<{ readonly aggregateId: string; readonly version: number }>
) =>
  Effect.flatMap(Repository.Repository, (repository) =>
    changesOf(name, events, (id, isStaleAllowed) =>
      Effect.provideService(load(id, isStaleAllowed), Repository.Repository, repository)
    )
  )

/** The name of the index's projection. */
const indexName = (name: string): string => `due_${name}`

const definitionOf = ({ aggregate, functions, version }: Indexed) => ({
  version,
  aggregates: [unopened(aggregate)] as const,
  functions
})

const inTables = (indexed: Indexed) => {
  const projection = Projection.batched(indexName(indexed.name), {
    ...definitionOf(indexed),
    view: Projection.sql(DueTable.setup),
    handle: (events, view) => Effect.flatMap(changing(indexed, events), (changes) => DueTable.change(view, changes))
  })
  return withIndex(projection, (after, limit) =>
    Projection.read(projection, (view) => DueTable.page(view, after, limit))
  )
}

const inMemory = (indexed: Indexed) => {
  const projection = Projection.batched(indexName(indexed.name), {
    ...definitionOf(indexed),
    view: Projection.memory(() => DueTree.empty),
    handle: (events, view) =>
      Effect.flatMap(changing(indexed, events), (changes) => view.update((tree) => DueTree.change(tree, changes)))
  })
  return withIndex(projection, (after, limit) =>
    Projection.read(projection, (view) => Effect.map(view.get, (tree) => DueTree.page(tree, after, limit)))
  )
}

const withIndex = <K extends View.Any>(
  index: Projection.Followed<K, "exactly-once", Repository.Repository>,
  page: Compiled<never, ViewStores.Of<K>>["page"]
) => ({
  index,
  page,
  local: Effect.map(storeOf(index), (store) => store.localProgress(index.name)),
  runIndex: (options: ProjectionRunner.Options) =>
    Effect.provideService(ProjectionRunner.make(index, options), Mapper, unopenedMapper),
  wait: (position: Position | undefined) => Projection.wait(index, position, { timeout: "Infinity" })
})

/**
 * Defines a deadline: when something is due on an aggregate in a state, and what is then decided.
 *
 * **When to use**
 *
 * Use this for anything that is to happen at a time: payments that expire, reminders, escalations, "publish on Monday".
 * Use `Process` for reactions to an event.
 *
 * **Details**
 *
 * - `name`: lower-case letters, digits and `_` (1 to 36), unique in the database of the index. It identifies the index.
 * - `aggregate`: the aggregate whose state says when something is due, and on which the decision is taken.
 * - `due`: pure; returns the time at which something is due on an aggregate in this state, or `undefined`.
 * - `decide`: what is then decided, as for `Aggregate.decide`: a pure function that returns one event, several, none, or
 *   an Effect of these. After its events, `due` has to return another time, or `undefined`.
 * - `index`: `"tables"` of `SqliteViews` or `PostgresViews` (the default), or `"memory"` of `MemoryViews`, which each
 *   process rebuilds from the log when it starts.
 * - `version`: raise it when `due` changes; the index is then rebuilt. Default 1.
 *
 * Nothing is scheduled, so there is nothing to cancel or to lose: if the state no longer requires it, nothing happens.
 * The decision is taken on the state as it is at that time, and recorded only if that is still the current one.
 *
 * **Gotchas**
 *
 * The runner must know all aggregates with something due. If `due` changes and `version` does not, aggregates that the
 * new `due` makes due earlier are found only when their next event is recorded.
 *
 * The clock is that of the process that runs the deadline: decisions are early or late by as much as that clock is
 * wrong.
 *
 * It throws on invalid names, so that the program fails when it starts.
 *
 * **Example** (A reminder each week, at most three times)
 *
 * ```ts
 * import { DateTime, Schema } from "effect"
 * import { Aggregate, Deadline } from "effect-eventsourcing"
 *
 * const Invoice = Aggregate.make("Invoice", {
 *   state: { isPaid: Schema.Boolean, reminders: Schema.Int, nextReminder: Schema.DateTimeUtcFromString },
 *   creation: { Sent: { at: Schema.DateTimeUtcFromString } },
 *   events: { Paid: {}, Reminded: {} },
 *   reduce: {
 *     Sent: ({ at }) => ({ isPaid: false, reminders: 0, nextReminder: DateTime.add(at, { weeks: 1 }) }),
 *     Paid: (invoice) => ({ ...invoice, isPaid: true }),
 *     Reminded: (invoice) => ({
 *       ...invoice,
 *       reminders: invoice.reminders + 1,
 *       nextReminder: DateTime.add(invoice.nextReminder, { weeks: 1 })
 *     })
 *   }
 * })
 *
 * const Reminders = Deadline.make("reminders", {
 *   aggregate: Invoice,
 *   due: (invoice) => (invoice.isPaid || invoice.reminders === 3 ? undefined : invoice.nextReminder),
 *   decide: () => Invoice.Reminded()
 * })
 * console.log(Reminders.version) // prints: 1
 * ```
 */
export const make = <
  const Name extends string,
  State,
  Creation extends Aggregate.AnyEvent,
  Change extends Aggregate.AnyEvent,
  const R extends Outcome<Change>,
  const I extends Place = "tables"
>(
  name: string,
  definition: {
    readonly aggregate: Aggregate.Aggregate<Name, State, Creation, Change>
    readonly version?: number
    readonly index?: I
    readonly due: (state: State) => Due
    readonly decide: (state: State, revision: Aggregate.Revision<Name>) => R
  }
): Deadline<Decision.ErrorOf<R>, ViewIn<I>> => {
  const { aggregate, decide, due, index = "tables", version = 1 } = definition
  if (!/^[a-z][a-z0-9_]{0,35}$/.test(name)) {
    throw new Error(
      `invalid deadline name "${name}": it must be 1 to 36 lower-case letters, digits or "_", and begin with a letter`
    )
  }
  const indexed: Indexed = {
    name,
    version,
    aggregate,
    functions: [due, decide],
    load: (id, allowStale) =>
      Effect.gen(function* () {
        const repository = yield* Repository.of(aggregate)
        const instance = yield* repository.get(id as Aggregate.Id<Name>, { allowStale })
        return { version: instance.version, dueAt: toMillis(due(instance.state)) }
      })
  }

  /** Takes the decision if something is still due, and checks that it is no longer due at the same time afterwards. */
  const command = (now: number) =>
    Decision.andThen(
      aggregate.decide(
        (state, revision): Effect.Effect<Decision.WithValue<ReadonlyArray<Change>, Decided>, Decision.ErrorOf<R>> => {
          const dueAt = toMillis(due(state))
          if (dueAt === undefined || dueAt > now) {
            return Effect.succeed({ events: [], value: { _tag: "NotDue", dueAt, version: revision.version } })
          }
          const outcome: Outcome<Change> = decide(state, revision)
          const decided = Effect.isEffect(outcome) ? outcome : Effect.succeed(outcome)
          return Effect.map(decided as Effect.Effect<Decision.Events<Change>, Decision.ErrorOf<R>>, (events) => ({
            events: Decision.toEvents(events),
            value: { _tag: "Recorded", dueAt }
          }))
        }
      ),
      (value: Decided) =>
        aggregate.decide(
          (state, { id }): Effect.Effect<Decision.WithValue<ReadonlyArray<Change>, Decided>, DeadlineUnchanged> =>
            value._tag === "Recorded" && toMillis(due(state)) === value.dueAt
              ? Effect.fail(
                  new DeadlineUnchanged({ deadline: name, aggregate: aggregate.name, id, dueAt: value.dueAt })
                )
              : Effect.succeed({ events: [], value })
        )
    )

  const decideOn = (id: string, now: number) =>
    Effect.gen(function* () {
      const repository = yield* Repository.of(aggregate)
      const { value } = yield* repository.execute(id as Aggregate.Id<Name>, command(now))
      return value
    }).pipe(
      // its stream was erased
      Effect.catchIf(
        (error): error is AggregateNotFound => error instanceof AggregateNotFound && error.aggregate === aggregate.name,
        () => Effect.succeed<Decided>({ _tag: "NotDue", dueAt: undefined, version: undefined })
      )
    )
  const { index: projection, ...made } = index === "memory" ? inMemory(indexed) : inTables(indexed)
  const deadline: Omit<Deadline<Decision.ErrorOf<R>, View.Any>, "~types"> = {
    ...{ name, version, aggregate, index: projection },
    compiled: { ...made, decide: decideOn }
  }
  // `I` determines which of the two places it is
  return deadline as Deadline<Decision.ErrorOf<R>, ViewIn<I>>
}

/** What a runner is doing. */
export type State<E = unknown> =
  /** Its index is being opened or catches up, it stands by, or the log or the index can't be reached at the moment. */
  | Exclude<ProjectionRunner.State, { readonly _tag: "Live" | "Stopped" }>
  /** Its index is up to date. `next` is when it will look again at the latest, as far as that is known. */
  | { readonly _tag: "Live"; readonly next: number | undefined }
  /** Decisions on some aggregates fail and are retried; all others are taken. */
  | {
      readonly _tag: "Failing"
      /** The number of aggregates. */
      readonly count: number
      /** Those that are due first, at most 20. */
      readonly failures: ReadonlyArray<Failure<E | DecideError>>
    }
  /** It no longer works; `error` is why. */
  | { readonly _tag: "Stopped"; readonly error: RunError | "interrupted" }

/** The errors that stop a runner: those of the runner of its index. Decisions that fail do not: they are retried. */
export type RunError = ProjectionRunner.RunnerError

/** How a deadline is run. */
export interface Options extends Pick<ProjectionRunner.Options, "lease" | "ownership" | "slowAfter"> {
  /** On how many aggregates it decides at once; at least 1. Default 32. */
  readonly concurrency?: number
  /**
   * When to retry a decision that fails, for each aggregate on its own; the input of the schedule is the error. Once it
   * is exhausted, the aggregate has to change before anything is decided on it. Default: indefinitely, after 100 ms and
   * then after twice the last pause, up to 10 minutes.
   */
  readonly retry?: Schedule.Schedule<unknown>
}

/** A runner that was started. */
export interface Runner<in out E> {
  /** What it is doing now, and every change of that. */
  readonly state: SubscriptionRef.SubscriptionRef<State<E>>
  /** Waits until the runner has stopped, and fails with the reason. */
  readonly join: Effect.Effect<never, RunError>
}

/** The services that running a deadline requires. */
export type Services<K extends View.Any> = LogReader | Subscription | Repository.Repository | ViewStores.Of<K>

const defaultRetry = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("10 minutes")])

const workerOf = <E, K extends View.Any>(
  { aggregate, compiled, name }: Deadline<E, K>,
  { concurrency = 32, retry = defaultRetry }: Options,
  attributes: Record<string, string>
) =>
  Effect.andThen(
    checkCount(`run deadline "${name}"`, "concurrency", concurrency, 1),
    makeWorker<E | DecideError, Repository.Repository | ViewStores.Of<K>>({
      deadline: name,
      aggregate: aggregate.name,
      page: compiled.page,
      decide: compiled.decide,
      ...{ concurrency, retry, attributes }
    })
  )

/**
 * An event that can't be indexed is set aside: other streams continue, and its aggregate is decided on when it is due.
 */
const indexOptions = ({ lease, ownership, slowAfter }: Options): ProjectionRunner.Options => ({
  onFailure: "set-aside",
  ...(lease !== undefined && { lease }),
  ...(ownership !== undefined && { ownership }),
  ...(slowAfter !== undefined && { slowAfter })
})

/**
 * Starts a runner in the current scope.
 *
 * **When to use**
 *
 * Use this to observe a runner: by its `state`, or by `join`, which waits until it stops. Use {@link layer} if logs and
 * metrics are enough, and {@link run} to wait only for its end.
 *
 * **Details**
 *
 * The runner maintains the index, and decides on what is due, beginning with what is due first. A decision that fails is
 * retried, and holds up no other aggregate. It works until the scope closes, or until an error of `RunError` stops it.
 *
 * Any number of runners of one deadline can be started, in one or more processes. They agree on one that works by the
 * lease of the index; the others stand by. Should two of them work at once, the second one finds that nothing is due any
 * more.
 *
 * If it is started inside a transaction of the program's, the runner is not part of that transaction.
 *
 * **Gotchas**
 *
 * An index in memory has no lease that other processes know of: each of them works.
 *
 * A runner that stops does not fail the scope: its `state` is `Stopped`, and the error is logged.
 */
export const start = <E, K extends View.Any>(
  deadline: Deadline<E, K>,
  options: Options = {}
): Effect.Effect<Runner<E>, never, Scope.Scope | Services<K>> =>
  Effect.gen(function* () {
    const { compiled, name, version } = deadline
    const state = yield* SubscriptionRef.make<State<E>>({ _tag: "Starting" })
    const { attributes, release } = yield* Metrics.labelsFor({ deadline: name, version: `${version}` })
    const report = Metrics.reportingState(attributes, "deadline")
    const set = (next: State<E>) => Effect.andThen(SubscriptionRef.set(state, next), report(next._tag))
    const working = Effect.gen(function* () {
      const worker = yield* workerOf(deadline, options, attributes)
      const { changes } = yield* compiled.local
      const index = yield* compiled.runIndex(indexOptions(options))
      return yield* runDeadline({ worker, index, indexChanges: changes, attributes, set })
    })
    const fiber = yield* Effect.scoped(working).pipe(
      Effect.onExit((exit) => {
        if (Exit.isSuccess(exit)) return Effect.void
        if (Cause.hasInterruptsOnly(exit.cause)) return set({ _tag: "Stopped", error: "interrupted" })
        // of a defect, the state contains what was thrown
        const error = Cause.squash(exit.cause) as RunError
        return Effect.andThen(
          set({ _tag: "Stopped", error }),
          Effect.logError(`deadline "${name}" has stopped: ${messageOf(error)}`)
        )
      }),
      Effect.ensuring(release),
      Effect.forkScoped({ startImmediately: true })
    )
    return { state, join: Fiber.join(fiber) }
    // the runner outlives a transaction of the fiber that starts it
  }).pipe(Effect.updateContext(outsideTransactions))

/**
 * Runs a deadline, and fails with the error that stops it.
 *
 * **When to use**
 *
 * Use this if the program supervises the runner itself, for instance to shut down or to restart it when it fails.
 *
 * **Details**
 *
 * It never succeeds. Interrupting it stops the runner. See {@link start} for what it does.
 */
export const run = <E, K extends View.Any>(
  deadline: Deadline<E, K>,
  options: Options = {}
): Effect.Effect<never, RunError, Services<K>> =>
  Effect.scoped(Effect.flatMap(start(deadline, options), ({ join }) => join))

/**
 * Runs a deadline for as long as the layer is open.
 *
 * **When to use**
 *
 * Use this in the main layer of a program. Use {@link run} or {@link start} if the program should react to a runner that
 * stops.
 *
 * **Gotchas**
 *
 * If the runner has to stop, that is logged as an error, and the program continues without it.
 */
export const layer = <E, K extends View.Any>(
  deadline: Deadline<E, K>,
  options: Options = {}
): Layer.Layer<never, never, Exclude<Services<K>, Scope.Scope>> => Layer.effectDiscard(start(deadline, options))

/**
 * Decides on everything that is due now, until nothing is; returns how many decisions were recorded.
 *
 * **When to use**
 *
 * Use this in tests, together with `TestClock`, and in programs that are started now and then. Use {@link layer} in
 * services.
 *
 * **Details**
 *
 * It brings the index up to date, decides on one aggregate after another, and does so again until nothing more is due. A
 * decision that fails is not retried: once everything else is decided, it fails with `DeadlineFailed`.
 */
export const settle = <E, K extends View.Any>(
  deadline: Deadline<E, K>
): Effect.Effect<number, DeadlineFailed<E | DecideError> | RunError | RecorderError, Services<K>> =>
  Effect.gen(function* () {
    const { compiled, name, version } = deadline
    const { head } = yield* LogReader
    const never = Schedule.recurs(0)
    const worker = yield* workerOf(
      deadline,
      { concurrency: 1, retry: never },
      { deadline: name, version: `${version}` }
    )
    const { join } = yield* compiled.runIndex({ onFailure: "set-aside" })
    const settling = Effect.gen(function* () {
      let before = -1
      while (before < worker.recorded()) {
        before = worker.recorded()
        yield* compiled.wait(yield* head)
        const { outage } = yield* worker.pass
        if (outage !== undefined) return yield* Effect.fail(outage)
        yield* worker.idle
      }
      return before
    }).pipe(Effect.mapError((cause) => failedToSettle(name, cause)))
    const recorded = yield* Effect.raceFirst(settling, join)
    const [failure] = worker.failures()
    if (failure === undefined) return recorded
    const { cause, id } = failure
    return yield* new DeadlineFailed({ deadline: name, aggregate: deadline.aggregate.name, id, cause })
  }).pipe(Effect.scoped) as Effect.Effect<
    number,
    DeadlineFailed<E | DecideError> | RunError | RecorderError,
    Services<K>
  >

/** The error of settling if the index can't be read or waited for. */
const failedToSettle = (name: string, cause: unknown): RecorderError => {
  if (isRecorderError(cause)) return cause
  const failure = { operation: `settle deadline "${name}"`, reason: messageOf(cause), cause }
  return isTransient(cause) ? new RecorderUnavailable(failure) : new RecorderFailure(failure)
}
