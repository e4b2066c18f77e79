import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import type { AppendError, ReadError } from "../../EventSourcingError.ts"
import { RecorderFailure } from "../../EventSourcingError.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import type { AggregateRepository, Command, CommandError } from "../../Repository.ts"
import * as StreamName from "../../StreamName.ts"
import { expectedProblem } from "../backend/options.ts"
import { withSpan } from "../observability/tracing.ts"
import { attempt, notFound, toDecision } from "./command.ts"
import { makeConflicts } from "./conflicts.ts"
import { withoutTurn } from "./deciding.ts"
import { ownCopy, toInstance } from "./loadedState.ts"
import type { Parts } from "./parts.ts"
import { intervalOf, snapshotInBackground } from "./snapshotting.ts"

/** The repositories of single kinds of aggregates. */
export const makeAggregateRepositories = (parts: Parts) => {
  const { store, snapshots, states, withLock } = parts
  const { noteConflict, retryOnConflict } = makeConflicts(parts)
  const attemptCommand = attempt(store, states)

  return <A extends Aggregate.Any>(aggregate: A): AggregateRepository<A> => {
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
      if (known !== undefined) states.countCacheHit()
      const loaded = known ?? (yield* states.fresh(aggregate, id))
      return loaded === undefined ? yield* notFound(aggregate, id) : toInstance<A>(id, ownCopy(aggregate, loaded))
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
            ? retryOnConflict([stream], (afterConflict) => attemptCommand(command, afterConflict))
            : Effect.tapError(attemptCommand(command, false), (error) =>
                Effect.sync(() => noteConflict(error, [stream]))
              )
        const executed = Effect.flatMap(attempted, ({ before, after, events, position, positions, returned }) => {
          const { version, createdAt, modifiedAt } = after
          const state = after.state as Aggregate.StateOf<A>
          const result = Effect.succeed({
            id,
            state,
            version,
            createdAt,
            modifiedAt,
            events,
            position,
            positions,
            ...returned
          })
          return intervalOf(aggregate, parts) === undefined
            ? result
            : Effect.andThen(snapshotInBackground(parts, aggregate, id, before, after), result)
        })
        const reason = expected === undefined ? undefined : expectedProblem(expected)
        const accepted =
          reason === undefined ? executed : Effect.fail(new RecorderFailure({ operation: "execute", reason }))
        const inTurn = withSpan("Repository.execute", { stream })(
          withLock(stream)(accepted, () => withoutTurn(store, [stream], accepted))
        )
        // the requirement of the decision tells whether a missing aggregate is a failure, or an existing one, and the
        // decision's type whether it returns a value
        return inTurn as Effect.Effect<
          Effect.Success<typeof inTurn> & Decision.Returned<C>,
          CommandError<A, C> | AppendError | ReadError
        >
      },
      forget: (id) => Effect.sync(() => states.forget(streamOf(id))),
      history: (id, options) => store.read(aggregate, id, options),
      snapshot: Effect.fnUntraced(function* (id) {
        const loaded = (yield* states.fresh(aggregate, id)) ?? (yield* notFound(aggregate, id))
        const instance = toInstance<A>(id, ownCopy(aggregate, loaded))
        yield* snapshots.save(aggregate, instance, loaded.eventId)
        return instance
      })
    }
  }
}
