/**
 * Processes follow events, and record events of their own in reaction to them, exactly once.
 *
 * @example
 * ```ts
 * import { NodeRuntime } from "@effect/platform-node"
 * import { Effect, Layer, Schema } from "effect"
 * import { Aggregate, Process, Repository } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Order = Aggregate.make("Order", {
 *   state: { customer: Schema.String },
 *   creation: { Placed: { customer: Schema.String } },
 *   events: {},
 *   reduce: { Placed: ({ customer }) => ({ customer }) }
 * })
 * const Shipment = Aggregate.make("Shipment", {
 *   state: { order: Schema.String },
 *   creation: { Requested: { order: Schema.String } },
 *   events: {},
 *   reduce: { Requested: ({ order }) => ({ order }) }
 * })
 *
 * const Shipping = Process.make("shipping", {
 *   follows: [Order],
 *   begin: "start",
 *   handlers: {
 *     Order: {
 *       Placed: ({ aggregateId }) =>
 *         Process.execute(Shipment, Shipment.id(aggregateId), Shipment.Requested({ order: aggregateId }))
 *     }
 *   }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const orders = yield* Repository.of(Order)
 *   const { position } = yield* orders.execute(Order.id("1"), Order.Placed({ customer: "ada" }))
 *   yield* Process.wait(Shipping, position)
 *   const shipments = yield* Repository.of(Shipment)
 *   console.log(yield* shipments.exists(Shipment.id(Order.id("1")))) // prints: true
 * })
 *
 * const layer = Process.layer(Shipping).pipe(Layer.provideMerge(MemoryLayer()))
 * program.pipe(Effect.provide(layer), NodeRuntime.runMain)
 * ```
 */
import type { Duration, Scope } from "effect"
import { Cause, Effect, Exit, Fiber, FiberSet, Layer, SubscriptionRef } from "effect"
import type * as Aggregate from "./Aggregate.ts"
import type {
  CausationTooDeep,
  EventNotDecodable,
  EventNotDecryptable,
  EventNotEncodable,
  ProcessBehind,
  ProcessFailed,
  ProcessSuperseded,
  RecorderError,
  RecorderFailure,
  RecorderUnavailable,
  UnknownEventType,
  UpstreamChanged
} from "./EventSourcingError.ts"
import { EventStore } from "./EventStore.ts"
import { checkCount, milliseconds } from "./internal/backend/options.ts"
import { messageOf } from "./internal/errors/messageOf.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import { compile } from "./internal/process/compile.ts"
import type { Compiled } from "./internal/process/compiled.ts"
import type { Node } from "./internal/process/reaction.ts"
import type { Parts, Services as Ports } from "./internal/process/reactor.ts"
import type { Told } from "./internal/process/running.ts"
import { runProcess, settleProcess } from "./internal/process/running.ts"
import { readAfter } from "./internal/process/trackingOf.ts"
import { localOf, positionOf, untilHandled } from "./internal/process/waiting.ts"
import { toDecision } from "./internal/repository/command.ts"
import { make as makeStates } from "./internal/repository/states.ts"
import { outsideTransactions } from "./internal/sql/outsideTransactions.ts"
import { LogReader } from "./LogReader.ts"
import type { Position } from "./Position.ts"
import type { Positioned } from "./RecordedEvent.ts"
import type * as Repository from "./Repository.ts"
import { SnapshotStore } from "./SnapshotStore.ts"
import * as StreamName from "./StreamName.ts"
import { Subscription } from "./Subscription.ts"
import { TrackedAppend } from "./TrackedAppend.ts"

/** Marks an event that a process deliberately does not handle. */
export interface Ignore {
  readonly _tag: "Ignore"
}

/** Ignores an event in a process. Omitting the handler instead is a compile error. */
export const ignore: Ignore = { _tag: "Ignore" }

/** What is to be done because of an event; `E` is the type of the errors with which it may be refused. */
export interface Reaction<out E> {
  readonly _tag: "effect-eventsourcing/Reaction"
  /** @internal */
  readonly node: Node<E>
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly error: E }
}

/** What a handler returns: one reaction, several, or none. */
export type Reactions<E> = Reaction<E> | ReadonlyArray<Reaction<E>> | undefined | void

