/**
 * Loads aggregates from the event store, and records the events that decisions return, with retries, a cache and
 * transactions.
 *
 * @example
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Counter = Aggregate.make("Counter", {
 *   state: Schema.Int,
 *   creation: { Started: {} },
 *   events: { Increased: { by: Schema.Int } },
 *   reduce: { Started: () => 0, Increased: (count, { by }) => count + by }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const counters = yield* Repository.of(Counter)
 *   const id = yield* Counter.randomId
 *   yield* counters.execute(id, Counter.Started())
 *   yield* counters.execute(id, Counter.decide((count) => Counter.Increased({ by: count + 1 })))
 *   const { state, version } = yield* counters.get(id)
 *   console.log(state, version) // prints: 1 1
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer())))
 * ```
 */
import type { Stream } from "effect"
import { Context, Effect, FiberSet, Layer, Schedule } from "effect"
import type * as Aggregate from "./Aggregate.ts"
import { Provisional } from "./Cipher.ts"
import type * as Decision from "./Decision.ts"
import type {
  AggregateAlreadyExists,
  AggregateNotFound,
  AppendError,
  DuplicateParticipant,
  EventNotEncodable,
  ReadError,
  RecorderError
} from "./EventSourcingError.ts"
import type { ReadOptions } from "./EventStore.ts"
import { EventStore } from "./EventStore.ts"
import * as KeyedLock from "./internal/concurrency/keyedLock.ts"
import * as Metrics from "./internal/observability/metrics.ts"
import { warnOfLongWait } from "./internal/repository/deciding.ts"
import { makeRepositories } from "./internal/repository/repositories.ts"
import { make as makeStates } from "./internal/repository/states.ts"
import { MultiStreamAppend } from "./MultiStreamAppend.ts"
import type { Position } from "./Position.ts"
import type { Positioned, RecordedEvent } from "./RecordedEvent.ts"
import type { ExpectedVersion } from "./Recorder.ts"
import { SnapshotStore } from "./SnapshotStore.ts"

/**
 * What a command returns: the aggregate as it is afterwards, and the events that were recorded. If its decision returns
 * a value, there is a field `value` in addition.
 */
export interface Executed<Name extends string, out State, out Event> extends Aggregate.Instance<Name, State> {
  /** The events that were recorded; empty if the decision returned none. */
  readonly events: ReadonlyArray<RecordedEvent<Name, Event>>
  /**
   * The position of the last event that was recorded; `undefined` if none was. In a transaction it is the last event of
   * all participants together.
   */
  readonly position: Position | undefined
  /**
   * The position of each of `events`, in their order; `undefined` if the backend knows only that of the last event, as
   * KurrentDB does for several events.
   */
  readonly positions: ReadonlyArray<Position> | undefined
}

/** The errors that executing a command can fail with on every backend, besides those of its decision. */
export type ExecuteError = AppendError | ReadError

/** What can be executed: a decision, or events as they are. */
export type Command<A extends Aggregate.Any> =
  | Decision.Decision<Aggregate.NameOf<A>, unknown>
  | Aggregate.Event<A>
  | readonly [Aggregate.Event<A>, ...ReadonlyArray<Aggregate.ChangeOf<A>>]
  | NotACommand

/** No value has this type: it makes the compiler report what to write in place of a function. */
export interface NotACommand {
  (...args: never): never
  readonly "call the function if it returns a decision or an event: execute(id, make(...)); wrap it if it decides: execute(id, Dog.decide((dog) => ...))": never
}

/** The errors that a command itself can fail with, besides those of the library. */
export type CommandError<A extends Aggregate.Any, C> =
  C extends Decision.Decision<infer _N, infer E>
    ? E
    : C extends readonly [infer First, ...ReadonlyArray<unknown>]
      ? CommandError<A, First>
      : C extends Aggregate.CreationOf<A>
        ? AggregateAlreadyExists
        : AggregateNotFound

