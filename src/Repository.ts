/**
 * Aggregates in and out of the event store: load, decide, append, retry, cache.
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
import { Context, DateTime, Effect, Layer, Result, Schedule, Scope } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "./Aggregate.ts"
import * as Decision from "./Decision.ts"
import type { AppendError, EventNotEncodable, ReadError, RecorderError } from "./EventSourcingError.ts"
import {
  AggregateAlreadyExists,
  AggregateNotFound,
  DuplicateParticipant,
  RecorderFailure,
  WrongExpectedVersion
} from "./EventSourcingError.ts"
import type { Prepared, ReadOptions } from "./EventStore.ts"
import { EventStore } from "./EventStore.ts"
import * as KeyedLock from "./internal/keyedLock.ts"
import { Lru } from "./internal/lru.ts"
import { withSpan } from "./internal/tracing.ts"
import type { MultiStreamAppend } from "./MultiStreamAppend.ts"
import type { Position } from "./Position.ts"
import type { Positioned, RecordedEvent } from "./RecordedEvent.ts"
import type { ExpectedVersion } from "./Recorder.ts"
import { SnapshotStore } from "./SnapshotStore.ts"
import type { Notification } from "./StoredEvent.ts"
import * as StreamName from "./StreamName.ts"

/** What a command answers: the aggregate as it stands afterwards, and what was recorded. */
export interface Executed<Name extends string, out State, out Event> extends Aggregate.Instance<Name, State> {
  /** What was recorded; empty where the decision had no event. */
  readonly events: ReadonlyArray<RecordedEvent<Event>>
  /** The position of the last event that was recorded; `undefined` where none was. */
  readonly position: Position | undefined
}

/** What can be executed: a decision, or events as they are. */
export type Command<A extends Aggregate.Any> =
  | Decision.Decision<Aggregate.NameOf<A>, unknown>
  | Aggregate.Event<A>
  | readonly [Aggregate.Event<A>, ...ReadonlyArray<Aggregate.Event<A>>]

/** What a command fails with besides the library's errors. */
export type CommandError<A extends Aggregate.Any, C> =
  C extends Decision.Decision<infer _N, infer E>
    ? E
    : C extends readonly [infer First, ...ReadonlyArray<unknown>]
      ? CommandError<A, First>
      : C extends Aggregate.CreationOf<A>
        ? AggregateAlreadyExists
        : AggregateNotFound

/** The aggregates of one kind. */
export interface AggregateRepository<A extends Aggregate.Any> {
  /**
   * The aggregate as it stands, or with `version` as it stood then.
   *
   * Reads what is newer than the cache has. With `allowStale` it takes what the cache has, if anything, and reads nothing:
   * other processes may have gone on.
   */
  readonly get: (
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    options?: { readonly version?: number; readonly allowStale?: boolean }
  ) => Effect.Effect<Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>, AggregateNotFound | ReadError>

  /** Whether the aggregate has an event. */
  readonly exists: (id: Aggregate.Id<Aggregate.NameOf<A>>) => Effect.Effect<boolean, RecorderError>

  /**
   * Loads, decides and appends; on a conflict again, by the repository's policy.
   *
   * With `expectedVersion` (as of an HTTP `If-Match`), an aggregate at any other version is `WrongExpectedVersion` and
   * nothing is tried again. When an answer is lost, the same stored events are sent again, never a new decision.
   *
   * A decision must be pure: it may be taken several times, and the last one counts.
   */
  readonly execute: <const C extends Command<A>>(
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    command: C,
    options?: { readonly expectedVersion?: ExpectedVersion }
  ) => Effect.Effect<
    Executed<Aggregate.NameOf<A>, Aggregate.StateOf<A>, Aggregate.Event<A>>,
    CommandError<A, C> | AppendError | ReadError
  >

  /** The aggregate's events, read in pages. Empty where there is no such aggregate. */
  readonly history: (
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    options?: ReadOptions
  ) => Stream.Stream<Positioned<Aggregate.Event<A>>, ReadError>

  /** Takes a snapshot of the aggregate as it stands. */
  readonly snapshot: (
    id: Aggregate.Id<Aggregate.NameOf<A>>
  ) => Effect.Effect<
    Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>>,
    AggregateNotFound | EventNotEncodable | ReadError
  >
}