/** The errors with which reactions may be refused. */
export type RefusalOf<R> = R extends Reaction<infer E> ? E : R extends ReadonlyArray<infer One> ? RefusalOf<One> : never

/** The errors of a handler: those of its reactions, and of an Effect that looks something up. */
type FailureOf<R> = R extends Effect.Effect<infer A, infer E, infer _R> ? E | RefusalOf<A> : RefusalOf<R>

type ServicesOf<R> = R extends Effect.Effect<unknown, unknown, infer S> ? S : never

type TagOf<E> = E extends { readonly _tag: infer Tag extends string } ? Tag : never

type EventOf<A extends Aggregate.Any, Tag> = Extract<Aggregate.Event<A>, { readonly _tag: Tag }>

/** What a process does because of events of one type: a handler, or {@link ignore}. */
export type Handler<A extends Aggregate.Any, Tag> =
  | Ignore
  | ((
      cause: Positioned<Aggregate.NameOf<A>, EventOf<A, Tag>>
    ) => Reactions<unknown> | Effect.Effect<Reactions<unknown>, unknown, unknown>)

/** A handler, or {@link ignore}, for every event of every aggregate that the process follows. */
export type Handlers<As extends ReadonlyArray<Aggregate.Any>> = {
  readonly [A in As[number] as Aggregate.NameOf<A>]: {
    readonly [Tag in Aggregate.Event<A>["_tag"]]: Handler<A, Tag>
  }
}

/** Rejects handlers of events that do not exist, such as a misspelt name. */
export type Exact<H, Expected> = {
  readonly [Name in keyof H]: Name extends keyof Expected
    ? { readonly [Tag in keyof H[Name]]: Tag extends keyof Expected[Name] ? H[Name][Tag] : "there is no such event" }
    : "there is no such aggregate here"
}

type ResultOf<H> = {
  readonly [Name in keyof H]: {
    readonly [Tag in keyof H[Name]]: H[Name][Tag] extends (...args: ReadonlyArray<never>) => infer Result
      ? Result
      : never
  }[keyof H[Name]]
}[keyof H]

/**
 * A process: which events it follows, and what it does because of them. `E` contains the errors that are not handled:
 * refused decisions, and failed lookups of handlers. `R` is what handlers require.
 */
export interface Process<out E, out R> {
  readonly name: string
  readonly version: number
  readonly begin: "start" | "end"
  readonly follows: ReadonlyArray<Aggregate.Any>
  /** @internal */
  readonly compiled: Compiled<E, R>
  /** Carries the types for the compiler; it has no value at run time. */
  readonly "~types": { readonly error: E; readonly services: R }
}

/** Any process. */
export type Any = Process<unknown, unknown>

type OneOrMore = readonly [Aggregate.Any, ...ReadonlyArray<Aggregate.Any>]

/**
 * Defines a process: a handler for each event of the aggregates that it follows, which says what to do because of it.
 *
 * **When to use**
 *
 * Use this if an event is to change other aggregates: an order that is placed requests a shipment. Use `Projection` for
 * views, and `Projection.atLeastOnce` for effects outside of the log.
 *
 * **Details**
 *
 * - `name`: lower-case letters, digits and `_` (1 to 40), unique in the log. It identifies how far the process has come.
 * - `follows`: the aggregates whose events it handles; it may follow the ones that it changes.
 * - `begin`: where it begins if it has never run: with the first event of the log (`"start"`), or with new ones
 *   (`"end"`).
 * - `handlers`: for each event {@link ignore}, or a function that returns what is to be done: one {@link execute},
 *   several, none, or an Effect of these that looks something up.
 * - `version`: a higher one takes over immediately, and continues where the lower one is: nothing is done again or left
 *   out. Runners of the lower one stop with `ProcessSuperseded`. Default 1.
 *
 * What the handlers want is decided as `Repository.execute` does, and recorded in one append together with how far the
 * process has come: each event takes effect once, whatever crashes or runs twice.
 *
 * **Gotchas**
 *
 * A handler may be called several times for an event, and the last call counts: it looks things up and does nothing.
 * Another name is another process, which begins where `begin` says.
 *
 * It throws on names that can't be recorded, so that the program fails when it starts.
 *
 * **Example** (Payment is requested for each order)
 *
 * ```ts
 * import { Schema } from "effect"
 * import { Aggregate, Process } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make("Order", {
 *   state: { price: Schema.Int },
 *   creation: { Placed: { price: Schema.Int } },
 *   events: { Renamed: {} },
 *   reduce: { Placed: ({ price }) => ({ price }), Renamed: (order) => order }
 * })
 * const Payment = Aggregate.make("Payment", {
 *   state: { amount: Schema.Int },
 *   creation: { Requested: { amount: Schema.Int } },
 *   events: {},
 *   reduce: { Requested: ({ amount }) => ({ amount }) }
 * })
 *
 * const Billing = Process.make("billing", {
 *   follows: [Order],
 *   begin: "start",
 *   handlers: {
 *     Order: {
 *       Placed: ({ aggregateId, event }) =>
 *         Process.execute(Payment, Payment.id(aggregateId), Payment.Requested({ amount: event.price })),
 *       Renamed: Process.ignore
 *     }
 *   }
 * })
 * console.log(Billing.version) // prints: 1
 * ```
 */