/** Loads and changes the aggregates of one kind. */
export interface AggregateRepository<A extends Aggregate.Any> {
  /**
   * Loads an aggregate: its current state, or with `version` the state that it had at that version.
   *
   * **When to use**
   *
   * Use this to show one aggregate whose id is known. Use a projection for queries over many aggregates.
   *
   * **Details**
   *
   * It reads any events newer than the cached state. With `allowStale` it returns the cached state if there is one,
   * without reading. It fails with `AggregateNotFound` if the aggregate does not exist, or has not reached `version`.
   *
   * **Gotchas**
   *
   * With `allowStale` the state may be out of date, because other processes may have recorded events since.
   */
  readonly get: (
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    options?: { readonly version?: number; readonly allowStale?: boolean }
  ) => Effect.Effect<Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>, AggregateNotFound | ReadError>

  /** Whether the aggregate exists, that is, has at least one event. */
  readonly exists: (id: Aggregate.Id<Aggregate.NameOf<A>>) => Effect.Effect<boolean, RecorderError>

  /**
   * Loads the aggregate, decides and appends; on a conflict, retries according to the repository's policy.
   *
   * **When to use**
   *
   * Use this for every command on one aggregate. Use {@link transaction} for a decision about several.
   *
   * **Details**
   *
   * The command is a decision, or events as they are. With `expectedVersion` (like an HTTP `If-Match`), an aggregate at
   * any other version fails with `WrongExpectedVersion`, and nothing is retried. If the response to an append is lost,
   * the same stored events are sent again, and the decision is not taken again.
   *
   * If the decision returns a value, the result has it as `value`: the value of the attempt that was recorded.
   *
   * **Gotchas**
   *
   * A decision must be pure: it may be taken several times, and the last one counts.
   */
  readonly execute: <const C extends Command<A>>(
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    command: C,
    options?: { readonly expectedVersion?: ExpectedVersion }
  ) => Effect.Effect<
    Executed<Aggregate.NameOf<A>, Aggregate.StateOf<A>, Aggregate.Event<A>> & Decision.Returned<C>,
    CommandError<A, C> | ExecuteError
  >

  /**
   * Drops the cached state of the aggregate: the next command or read rebuilds it from the recorded events. Call this
   * if, for instance, a shredded key or a removed stream is to take effect at once.
   */
  readonly forget: (id: Aggregate.Id<Aggregate.NameOf<A>>) => Effect.Effect<void>

  /**
   * The aggregate's events, as a stream that is read in pages.
   *
   * **When to use**
   *
   * Use this to show what happened to one aggregate. Use `Subscription.stream` to keep following it.
   *
   * **Details**
   *
   * `direction` is `forward` (the default) or `backward`. The stream starts after the version `after` (exclusive) and
   * ends with the version `upTo` (inclusive). It is empty if the aggregate does not exist.
   */
  readonly history: (
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    options?: ReadOptions
  ) => Stream.Stream<Positioned<Aggregate.NameOf<A>, Aggregate.Event<A>>, ReadError>

  /** Saves a snapshot of the aggregate's current state. */
  readonly snapshot: (
    id: Aggregate.Id<Aggregate.NameOf<A>>
  ) => Effect.Effect<
    Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>,
    AggregateNotFound | EventNotEncodable | ReadError
  >
}

/** How repositories cache and retry. */
export interface Options {
  /** The number of aggregates whose states are cached; 0 caches none. Default 1000. */
  readonly cacheCapacity?: number | undefined
  /**
   * When to decide again after a conflict. Default: at once, then for 10 seconds with jittered pauses of 1 to 10 ms.
   * They are short because the writer that was first continues without a pause.
   */
  readonly conflictRetry?: Schedule.Schedule<unknown>
}

/** A participant of a transaction, and whether it has to exist. */
export interface Participant<A extends Aggregate.Any, Requires extends Decision.Requires> {
  readonly aggregate: A
  readonly id: Aggregate.Id<Aggregate.NameOf<A>>
  readonly requires: Requires
  /**
   * The version that it must be at; at any other, the transaction fails with `WrongExpectedVersion`, without a retry.
   */
  readonly expectedVersion?: ExpectedVersion | undefined
}

/** What is expected of a participant, besides whether it exists. */
export interface ParticipantOptions<Expected extends ExpectedVersion> {
  /** The version that it must be at, like an HTTP `If-Match`. Default: any. */
  readonly expectedVersion?: Expected | undefined
}