/** How a kind of aggregate is kept. */
export interface AggregateOptions {
  /**
   * Take a snapshot whenever this many events have been recorded, beside the command, which does not wait for it and does
   * not fail with it. Default: only on demand.
   */
  readonly snapshotEvery?: number
}

/** How all aggregates are kept. */
export interface Options {
  /** How many aggregates' states are cached; 0 caches none. Default 1000. */
  readonly cacheCapacity?: number
  /**
   * When to decide again after a conflict. Default: at once and then with growing, jittered pauses of up to 100 ms, 20
   * times at the most.
   */
  readonly conflictRetry?: Schedule.Schedule<unknown>
}

/** Whether a participant of a transaction has to be there. */
export interface Participant<A extends Aggregate.Any, Requires extends Decision.Requires> {
  readonly aggregate: A
  readonly id: Aggregate.Id<Aggregate.NameOf<A>>
  readonly requires: Requires
}

/** The participants of a transaction by the names that its decision gives them. */
export interface Participants {
  readonly [name: string]: Participant<Aggregate.Any, Decision.Requires>
}

/** The states that a transaction decides on. */
export type States<P extends Participants> = {
  readonly [K in keyof P]: P[K] extends Participant<infer A, infer Requires>
    ? Requires extends "existing"
      ? Aggregate.StateOf<A>
      : Requires extends "missing"
        ? undefined
        : Aggregate.StateOf<A> | undefined
    : never
}

/** The events of each participant that a transaction decides to record. */
export type Decided<P extends Participants> = {
  readonly [K in keyof P]?: P[K] extends Participant<infer A, Decision.Requires>
    ? Decision.Outcome<Aggregate.Event<A>>
    : never
}

/** What a transaction answers: each participant as it stands afterwards; `undefined` where there is none. */
export type Transacted<P extends Participants> = {
  readonly [K in keyof P]: P[K] extends Participant<infer A, infer Requires>
    ?
        | Executed<Aggregate.NameOf<A>, Aggregate.StateOf<A>, Aggregate.Event<A>>
        | (Requires extends "existing" ? never : undefined)
    : never
}

/** What a transaction's participants can fail with. */
export type ParticipantError<P extends Participants> = {
  readonly [K in keyof P]: P[K]["requires"] extends "existing"
    ? AggregateNotFound
    : P[K]["requires"] extends "missing"
      ? AggregateAlreadyExists
      : never
}[keyof P]

/** Gives the repositories of all kinds of aggregates. */
export class Repository extends Context.Service<
  Repository,
  {
    readonly of: <A extends Aggregate.Any>(aggregate: A, options?: AggregateOptions) => AggregateRepository<A>
    readonly transaction: <
      const P extends Participants,
      const R extends Decided<P> | Effect.Effect<Decided<P>, unknown>
    >(
      participants: P,
      decide: (states: States<P>) => R
    ) => Effect.Effect<
      Transacted<P>,
      Decision.ErrorOf<R> | ParticipantError<P> | DuplicateParticipant | AppendError | ReadError,
      MultiStreamAppend
    >
  }
>()("effect-eventsourcing/Repository") {}

/** The repository of a kind of aggregate. */
export const of = <A extends Aggregate.Any>(
  aggregate: A,
  options?: AggregateOptions
): Effect.Effect<AggregateRepository<A>, never, Repository> =>
  Repository.useSync((repository) => repository.of(aggregate, options))

/** A participant that has to exist. */
export const existing = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>
): Participant<A, "existing"> => ({ aggregate, id, requires: "existing" })

/** A participant that must not exist yet. */
export const missing = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>
): Participant<A, "missing"> => ({ aggregate, id, requires: "missing" })

/** A participant that may exist. */
export const either = <A extends Aggregate.Any>(
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>
): Participant<A, "either"> => ({ aggregate, id, requires: "either" })

/**
 * Decides over several aggregates at once: loads all, takes one decision over their states, records its events in one
 * append, all or none (G1); on a conflict the whole again.
 *
 * Participants that get no event are checked too: the append is refused if one of them has moved on since it was read.
 *
 * @example
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
  decide: (states: States<P>) => R
): Effect.Effect<
  Transacted<P>,
  Decision.ErrorOf<R> | ParticipantError<P> | DuplicateParticipant | AppendError | ReadError,
  Repository | MultiStreamAppend
> => Repository.use((repository) => repository.transaction(participants, decide))

/** A state and what it was folded from. */
interface Rebuilt {
  readonly state: unknown
  readonly version: number
  readonly createdAt: DateTime.Utc
  readonly modifiedAt: DateTime.Utc
}