export const make = <const As extends OneOrMore, const H extends Handlers<As>>(
  name: string,
  definition: {
    readonly follows: As
    readonly begin: "start" | "end"
    readonly version?: number
    readonly handlers: H & Exact<H, Handlers<As>>
  }
): Process<FailureOf<ResultOf<H>>, ServicesOf<ResultOf<H>>> =>
  // "~types" has no value at run time
  compile<FailureOf<ResultOf<H>>, ServicesOf<ResultOf<H>>>(name, definition, nodesOf) as Process<
    FailureOf<ResultOf<H>>,
    ServicesOf<ResultOf<H>>
  >

const reactionOf = <E>(node: Node<E>): Reaction<E> => ({ _tag: "effect-eventsourcing/Reaction", node }) as Reaction<E>

const isReaction = (u: unknown): u is Reaction<never> =>
  typeof u === "object" && u !== null && "_tag" in u && u._tag === "effect-eventsourcing/Reaction"

/** The reactions that a handler has returned, which may be anything in a program without types. */
const nodesOf = <E>(reactions: unknown, whose: string): ReadonlyArray<Node<E>> => {
  if (reactions === undefined) return []
  return (Array.isArray(reactions) ? (reactions as ReadonlyArray<unknown>) : [reactions]).map((one) => {
    if (isReaction(one)) return one.node
    const promise =
      one instanceof Promise ? "; one that has to wait returns an Effect, such as Effect.promise(...)" : ""
    throw new Error(`${whose} returns reactions, such as Process.execute(...), or undefined${promise}`)
  })
}

/**
 * A command for an aggregate, as the reaction to an event.
 *
 * **When to use**
 *
 * Return this from a handler; the command is one that `Repository.execute` accepts: a decision, or events as they are.
 *
 * **Details**
 *
 * The decision is taken on the state that the aggregate has then, after all that this process has decided because of
 * earlier events. Its events are recorded with the event's id as their causation id, and with its correlation id.
 *
 * If it is refused, nothing is recorded for the event, and the process stops with `ProcessFailed`, unless
 * {@link whenRefused} says what to do instead.
 */
export const execute = <A extends Aggregate.Any, const C extends Repository.Command<A>>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  command: C
): Reaction<Repository.CommandError<A, C>> => {
  const stream = StreamName.of(aggregate.name, id)
  const one = { aggregate, id, stream, decision: toDecision(aggregate, command), expected: undefined }
  return reactionOf({ _tag: "Execute", command: one } as Node<Repository.CommandError<A, C>>)
}