/** The participants of a transaction, by the names that its decision uses. */
export interface Participants {
  readonly [name: string]: Participant<Aggregate.Any, Decision.Requires>
}

/** The states on which a transaction decides. */
export type States<P extends Participants> = {
  readonly [K in keyof P]: P[K] extends Participant<infer A, infer Requires>
    ? Requires extends "existing"
      ? Aggregate.StateOf<A>
      : Requires extends "missing"
        ? undefined
        : Aggregate.StateOf<A> | undefined
    : never
}

/** Which aggregates a transaction decides on, and at which versions. */
export type Revisions<P extends Participants> = {
  readonly [K in keyof P]: P[K] extends Participant<infer A, infer Requires>
    ?
        | (Requires extends "missing" ? never : Aggregate.Revision<Aggregate.NameOf<A>>)
        | (Requires extends "existing" ? never : Aggregate.NoRevision<Aggregate.NameOf<A>>)
    : never
}

/**
 * What a transaction decides for each participant: events to record, perhaps as `{ events, value }`, or a decision to
 * take on its state.
 */
export type Decided<P extends Participants> = {
  readonly [K in keyof P]?: P[K] extends Participant<infer A, infer Requires>
    ?
        | Decision.Decision<Aggregate.NameOf<A>, unknown>
        | DecidedEvents<A, Requires>
        | Decision.WithValue<DecidedEvents<A, Requires>>
    : never
}

type DecidedEvents<A extends Aggregate.Any, Requires extends Decision.Requires> = Requires extends "existing"
  ? Decision.Events<Aggregate.ChangeOf<A>>
  : Requires extends "missing"
    ?
        | Aggregate.CreationOf<A>
        | readonly []
        | readonly [Aggregate.CreationOf<A>, ...ReadonlyArray<Aggregate.ChangeOf<A>>]
        | undefined
    : Decision.Events<Aggregate.Event<A>>

/** The errors of a transaction's decision, and of the decisions on participants that it returns. */
export type DecidedError<R> = R extends Effect.Effect<infer A, infer E, infer _R> ? E | ErrorOfEach<A> : ErrorOfEach<R>

type ErrorOfEach<D> = D extends object ? { readonly [K in keyof D]: ErrorOfDecision<D[K]> }[keyof D] : never

type ErrorOfDecision<D> = D extends Decision.Decision<infer _N, infer E> ? E : never

/** What a transaction's decision returns for a participant. */
type PartOf<R, K> = R extends Effect.Effect<infer A, infer _E, infer _R> ? PartOfOne<A, K> : PartOfOne<R, K>

type PartOfOne<R, K> = R extends unknown ? (K extends keyof R ? R[K] : undefined) : never

/**
 * A participant as it is after a transaction; `undefined` if it does not exist. `Part` is what the decision returned for
 * it, perhaps with a value.
 */
export type TransactedOne<P, Part> =
  P extends Participant<infer A, infer Requires>
    ?
        | (Executed<Aggregate.NameOf<A>, Aggregate.StateOf<A>, Aggregate.Event<A>> & Decision.Returned<Part>)
        | (Requires extends "existing" ? never : undefined)
    : never

/** What a transaction returns: each participant as it is afterwards; `undefined` for one that does not exist. */
export type Transacted<P extends Participants, R> = { readonly [K in keyof P]: TransactedOne<P[K], PartOf<R, K>> }

/** The errors of participants that must exist and do not, or that must not exist and do. */
export type ParticipantError<P extends Participants> = {
  readonly [K in keyof P]: P[K]["requires"] extends "existing"
    ? AggregateNotFound
    : P[K]["requires"] extends "missing"
      ? AggregateAlreadyExists
      : never
}[keyof P]

/** Provides the repositories of all kinds of aggregates. */
export class Repository extends Context.Service<
  Repository,
  {
    readonly of: <A extends Aggregate.Any>(aggregate: A) => AggregateRepository<A>
    readonly transaction: <
      const P extends Participants,
      const R extends Decided<P> | Effect.Effect<Decided<P>, unknown>
    >(
      participants: P,
      decide: (states: States<P>, revisions: Revisions<P>) => R
    ) => Effect.Effect<
      // written out so that an editor shows what becomes of each participant
      { readonly [K in keyof P]: TransactedOne<P[K], PartOf<R, K>> },
      DecidedError<R> | ParticipantError<P> | DuplicateParticipant | ExecuteError,
      MultiStreamAppend
    >
  }