const defaultConflictRetry = Schedule.min([Schedule.exponential("1 millis"), Schedule.spaced("100 millis")]).pipe(
  Schedule.jittered,
  Schedule.upTo({ times: 20 })
)

/** The repositories over an event store and a snapshot store. */
export const layer = (options: Options = {}): Layer.Layer<Repository, never, EventStore | SnapshotStore> =>
  Layer.effect(
    Repository,
    Effect.gen(function* () {
      const store = yield* EventStore
      const snapshots = yield* SnapshotStore
      const scope = yield* Scope.Scope
      const cache = new Lru<{ readonly aggregate: Aggregate.Any; readonly rebuilt: Rebuilt }>(
        options.cacheCapacity ?? 1000
      )
      // commands on one aggregate take turns in this process: a thousand of them would only make each other conflict
      const { withLock } = KeyedLock.make()
      const conflictRetry = options.conflictRetry ?? defaultConflictRetry

      const cached = (aggregate: Aggregate.Any, stream: StreamName.StreamName): Rebuilt | undefined => {
        const entry = cache.get(stream)
        return entry?.aggregate === aggregate ? entry.rebuilt : undefined
      }

      const remember = (aggregate: Aggregate.Any, stream: StreamName.StreamName, rebuilt: Rebuilt): void => {
        const known = cached(aggregate, stream)
        if (known === undefined || known.version < rebuilt.version) cache.set(stream, { aggregate, rebuilt })
      }

      /** Reads and folds what comes behind a state, or behind nothing. */
      const fastForward = Effect.fnUntraced(function* (
        aggregate: Aggregate.Any,
        stream: StreamName.StreamName,
        from: Rebuilt | undefined,
        upTo?: number
      ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
        let rebuilt = from
        while (true) {
          const page = yield* store.readPage(aggregate, stream, { after: rebuilt?.version, upTo })
          rebuilt = yield* foldPage(aggregate, stream, rebuilt, page)
          if (page.last) return rebuilt
        }
      })

      /** Rebuilds from the snapshot, if there is one that helps, and the events behind it. */
      const load = Effect.fnUntraced(function* (
        aggregate: Aggregate.Any,
        id: Aggregate.Id<string>,
        stream: StreamName.StreamName,
        upTo?: number
      ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
        const snapshot = yield* snapshots.load(aggregate, id)
        const helps = snapshot !== undefined && (upTo === undefined || snapshot.version <= upTo)
        return yield* fastForward(aggregate, stream, helps ? snapshot : undefined, upTo)
      })

      /** The state as it stands now: never older than what was recorded before the call. */
      const fresh = Effect.fnUntraced(function* (
        aggregate: Aggregate.Any,
        id: Aggregate.Id<string>,
        stream: StreamName.StreamName
      ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
        const known = cached(aggregate, stream)
        const rebuilt =
          known === undefined ? yield* load(aggregate, id, stream) : yield* fastForward(aggregate, stream, known)
        if (rebuilt !== undefined) remember(aggregate, stream, rebuilt)
        return rebuilt
      })

      const snapshotBeside = (
        aggregate: Aggregate.Any,
        id: Aggregate.Id<string>,
        before: number | undefined,
        rebuilt: Rebuilt,
        every: number | undefined
      ): Effect.Effect<unknown> =>
        every === undefined || Math.floor((rebuilt.version + 1) / every) === Math.floor(((before ?? -1) + 1) / every)
          ? Effect.void
          : snapshots.save(aggregate, { id, ...rebuilt } as never).pipe(
              Effect.catchCause((cause) =>
                Effect.logWarning(`no snapshot of "${StreamName.of(aggregate.name, id)}" could be kept`, cause)
              ),
              Effect.forkIn(scope)
            )

      /** Takes the decision on a state, if the state is what it requires. */
      const decideOn = (
        aggregate: Aggregate.Any,
        id: Aggregate.Id<string>,
        decision: Decision.Decision<string, unknown>,
        current: Rebuilt | undefined
      ): Effect.Effect<Result.Result<ReadonlyArray<unknown>, unknown>> => {
        const refused = requirementError(aggregate, id, decision.requires, current)
        return refused === undefined ? Decision.take(decision, current?.state) : Effect.succeed(Result.fail(refused))
      }

      const execute = Effect.fnUntraced(function* (
        aggregate: Aggregate.Any,
        id: Aggregate.Id<string>,
        decision: Decision.Decision<string, unknown>,
        expected: ExpectedVersion | undefined,
        snapshotEvery: number | undefined,
        mistrustCache: boolean
      ) {
        const stream = StreamName.of(aggregate.name, id)
        const known = mistrustCache ? undefined : cached(aggregate, stream)
        let current = known ?? (yield* fresh(aggregate, id, stream))
        let isFresh = known === undefined
        if (expected !== undefined) {
          if (!isFresh && expected !== versionOf(current)) {
            current = yield* fresh(aggregate, id, stream)
            isFresh = true
          }
          const actual = versionOf(current)
          if (expected !== actual) return yield* new WrongExpectedVersion({ stream, expected, actual })
        }
        let outcome = yield* decideOn(aggregate, id, decision, current)
        if (!isFresh && (Result.isFailure(outcome) || outcome.success.length === 0)) {
          // no append will check what the cache believed, so the answer must not rest on it
          const newer = yield* fresh(aggregate, id, stream)
          if (newer !== current) {
            current = newer
            const actual = versionOf(current)
            if (expected !== undefined && expected !== actual) {
              return yield* new WrongExpectedVersion({ stream, expected, actual })
            }
            outcome = yield* decideOn(aggregate, id, decision, current)
          }
        }
        if (Result.isFailure(outcome)) return yield* Effect.fail(outcome.failure)
        const events = outcome.success
        if (!isReadonlyArrayNonEmpty(events)) {
          if (current === undefined) return yield* notFound(aggregate, id)
          return { id, ...current, events: [], position: undefined }
        }
        const prepared = yield* store.prepare(aggregate, id, versionOf(current), events as never)
        const next = foldPrepared(aggregate, current, prepared)
        const { position } = yield* Effect.tapError(store.commit(prepared), (error) =>
          Effect.sync(() => {
            // the log is behind the cache: it was put back to an earlier state
            if (error._tag === "WrongExpectedVersion" && isBehind(error.actual, current)) cache.delete(stream)
          })
        )
        remember(aggregate, stream, next)
        if (snapshotEvery !== undefined) yield* snapshotBeside(aggregate, id, current?.version, next, snapshotEvery)
        return { id, ...next, events: prepared.events, position }
      })

      /** Attempts, and after a conflict attempts again until there is none, or the policy is at its end. */
      const onConflictAgain = <A, E, R>(attempt: (afterConflict: boolean) => Effect.Effect<A, E, R>) =>
        Effect.catchIf(attempt(false), isConflict, () =>
          Effect.retry(attempt(true), { schedule: conflictRetry, while: isConflict })
        )

      const repositoryOf = (
        aggregate: Aggregate.Any,
        { snapshotEvery }: AggregateOptions = {}
      ): AggregateRepository<Aggregate.Any> => {
        if (snapshotEvery !== undefined && !(Number.isInteger(snapshotEvery) && snapshotEvery > 0)) {
          throw new Error(
            `snapshotEvery of ${aggregate.name}: a whole number of events from 1 on, not ${snapshotEvery}`
          )
        }
        const streamOf = (id: string) => StreamName.of(aggregate.name, id)
        const toInstance = (id: Aggregate.Id<string>, rebuilt: Rebuilt) =>
          ({ id, ...rebuilt }) as Aggregate.Instance<string, never>

        const get: AggregateRepository<Aggregate.Any>["get"] = Effect.fnUntraced(function* (id, options = {}) {
          const stream = streamOf(id)
          const { allowStale = false, version } = options
          const known = cached(aggregate, stream)
          if (version !== undefined) {
            const then = known?.version === version ? known : yield* load(aggregate, id, stream, Math.max(version, 0))
            return then?.version === version ? toInstance(id, then) : yield* notFound(aggregate, id, version)
          }
          const rebuilt = allowStale && known !== undefined ? known : yield* fresh(aggregate, id, stream)
          return rebuilt === undefined ? yield* notFound(aggregate, id) : toInstance(id, rebuilt)
        })

        return {
          get: (id, options) => withSpan("Repository.get", { stream: streamOf(id) })(get(id, options)),
          exists: (id) => Effect.map(store.version(streamOf(id)), (version) => version !== undefined),
          execute: (id, command, { expectedVersion } = {}) => {
            const decision = toDecision(aggregate, command)
            const attempt = (afterConflict: boolean) =>
              execute(aggregate, id, decision, expectedVersion, snapshotEvery, afterConflict)
            return withSpan("Repository.execute", { stream: streamOf(id) })(
              withLock(streamOf(id))(expectedVersion === undefined ? onConflictAgain(attempt) : attempt(false))
            ) as never
          },
          history: (id, options) => store.read(aggregate, id, options),
          snapshot: Effect.fnUntraced(function* (id) {
            const instance = yield* get(id)
            yield* snapshots.save(aggregate, instance)
            return instance
          })
        }
      }

      const transact = Effect.fnUntraced(function* (
        participants: ReadonlyArray<readonly [name: string, Participant<Aggregate.Any, Decision.Requires>]>,
        decide: (states: never) => unknown
      ) {
        const current = new Map<string, Rebuilt | undefined>()
        for (const [name, { aggregate, id }] of participants) {
          current.set(name, yield* fresh(aggregate, id, StreamName.of(aggregate.name, id)))
        }
        const refused = participants.flatMap(([name, { aggregate, id, requires }]) => {
          const error = requirementError(aggregate, id, requires, current.get(name))
          return error === undefined ? [] : [error]
        })[0]
        const states = Object.fromEntries(participants.map(([name]) => [name, current.get(name)?.state]))
        const decision = refused === undefined ? decide(states as never) : Effect.fail(refused)
        const outcome = yield* Effect.result(
          Effect.isEffect(decision) ? (decision as Effect.Effect<unknown, unknown>) : Effect.succeed(decision)
        )
        const decided: Readonly<Record<string, unknown>> =
          Result.isSuccess(outcome) && typeof outcome.success === "object" && outcome.success !== null
            ? (outcome.success as Readonly<Record<string, unknown>>)
            : {}
        for (const name of Object.keys(decided)) {
          if (!current.has(name)) return yield* Effect.die(new Error(`the transaction has no participant "${name}"`))
        }
        const prepared: Array<Prepared<Aggregate.AnyEvent>> = []
        const next = new Map<string, { readonly rebuilt: Rebuilt; readonly prepared: Prepared<Aggregate.AnyEvent> }>()
        const checks: Array<{ readonly stream: StreamName.StreamName; readonly expected: ExpectedVersion }> = []
        for (const [name, { aggregate, id }] of participants) {
          const before = current.get(name)
          const events = Decision.toEvents(decided[name])
          if (isReadonlyArrayNonEmpty(events)) {
            const one = yield* store.prepare(aggregate, id, versionOf(before), events as never)
            prepared.push(one)
            next.set(name, { rebuilt: foldPrepared(aggregate, before, one), prepared: one })
          } else {
            checks.push({ stream: StreamName.of(aggregate.name, id), expected: versionOf(before) })
          }
        }
        let position: Position | undefined
        if (isReadonlyArrayNonEmpty(prepared)) {
          position = (yield* store.commitAll(prepared, checks)).position
        } else {
          // no append checks that the states belong together, so they are compared with what is there now
          for (const { stream, expected } of checks) {
            const actual = (yield* store.version(stream)) ?? "NoStream"
            if (actual !== expected) return yield* new WrongExpectedVersion({ stream, expected, actual })
          }
          yield* Effect.fromResult(outcome)
        }
        return Object.fromEntries(
          participants.map(([name, { aggregate, id }]) => {
            const after = next.get(name)
            const rebuilt = after?.rebuilt ?? current.get(name)
            if (rebuilt === undefined) return [name, undefined]
            remember(aggregate, StreamName.of(aggregate.name, id), rebuilt)
            const events = after?.prepared.events ?? []
            return [name, { id, ...rebuilt, events, position: after === undefined ? undefined : position }]
          })
        )
      })

      return Repository.of({
        of: (aggregate, options) => repositoryOf(aggregate, options) as never,
        transaction: (participants, decide) => {
          const named = Object.entries(participants)
          const streams = named.map(([, { aggregate, id }]) => StreamName.of(aggregate.name, id))
          const twice = named.find((_, i) => streams.indexOf(streams[i] as never) < i)?.[1]
          if (twice !== undefined) {
            return Effect.fail(new DuplicateParticipant({ aggregate: twice.aggregate.name, id: twice.id })) as never
          }
          // always in the same order, so that two transactions never wait for each other
          const locked = [...streams]
            .sort()
            .reduce<ReturnType<typeof onConflictAgain<unknown, unknown, MultiStreamAppend>>>(
              (self, stream) => withLock(stream)(self),
              onConflictAgain(() => transact(named, decide as never))
            )
          return withSpan("Repository.transaction", { streams })(locked) as never
        }
      })
    })
  )