/**
 * Replaces a reaction that is refused by other reactions, or by none.
 *
 * **When to use**
 *
 * Use this for refusals that the process expects: the goods are out of stock, the payment was made already.
 *
 * **Details**
 *
 * `tag` selects refusals by their `_tag`; without it, `then` gets each of them. What it handles is no longer in the type
 * of the process. A refusal counts only if the state on which it was decided is the current one when the result is
 * recorded.
 *
 * **Example** (An order that is rejected if it can't be paid)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Process } from "effect-eventsourcing"
 *
 * const Order = Aggregate.make("Order", {
 *   state: Schema.Literals(["placed", "rejected"]),
 *   creation: { Placed: { customer: Schema.String, price: Schema.Int } },
 *   events: { Rejected: {} },
 *   reduce: { Placed: () => "placed" as const, Rejected: () => "rejected" as const }
 * })
 * const Purse = Aggregate.make("Purse", {
 *   state: Schema.Int,
 *   creation: { Opened: { coins: Schema.Int } },
 *   events: { Taken: { coins: Schema.Int } },
 *   reduce: { Opened: ({ coins }) => coins, Taken: (purse, { coins }) => purse - coins }
 * })
 * class TooFewCoins extends Schema.TaggedError<TooFewCoins>()("TooFewCoins", {}) {}
 * const take = (coins: number) =>
 *   Purse.decide((purse) => (purse < coins ? Effect.fail(new TooFewCoins()) : Purse.Taken({ coins })))
 *
 * const Paying = Process.make("paying", {
 *   follows: [Order],
 *   begin: "start",
 *   handlers: {
 *     Order: {
 *       Placed: ({ aggregateId, event }) =>
 *         Process.whenRefused(
 *           Process.execute(Purse, Purse.id(event.customer), take(event.price)),
 *           "TooFewCoins",
 *           () => Process.execute(Order, aggregateId, Order.Rejected())
 *         ),
 *       Rejected: Process.ignore
 *     }
 *   }
 * })
 * console.log(Paying.name) // prints: paying
 * ```
 */
export const whenRefused: {
  <E, const Tag extends TagOf<E>, R extends Reactions<unknown>>(
    reaction: Reaction<E>,
    tag: Tag,
    then: (refusal: Extract<E, { readonly _tag: Tag }>) => R
  ): Reaction<Exclude<E, { readonly _tag: Tag }> | RefusalOf<R>>
  <E, R extends Reactions<unknown>>(reaction: Reaction<E>, then: (refusal: E) => R): Reaction<RefusalOf<R>>
} = (
  reaction: Reaction<unknown>,
  ...rest: readonly [string, (refusal: never) => unknown] | readonly [(refusal: never) => unknown]
): Reaction<never> => {
  const [tag, then] = rest.length === 1 ? [undefined, rest[0]] : rest
  return reactionOf<never>({
    _tag: "WhenRefused",
    reaction: reaction.node,
    tag,
    then: (refusal) =>
      // the planner calls it with refusals of this reaction that have this tag
      nodesOf(then(refusal as never), "what is done in place of a refused reaction")
  })
}

/** What a process is doing. */
export type State<E = unknown> = Told | { readonly _tag: "Stopped"; readonly error: RunError<E> | "interrupted" }

/** The errors with which a process can't handle an event, besides those of its own decisions and lookups. */
export type EventError =
  | EventNotDecodable
  | EventNotDecryptable
  | UnknownEventType
  | EventNotEncodable
  | CausationTooDeep
  | RecorderFailure

/**
 * The errors that stop a process. Transient failures do not, not even those of lookups in handlers: they are retried
 * indefinitely.
 */
export type RunError<E> =
  | ProcessFailed<Exclude<E, RecorderUnavailable> | EventError>
  | ProcessSuperseded
  | UpstreamChanged
  | RecorderFailure

/** How a process is run. */
export interface Options {
  /**
   * The most events whose results are recorded together; at least 1. Default 64. If results keep conflicting with what
   * others record, batches are smaller.
   */
  readonly maxBatch?: number
  /**
   * How long events may wait for another runner before this one takes over, and how often one that stands by looks for
   * them. From 10 ms; default 1 second.
   */
  readonly patience?: Duration.Input
  /**
   * How many events may lead to one another, each causing the next, before that is taken for a loop, which stops the
   * process with `CausationTooDeep`. At least 1, or `Infinity`. Default 100.
   */
  readonly maxDepth?: number
  /** How many states of aggregates are cached; 0 caches none. Default 1000. */
  readonly cacheCapacity?: number
}

/** A runner that was started. */
export interface Runner<E> {
  /** What it is doing now, and every change of that. */
  readonly state: SubscriptionRef.SubscriptionRef<State<E>>
  /** Waits until the runner has stopped, and fails with the reason. */
  readonly join: Effect.Effect<never, RunError<E>>
}

