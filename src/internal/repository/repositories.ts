import type { Schedule } from "effect"
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import type { AppendError, ReadError, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { DuplicateParticipant, isWrongExpectedVersion, RecorderFailure } from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import type { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import type {
  AggregateRepository,
  Command,
  CommandError,
  Decided,
  DecidedError,
  ParticipantError,
  Participants,
  Repository,
  Revisions,
  States,
  Transacted
} from "../../Repository.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import * as StreamName from "../../StreamName.ts"
import { expectedProblem } from "../backend/options.ts"
import type * as KeyedLock from "../concurrency/keyedLock.ts"
import { retryRarely } from "../concurrency/retryOnFailure.ts"
import { withSpan } from "../observability/tracing.ts"
import { attempt, notFound, toDecision } from "./command.ts"
import { insteadOfTurn } from "./deciding.ts"
import type { States as Cache, Rebuilt } from "./states.ts"
import { ownCopy } from "./states.ts"
import type * as Transaction from "./transact.ts"
import { transact } from "./transact.ts"

/** What repositories are built from. */
export interface Parts {
  readonly store: EventStore["Service"]
  readonly snapshots: SnapshotStore["Service"]
  readonly states: Cache
  readonly schedule: Schedule.Schedule<unknown>
  readonly withLock: KeyedLock.KeyedLock["withLock"]
  /** Runs an effect in the background. */
  readonly beside: (save: Effect.Effect<void>) => Effect.Effect<unknown>
}

/** The repositories built from these parts. */
export const makeRepositories = ({
  store,
  snapshots,
  states,
  schedule,
  withLock,
  beside
}: Parts): Repository["Service"] => {
  const attemptCommand = attempt(store, states)
  const attemptTransaction = transact(store, states)

  /** Whether the error is a conflict on these streams. If it is, the cache learns from it. */
  const learnsFrom = (error: unknown, streams: ReadonlyArray<string>): boolean => {
    if (!isConflict(error, streams)) return false
    states.learnFrom(error)
    return true
  }

  /** Attempts and, after a conflict, attempts again until there is none or the policy ends. */
  const onConflictAgain = <A, E, R>(
    streams: ReadonlyArray<string>,
    attempt: (afterConflict: boolean) => Effect.Effect<A, E, R>
  ) =>
    retryRarely(attempt(false), {
      again: () => attempt(true),
      schedule,
      while: (error) => learnsFrom(error, streams)
    })

  /** Saves a snapshot in the background if the state has passed a multiple of the aggregate's interval. */
  const snapshotBeside = <A extends Aggregate.Any>(
    aggregate: A,
    id: Aggregate.Id<Aggregate.NameOf<A>>,
    before: Rebuilt | undefined,
    after: Rebuilt
  ): Effect.Effect<unknown> => {
    const every = aggregate.snapshotEvery
    if (every === undefined || multiples(before, every) === multiples(after, every)) return Effect.void
    // the caller that gets the result may change it
    return snapshots.save(aggregate, toInstance<A>(id, ownCopy(aggregate, after)), after.eventId).pipe(
      Effect.catchCause((cause) =>
        Effect.logWarning(`no snapshot of "${StreamName.of(aggregate.name, id)}" could be kept`, cause)
      ),
      beside
    )
  }

  const repositoryOf = <A extends Aggregate.Any>(aggregate: A): AggregateRepository<A> => {
    const streamOf = (id: string) => StreamName.of(aggregate.name, id)

    const get: AggregateRepository<A>["get"] = Effect.fnUntraced(function* (id, options = {}) {
      const { allowStale = false, version } = options
      if (version !== undefined) {
        const then = yield* states.at(aggregate, id, version)
        return then?.version === version
          ? toInstance<A>(id, ownCopy(aggregate, then))
          : yield* notFound(aggregate, id, version)
      }
      const known = allowStale
        ? yield* Effect.withFiber((fiber) => Effect.succeed(states.cached(aggregate, streamOf(id), fiber)))
        : undefined
      if (known !== undefined) states.used()
      const rebuilt = known ?? (yield* states.fresh(aggregate, id))
      return rebuilt === undefined ? yield* notFound(aggregate, id) : toInstance<A>(id, ownCopy(aggregate, rebuilt))
    })

    return {
      get: (id, options) => withSpan("Repository.get", { stream: streamOf(id) })(get(id, options)),
      exists: (id) => Effect.map(store.version(streamOf(id)), (version) => version !== undefined),
      execute: <const C extends Command<A>>(
        id: Aggregate.Id<Aggregate.NameOf<A>>,
        given: C,
        { expectedVersion: expected }: { readonly expectedVersion?: ExpectedVersion } = {}
      ) => {
        const stream = streamOf(id)
        const command = { aggregate, id, stream, decision: toDecision(aggregate, given), expected }
        const attempted =
          expected === undefined
            ? onConflictAgain([stream], (afterConflict) => attemptCommand(command, afterConflict))
            : Effect.tapError(attemptCommand(command, false), (error) => Effect.sync(() => learnsFrom(error, [stream])))
        const executed = Effect.flatMap(attempted, ({ before, after, events, position, returned }) => {
          const { version, createdAt, modifiedAt } = after
          const state = after.state as Aggregate.StateOf<A>
          const answer = Effect.succeed({ id, state, version, createdAt, modifiedAt, events, position, ...returned })
          return aggregate.snapshotEvery === undefined
            ? answer
            : Effect.andThen(snapshotBeside(aggregate, id, before, after), answer)
        })
        const reason = expected === undefined ? undefined : expectedProblem(expected)
        const accepted =
          reason === undefined ? executed : Effect.fail(new RecorderFailure({ operation: "execute", reason }))
        const answered = withSpan("Repository.execute", { stream })(
          withLock(stream)(accepted, () => insteadOfTurn(store, [stream], accepted))
        )
        // the requirement of the decision tells whether a missing aggregate is a failure, or an existing one, and the
        // decision's type whether it returns a value
        return answered as Effect.Effect<
          Effect.Success<typeof answered> & Decision.Returned<C>,
          CommandError<A, C> | AppendError | ReadError
        >
      },
      forget: (id) => Effect.sync(() => states.forget(streamOf(id))),
      history: (id, options) => store.read(aggregate, id, options),
      snapshot: Effect.fnUntraced(function* (id) {
        const rebuilt = (yield* states.fresh(aggregate, id)) ?? (yield* notFound(aggregate, id))
        const instance = toInstance<A>(id, ownCopy(aggregate, rebuilt))
        yield* snapshots.save(aggregate, instance, rebuilt.eventId)
        return instance
      })
    }
  }

  const transactionOf = Effect.fnUntraced(function* <E>(participants: Participants, decide: Transaction.Decide<E>) {
    const named = Object.entries(participants).map(([name, participant]) => ({ name, ...participant }))
    const streams = named.map(({ aggregate, id }) => StreamName.of(aggregate.name, id))
    const twice = named.find((_, i) => streams.indexOf(streams[i] as StreamName.StreamName) < i)
    if (twice !== undefined) {
      return yield* new DuplicateParticipant({ aggregate: twice.aggregate.name, id: twice.id })
    }
    for (const { expectedVersion } of named) {
      const reason = expectedVersion === undefined ? undefined : expectedProblem(expectedVersion)
      if (reason !== undefined) return yield* new RecorderFailure({ operation: "transaction", reason })
    }
    // a stream that is expected at a version will not come back to it
    const movable = streams.filter((_, i) => named[i]?.expectedVersion === undefined)
    const attempt = Effect.tapError(
      onConflictAgain(movable, () => attemptTransaction(named, decide)),
      (error) => Effect.sync(() => learnsFrom(error, streams))
    )
    // always in the same order, so that two transactions never wait for each other
    const [last, ...others] = [...streams].sort().toReversed()
    const instead = () => insteadOfTurn(store, streams, attempt)
    const inTurn =
      last === undefined
        ? attempt
        : others.reduce((inner, stream) => withLock(stream)(inner, instead), withLock(last)(attempt, instead))
    const transacted = yield* withSpan("Repository.transaction", { streams })(inTurn)
    const answers: Array<readonly [name: string, answer: unknown]> = []
    for (const { participant, before, after, events, position, returned } of transacted) {
      const { name, aggregate, id } = participant
      if (after !== undefined) yield* snapshotBeside(aggregate, id, before, after)
      answers.push([
        name,
        after === undefined ? undefined : { ...toInstance(id, after), events, position, ...returned }
      ])
    }
    return Object.fromEntries(answers)
  })

  return {
    of: repositoryOf,
    transaction: <const P extends Participants, const R extends Decided<P> | Effect.Effect<Decided<P>, unknown>>(
      participants: P,
      decide: (states: States<P>, revisions: Revisions<P>) => R
    ) =>
      transactionOf(
        participants,
        (states, revisions) =>
          decide(states as States<P>, revisions as Revisions<P>) as Transaction.Decided<DecidedError<R>>
      ) as Effect.Effect<
        Transacted<P, R>,
        DecidedError<R> | ParticipantError<P> | DuplicateParticipant | AppendError | ReadError,
        MultiStreamAppend
      >
  }
}

/** Whether the error is a conflict on these streams, and not one with which a decision itself fails. */
const isConflict = (error: unknown, streams: ReadonlyArray<string>): error is WrongExpectedVersion =>
  isWrongExpectedVersion(error) && streams.includes(error.stream)

const toInstance = <A extends Aggregate.Any>(
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  { state, version, createdAt, modifiedAt }: Rebuilt
): Aggregate.Instance<Aggregate.NameOf<A>, Aggregate.StateOf<A>> => ({
  id,
  state: state as Aggregate.StateOf<A>,
  version,
  createdAt,
  modifiedAt
})

/** How many multiples of the interval have been passed at a version. */
const multiples = (rebuilt: Rebuilt | undefined, every: number): number =>
  Math.floor(((rebuilt?.version ?? -1) + 1) / every)