>()("effect-eventsourcing/Repository") {}

/**
 * Returns the repository of one kind of aggregate.
 *
 * **When to use**
 *
 * Call this once in the Effect that needs the repository; it is cheap, and nothing is read.
 *
 * **Details**
 *
 * All repositories of a layer share one cache. The cache holds the states of up to `cacheCapacity` aggregates of all
 * kinds.
 */
export const of = <A extends Aggregate.Any>(aggregate: A): Effect.Effect<AggregateRepository<A>, never, Repository> =>
  Repository.useSync((repository) => repository.of(aggregate))

/** A participant that must exist. */
export const existing = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  { expectedVersion }: ParticipantOptions<number> = {}
): Participant<A, "existing"> => ({ aggregate, id, requires: "existing", expectedVersion })

/** A participant that must not exist yet. */
export const missing = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>
): Participant<A, "missing"> => ({ aggregate, id, requires: "missing" })

/** A participant that may or may not exist. */
export const either = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  { expectedVersion }: ParticipantOptions<ExpectedVersion> = {}
): Participant<A, "either"> => ({ aggregate, id, requires: "either", expectedVersion })

/**
 * Decides over several aggregates at once, and records the events of all of them in one append, all or none (G1).
 *
 * **When to use**
 *
 * Use this if one rule holds across aggregates, such as a transfer between two purses. Use `execute` for a single
 * aggregate.
 *
 * **Details**
 *
 * It loads all participants, takes one decision on their states, and appends. On a conflict, the whole transaction is
 * retried. The decision gets the ids, versions and times of the participants as its second argument. If it returns
 * `{ events, value }` for a participant, or a decision that does, the participant's result has the `value`.
 *
 * Participants that get no event are checked too: the append is refused if one of them has changed since it
 * was read.
 *
 * The backend must support this: the requirement is the service `MultiStreamAppend` in the type.
 *
 * **Gotchas**
 *
 * The decision must be pure: it may be taken several times, and the last one counts. Naming an aggregate twice fails
 * with `DuplicateParticipant`.
 *
 * **Example** (A transfer)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { Aggregate, Repository } from "effect-eventsourcing"
 * import { MemoryLayer } from "effect-eventsourcing/memory"
 *
 * const Purse = Aggregate.make("Purse", {
 *   state: Schema.Int,
 *   creation: { Opened: { coins: Schema.Int } },
 *   events: { Taken: { coins: Schema.Int }, Put: { coins: Schema.Int } },
 *   reduce: {
 *     Opened: ({ coins }) => coins,
 *     Taken: (purse, { coins }) => purse - coins,
 *     Put: (purse, { coins }) => purse + coins
 *   }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const purses = yield* Repository.of(Purse)
 *   yield* purses.execute(Purse.id("ada"), Purse.Opened({ coins: 5 }))
 *   yield* purses.execute(Purse.id("bob"), Purse.Opened({ coins: 0 }))
 *   const { to } = yield* Repository.transaction(
 *     { from: Repository.existing(Purse, Purse.id("ada")), to: Repository.existing(Purse, Purse.id("bob")) },
 *     ({ from }) =>
 *       from < 3
 *         ? Effect.fail("too few coins" as const)
 *         : { from: Purse.Taken({ coins: 3 }), to: Purse.Put({ coins: 3 }) }
 *   )
 *   console.log(to.state) // prints: 3
 * })
 *
 * Effect.runPromise(program.pipe(Effect.provide(MemoryLayer())))
 * ```
 */
export const transaction = <
  const P extends Participants,
  const R extends Decided<P> | Effect.Effect<Decided<P>, unknown>
>(
  participants: P,
  decide: (states: States<P>, revisions: Revisions<P>) => R
): Effect.Effect<
  // written out so that an editor shows what becomes of each participant
  { readonly [K in keyof P]: TransactedOne<P[K], PartOf<R, K>> },
  DecidedError<R> | ParticipantError<P> | DuplicateParticipant | ExecuteError,
  Repository | MultiStreamAppend
