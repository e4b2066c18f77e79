import type { Schedule } from "effect"
import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { WrongExpectedVersion } from "../../EventSourcingError.ts"
import { DuplicateParticipant, isWrongExpectedVersion, RecorderFailure } from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import type { AggregateRepository, Participants, Repository } from "../../Repository.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import * as StreamName from "../../StreamName.ts"
import { expectedProblem } from "../backend/options.ts"
import type * as KeyedLock from "../concurrency/keyedLock.ts"
import { retryRarely } from "../concurrency/retryOnFailure.ts"
import { withSpan } from "../observability/tracing.ts"
import type { Command as Execution } from "./command.ts"
import { attempt, notFound, toDecision } from "./command.ts"
import { insteadOfTurn } from "./deciding.ts"
import type { Rebuilt, States } from "./states.ts"
import { ownCopy } from "./states.ts"
import { transact } from "./transact.ts"

/** What repositories stand on. */
export interface Parts {
  readonly store: EventStore["Service"]
  readonly snapshots: SnapshotStore["Service"]
  readonly states: States
  readonly schedule: Schedule.Schedule<unknown>
  readonly withLock: KeyedLock.KeyedLock["withLock"]
  /** Runs what nobody waits for. */
  readonly beside: (save: Effect.Effect<void>) => Effect.Effect<unknown>
}

/** The repositories over such parts. */
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

  /** Whether it is a conflict on these streams, which the cache then learns from. */
  const learnsFrom = (error: unknown, streams: ReadonlyArray<string>): boolean => {
    if (!isConflict(error, streams)) return false
    states.learnFrom(error)
    return true
  }

  /** Attempts, and after a conflict attempts again until there is none, or the policy is at its end. */
  const onConflictAgain = <A, E, R>(
    streams: ReadonlyArray<string>,
    attempt: (afterConflict: boolean) => Effect.Effect<A, E, R>
  ) =>
    retryRarely(attempt(false), {
      again: () => attempt(true),
      schedule,
      while: (error) => learnsFrom(error, streams)
    })

  /** Keeps the state where a multiple of the aggregate's interval was passed; nobody waits for it. */
  const snapshotBeside = (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    before: Rebuilt | undefined,
    after: Rebuilt
  ): Effect.Effect<unknown> => {
    const every = aggregate.snapshotEvery
    if (every === undefined || multiples(before, every) === multiples(after, every)) return Effect.void
    // whoever gets the answer may change it
    return snapshots.save(aggregate, toInstance(id, ownCopy(aggregate, after)), after.eventId).pipe(
      Effect.catchCause((cause) =>
        Effect.logWarning(`no snapshot of "${StreamName.of(aggregate.name, id)}" could be kept`, cause)
      ),
      beside
    )
  }

  const repositoryOf = (aggregate: Aggregate.Any): AggregateRepository<Aggregate.Any> => {
    const streamOf = (id: string) => StreamName.of(aggregate.name, id)

    const get: AggregateRepository<Aggregate.Any>["get"] = Effect.fnUntraced(function* (id, options = {}) {
      const { allowStale = false, version } = options
      if (version !== undefined) {
        const then = yield* states.at(aggregate, id, version)
        return then?.version === version
          ? toInstance(id, ownCopy(aggregate, then))
          : yield* notFound(aggregate, id, version)
      }
      const known = allowStale
        ? yield* Effect.withFiber((fiber) => Effect.succeed(states.cached(aggregate, streamOf(id), fiber)))
        : undefined
      if (known !== undefined) states.used()
      const rebuilt = known ?? (yield* states.fresh(aggregate, id))
      return rebuilt === undefined ? yield* notFound(aggregate, id) : toInstance(id, ownCopy(aggregate, rebuilt))
    })

    return {
      get: (id, options) => withSpan("Repository.get", { stream: streamOf(id) })(get(id, options)),
      exists: (id) => Effect.map(store.version(streamOf(id)), (version) => version !== undefined),
      execute: (id, events, { expectedVersion: expected } = {}) => {
        const stream = streamOf(id)
        const command: Execution = { aggregate, id, stream, decision: toDecision(aggregate, events), expected }
        const attempted =
          expected === undefined
            ? onConflictAgain([stream], (afterConflict) => attemptCommand(command, afterConflict))
            : Effect.tapError(attemptCommand(command, false), (error) => Effect.sync(() => learnsFrom(error, [stream])))
        const executed = Effect.flatMap(attempted, ({ before, after, events, position }) => {
          const { state, version, createdAt, modifiedAt } = after
          const answer = Effect.succeed({ id, state, version, createdAt, modifiedAt, events, position })
          return aggregate.snapshotEvery === undefined
            ? answer
            : Effect.andThen(snapshotBeside(aggregate, id, before, after), answer)
        })
        const reason = expected === undefined ? undefined : expectedProblem(expected)
        const accepted =
          reason === undefined ? executed : Effect.fail(new RecorderFailure({ operation: "execute", reason }))
        return withSpan("Repository.execute", { stream })(
          withLock(stream)(accepted, () => insteadOfTurn(store, [stream], accepted))
        ) as never
      },
      forget: (id) => Effect.sync(() => states.forget(streamOf(id))),
      history: (id, options) => store.read(aggregate, id, options),
      snapshot: Effect.fnUntraced(function* (id) {
        const rebuilt = (yield* states.fresh(aggregate, id)) ?? (yield* notFound(aggregate, id))
        const instance = toInstance(id, ownCopy(aggregate, rebuilt))
        yield* snapshots.save(aggregate, instance, rebuilt.eventId)
        return instance
      })
    }
  }

  const transactionOf = Effect.fnUntraced(function* (participants: Participants, decide: (states: never) => unknown) {
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
    // one that is expected at a version will not come back to it
    const movable = streams.filter((_, i) => named[i]?.expectedVersion === undefined)
    const attempt = Effect.tapError(
      onConflictAgain(movable, () => attemptTransaction(named, decide as never)),
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
    for (const { participant, before, after, events, position } of transacted) {
      const { name, aggregate, id } = participant
      if (after !== undefined) yield* snapshotBeside(aggregate, id, before, after)
      answers.push([name, after === undefined ? undefined : { ...toInstance(id, after), events, position }])
    }
    return Object.fromEntries(answers)
  })

  return {
    of: (aggregate) => repositoryOf(aggregate) as never,
    transaction: (participants, decide) => transactionOf(participants, decide as never) as never
  }
}

/** Whether it is a conflict on these streams, and not one that a decision fails with of its own. */
const isConflict = (error: unknown, streams: ReadonlyArray<string>): error is WrongExpectedVersion =>
  isWrongExpectedVersion(error) && streams.includes(error.stream)

const toInstance = (id: Aggregate.Id<string>, rebuilt: Rebuilt): Aggregate.Instance<string, never> => {
  const { state, version, createdAt, modifiedAt } = rebuilt
  return { id, state: state as never, version, createdAt, modifiedAt }
}

/** How many times the interval has been passed at a version. */
const multiples = (rebuilt: Rebuilt | undefined, every: number): number =>
  Math.floor(((rebuilt?.version ?? -1) + 1) / every)