const isConflict = (error: unknown): boolean => error instanceof WrongExpectedVersion

const versionOf = (rebuilt: Rebuilt | undefined): ExpectedVersion => rebuilt?.version ?? "NoStream"

const isBehind = (actual: ExpectedVersion, current: Rebuilt | undefined): boolean =>
  current !== undefined && (actual === "NoStream" || actual < current.version)

const notFound = (aggregate: Aggregate.Any, id: string, version?: number) =>
  new AggregateNotFound({ aggregate: aggregate.name, id, version })

const requirementError = (
  aggregate: Aggregate.Any,
  id: string,
  requires: Decision.Requires,
  current: Rebuilt | undefined
): AggregateNotFound | AggregateAlreadyExists | undefined => {
  if (requires === "existing" && current === undefined) return notFound(aggregate, id)
  if (requires === "missing" && current !== undefined) {
    return new AggregateAlreadyExists({ aggregate: aggregate.name, id, version: current.version })
  }
  return undefined
}

/** Events as they are: they create where the first of them does. */
const toDecision = (aggregate: Aggregate.Any, command: unknown): Decision.Decision<string, unknown> => {
  if (Decision.isDecision(command)) return command
  const events = Decision.toEvents(command)
  const first = events[0] as Aggregate.AnyEvent | undefined
  const creates = first !== undefined && aggregate.compiled.byTag.get(first._tag)?.creates === true
  return Decision.make(aggregate.name, creates ? "missing" : "existing", () => events)
}