> => Repository.use((repository) => repository.transaction(participants, decide))

/** Transactions without further requirements, for an application's own services. */
export interface Transactions {
  /** Does the same as {@link transaction}. */
  readonly transaction: <const P extends Participants, const R extends Decided<P> | Effect.Effect<Decided<P>, unknown>>(
    participants: P,
    decide: (states: States<P>, revisions: Revisions<P>) => R
  ) => Effect.Effect<
    { readonly [K in keyof P]: TransactedOne<P[K], PartOf<R, K>> },
    DecidedError<R> | ParticipantError<P> | DuplicateParticipant | ExecuteError
  >
}

/**
 * The transactions of a backend that can append to several streams at once. They take here, once, the services that
 * {@link transaction} requires at each call: an application's service that is built with them has no requirements left.
 */
export const transactions: Effect.Effect<Transactions, never, Repository | MultiStreamAppend> = Effect.gen(
  function* () {
    const repository = yield* Repository
    const append = yield* MultiStreamAppend
    return {
      transaction: (participants, decide) =>
        Effect.provideService(repository.transaction(participants, decide), MultiStreamAppend, append)
    }
  }
)

const defaultConflictRetry = Schedule.concat(
  Schedule.recurs(1),
  Schedule.min([Schedule.exponential("1 millis"), Schedule.spaced("10 millis")]).pipe(
    Schedule.jittered,
    Schedule.upTo({ duration: "10 seconds" })
  )
)

/** The repositories on an event store and a snapshot store. */
export const layer = (options: Options = {}): Layer.Layer<Repository, never, EventStore | SnapshotStore> =>
  Layer.effect(
    Repository,
    Effect.gen(function* () {
      const store = yield* EventStore
      const snapshots = yield* SnapshotStore
      const counts = yield* Metrics.counts
      const saving = yield* FiberSet.make<void>()
      // closing the layer waits for the snapshots that are being saved, but not forever
      yield* Effect.addFinalizer(() => Effect.timeoutOption(FiberSet.awaitEmpty(saving), "5 seconds"))
      const schedule = options.conflictRetry ?? defaultConflictRetry
      const shared = makeRepositories({
        store,
        snapshots,
        schedule,
        states: makeStates(store, snapshots, options.cacheCapacity ?? 1000, counts),
        // commands on one aggregate take turns in this process: otherwise a thousand of them would only conflict
        withLock: KeyedLock.make(warnOfLongWait).withLock,
        runInBackground: (save) => FiberSet.run(saving)(save)
      })
      const { inTransaction } = store
      if (inTransaction === undefined) return Repository.of(shared)

      // nobody else sees what a transaction reads and appends until it commits: nothing is cached, no turn is waited
      // for that only the end of the transaction would bring, and no snapshot is saved in the background
      const provisional = makeRepositories({
        store,
        snapshots,
        schedule,
        states: makeStates(store, snapshots, 0, Metrics.uncounted()),
        withLock: () => (self, instead) => Effect.suspend(() => instead?.() ?? self),
        runInBackground: () => Effect.void
      })
      const pick = <A, E, R, Of>(
        here: Of,
        within: Of,
        f: (one: Of) => Effect.Effect<A, E, R>
      ): Effect.Effect<A, E, R> =>
        Effect.contextWith((context: Context.Context<never>) =>
          inTransaction(context) ? Effect.provideService(f(within), Provisional, true) : f(here)
        )
      return Repository.of({
        of: (aggregate) => {
          const [one, other] = [shared.of(aggregate), provisional.of(aggregate)]
          const on = <A, E>(f: (repository: typeof one) => Effect.Effect<A, E>) => pick(one, other, f)
          return {
            get: (id, options) => on((repository) => repository.get(id, options)),
            exists: (id) => on((repository) => repository.exists(id)),
            execute: (id, command, options) => on((repository) => repository.execute(id, command, options)),
            forget: one.forget,
            history: one.history,
            snapshot: (id) => on((repository) => repository.snapshot(id))
          }
        },
        transaction: (participants, decide) =>
          pick(shared, provisional, (repository) => repository.transaction(participants, decide))
      })
    })
  )