/** The services that running a process requires, besides those of its handlers. */
export type Services = LogReader | EventStore | SnapshotStore | Subscription | TrackedAppend

type SettleServices = LogReader | EventStore | SnapshotStore | TrackedAppend

const ports: Effect.Effect<Ports, never, SettleServices> = Effect.gen(function* () {
  return {
    reader: yield* LogReader,
    store: yield* EventStore,
    snapshots: yield* SnapshotStore,
    tracked: yield* TrackedAppend
  }
})

const partsOf = <E, R>(
  process: Process<E, R>,
  services: Ports,
  { cacheCapacity = 1000, maxBatch = 64, maxDepth = 100 }: Options
): Effect.Effect<Omit<Parts<E, R>, "attributes" | "runInBackground">, RecorderFailure> =>
  Effect.gen(function* () {
    const operation = `run process "${process.name}"`
    yield* checkCount(operation, "maxBatch", maxBatch, 1)
    if (maxDepth !== Number.POSITIVE_INFINITY) yield* checkCount(operation, "maxDepth", maxDepth, 1)
    const counts = yield* Metrics.counts
    const states = makeStates(services.store, services.snapshots, cacheCapacity, counts)
    return { ...services, process, states, counts, maxBatch, maxDepth }
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
 * The runner works until the scope closes, or until an error of `RunError` stops it. Transient failures are retried
 * indefinitely. Any number of runners of one process can be started, in one or more processes of the system: they need
 * no lease, because only one of them can record the results of an event. The others stand by, and take over when events
 * wait for longer than `patience`.
 *
 * If it is started inside a transaction of the program's, the runner is not part of that transaction.
 *
 * **Gotchas**
 *
 * A runner that stops does not fail the scope: its `state` is `Stopped`, and the error is logged.
 */
export const start = <E, R>(
  process: Process<E, R>,
  options: Options = {}
): Effect.Effect<Runner<E>, never, Scope.Scope | Services | R> =>
  Effect.gen(function* () {
    const { name, version } = process
    const state = yield* SubscriptionRef.make<State<E>>({ _tag: "Starting" })
    const services = yield* ports
    const subscription = yield* Subscription
    // events that are recorded after this has returned are not left out
    const end =
      process.begin === "end"
        ? yield* services.reader.head.pipe(
            Effect.map((head) => ({ head })),
            Effect.timeout("5 seconds"),
            Effect.orElseSucceed(() => undefined)
          )
        : undefined
    const { attributes, release } = yield* Metrics.labelsFor({ process: name, version: `${version}` })
    const report = Metrics.reportingState(attributes, "process")
    const set = (next: State<E>) => Effect.andThen(SubscriptionRef.set(state, next), report(next._tag))
    const local = localOf(services.tracked, name)
    local.stopped = undefined
    const saving = yield* FiberSet.make<void>()
    const working = Effect.gen(function* () {
      const parts = yield* partsOf(process, services, options)
      const patience = yield* milliseconds(`run process "${name}"`, "patience", options.patience ?? "1 second", {
        least: 10
      })
      return yield* runProcess(
        { ...parts, attributes, runInBackground: (save) => FiberSet.run(saving)(save) },
        { subscription, patience, tell: set, end, onProgress: local.growth.notify }
      )
    })
    const fiber = yield* working.pipe(
      Effect.onExit((exit) => {
        if (Exit.isSuccess(exit)) return Effect.void
        if (Cause.hasInterruptsOnly(exit.cause)) return set({ _tag: "Stopped", error: "interrupted" })
        // of a defect, the state contains what was thrown
        const error = Cause.squash(exit.cause) as RunError<E>
        local.stopped = messageOf(error)
        local.growth.notify()
        return Effect.andThen(
          set({ _tag: "Stopped", error }),
          Effect.logError(`process "${name}" has stopped: ${messageOf(error)}`)
        )
      }),
      Effect.ensuring(release),
      Effect.forkScoped({ startImmediately: true })
    )
    return { state, join: Fiber.join(fiber) }
    // the runner outlives a transaction of the fiber that starts it
  }).pipe(Effect.updateContext(outsideTransactions))

/**
 * Runs a process, and fails with the error that stops it.
 *
 * **When to use**
 *
 * Use this if the program supervises the runner itself, for instance to shut down or to restart it when it fails.
 *
 * **Details**
 *
 * It never succeeds. Interrupting it stops the runner. See {@link start} for what it does.
 */
export const run = <E, R>(
  process: Process<E, R>,
  options: Options = {}
): Effect.Effect<never, RunError<E>, Services | R> =>
  Effect.scoped(Effect.flatMap(start(process, options), ({ join }) => join)) as Effect.Effect<
    never,
    RunError<E>,
    Services | R
  >

/**
 * Runs a process for as long as the layer is open.
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
export const layer = <E, R>(
  process: Process<E, R>,
  options: Options = {}
): Layer.Layer<never, never, Exclude<Services | R, Scope.Scope>> => Layer.effectDiscard(start(process, options))

/**
 * Lets processes work in turns until none of them has anything left to do; returns how many events they have handled.
 *
 * **When to use**
 *
 * Use this in tests, and in programs that process what exists and then end.
 *
 * **Details**
 *
 * It uses one fiber, no timers, and the order that is given: on the same log, it records the same events in the same
 * order. It fails with what would stop a runner, and with `RecorderUnavailable`, which nothing retries here.
 *
 * **Gotchas**
 *
 * A process with `begin: "end"` begins at the end that the log has when it is settled the first time.
 */
export const settle = <const Ps extends ReadonlyArray<Any>>(
  processes: Ps,
  options: Pick<Options, "maxBatch" | "maxDepth" | "cacheCapacity"> = {}
): Effect.Effect<
  number,
  RunError<Ps[number]["~types"]["error"]> | RecorderUnavailable,
  SettleServices | Ps[number]["~types"]["services"]
> =>
  Effect.gen(function* () {
    type Member = Process<Ps[number]["~types"]["error"], Ps[number]["~types"]["services"]>
    const services = yield* ports
    const all = yield* Effect.forEach(processes as ReadonlyArray<Member>, (process) =>
      Effect.map(partsOf(process, services, options), (parts) => ({
        ...parts,
        attributes: { process: process.name, version: `${process.version}` },
        runInBackground: (save: Effect.Effect<void>) => save
      }))
    )
    let handled = 0
    let more = true
    while (more) {
      more = false
      for (const parts of all) {
        // another runner has made progress
        const count = yield* Effect.retry(settleProcess(parts), { while: ({ _tag }) => _tag === "TrackingConflict" })
        handled += count
        more ||= count > 0
      }
    }
    return handled
  }) as Effect.Effect<
    number,
    RunError<Ps[number]["~types"]["error"]> | RecorderUnavailable,
    SettleServices | Ps[number]["~types"]["services"]
  >

/**
 * How far a process has come: every event up to this position was handled, or has no handler. `undefined` if it has
 * handled none.
 */
export const position = (process: Any): Effect.Effect<Position | undefined, RecorderError, TrackedAppend> =>
  Effect.flatMap(TrackedAppend, (tracked) => Effect.map(positionOf(tracked, process), readAfter))

/**
 * Waits until the process has handled every event up to a position.
 *
 * **When to use**
 *
 * Use this if a caller should see what a process does because of their command: pass the `position` that the command
 * returned.
 *
 * **Details**
 *
 * If the position is `undefined`, because the command recorded nothing, it returns immediately. It is notified
 * immediately of progress made in this process of the system, and polls every 50 ms for progress made by others.
 *
 * After `timeout` (default 5 seconds) it fails with `ProcessBehind`, which says how far the process has come. If its
 * runner here has stopped, it fails after one second, and the error says why the runner stopped.
 *
 * **Gotchas**
 *
 * It waits for the reactions to these events, and not for reactions to those.
 */
export const wait = (
  process: Any,
  position: Position | undefined,
  options: { readonly timeout?: Duration.Input } = {}
): Effect.Effect<void, ProcessBehind | RecorderError, LogReader | TrackedAppend> =>
  Effect.gen(function* () {
    if (position === undefined) return
    const timeout = yield* milliseconds(
      `wait for process "${process.name}"`,
      "timeout",
      options.timeout ?? "5 seconds",
      { least: 0, endless: true }
    )
    yield* untilHandled({ reader: yield* LogReader, tracked: yield* TrackedAppend }, process, position, timeout)
  })