/** Folds a page of events; a gap in their versions is a failure, never a wrong state (G8). */
const foldPage = (
  aggregate: Aggregate.Any,
  stream: string,
  from: Rebuilt | undefined,
  page: { readonly notifications: ReadonlyArray<Notification>; readonly events: ReadonlyArray<Aggregate.AnyEvent> }
): Effect.Effect<Rebuilt | undefined, RecorderFailure> =>
  Effect.suspend(() => {
    const { notifications, events } = page
    const last = notifications[notifications.length - 1]
    if (last === undefined) return Effect.succeed(from)
    let state = from?.state
    let version = from?.version ?? -1
    for (const event of events) {
      const found = (notifications[version - (from?.version ?? -1)] as Notification).version
      if (found !== ++version) {
        return Effect.fail(
          new RecorderFailure({
            operation: "rebuild an aggregate",
            reason: `stream "${stream}" is incomplete: event ${version} is missing, the next that is there is ${found}`
          })
        )
      }
      state = aggregate.compiled.apply(state, event)
    }
    return Effect.succeed({
      state,
      version,
      createdAt: from?.createdAt ?? DateTime.makeUnsafe((notifications[0] as Notification).recordedAt),
      modifiedAt: DateTime.makeUnsafe(last.recordedAt)
    })
  })

/** Folds events that are about to be recorded: a reducer that throws is a defect, and nothing is recorded. */
const foldPrepared = (
  aggregate: Aggregate.Any,
  from: Rebuilt | undefined,
  prepared: Prepared<Aggregate.AnyEvent>
): Rebuilt => {
  let state = from?.state
  let last: RecordedEvent<Aggregate.AnyEvent> | undefined
  for (const recorded of prepared.events) {
    state = aggregate.compiled.apply(state, recorded.event)
    last = recorded
  }
  const { version, recordedAt } = last as RecordedEvent<Aggregate.AnyEvent>
  return { state, version, createdAt: from?.createdAt ?? recordedAt, modifiedAt: recordedAt }
}
