import { Effect } from "effect"
import { DuplicateParticipant, RecorderFailure } from "../../EventSourcingError.ts"
import type { Participants } from "../../Repository.ts"
import * as StreamName from "../../StreamName.ts"
import { expectedProblem } from "../backend/options.ts"
import { withSpan } from "../observability/tracing.ts"
import { makeConflicts } from "./conflicts.ts"
import { withoutTurn } from "./deciding.ts"
import { toInstance } from "./loadedState.ts"
import type { Parts } from "./parts.ts"
import { snapshotInBackground } from "./snapshotting.ts"
import type * as Transaction from "./transact.ts"
import { transact } from "./transact.ts"

/** Transactions on several aggregates. */
export const makeTransactions = (parts: Parts) => {
  const { store, states, withLock } = parts
  const { noteConflict, retryOnConflict } = makeConflicts(parts)
  const attemptTransaction = transact(store, states)

  return Effect.fnUntraced(function* <E>(participants: Participants, decide: Transaction.Decide<E>) {
    const named = Object.entries(participants).map(([name, participant]) => ({ name, ...participant }))
    const streams = named.map(({ aggregate, id }) => StreamName.of(aggregate.name, id))
    const duplicate = named.find((_, i) => streams.indexOf(streams[i] as StreamName.StreamName) < i)
    if (duplicate !== undefined) {
      return yield* new DuplicateParticipant({ aggregate: duplicate.aggregate.name, id: duplicate.id })
    }
    for (const { expectedVersion } of named) {
      const reason = expectedVersion === undefined ? undefined : expectedProblem(expectedVersion)
      if (reason !== undefined) return yield* new RecorderFailure({ operation: "transaction", reason })
    }
    // a stream that is expected at a version will not come back to it
    const retryable = streams.filter((_, i) => named[i]?.expectedVersion === undefined)
    const attempt = Effect.tapError(
      retryOnConflict(retryable, () => attemptTransaction(named, decide)),
      (error) => Effect.sync(() => noteConflict(error, streams))
    )
    // always in the same order, so that two transactions never wait for each other
    const [last, ...others] = [...streams].sort().toReversed()
    const instead = () => withoutTurn(store, streams, attempt)
    const inTurn =
      last === undefined
        ? attempt
        : others.reduce((inner, stream) => withLock(stream)(inner, instead), withLock(last)(attempt, instead))
    const transacted = yield* withSpan("Repository.transaction", { streams })(inTurn)
    const results: Array<readonly [name: string, result: unknown]> = []
    for (const { participant, before, after, events, position, positions, returned } of transacted) {
      const { name, aggregate, id } = participant
      if (after !== undefined) yield* snapshotInBackground(parts, aggregate, id, before, after)
      results.push([
        name,
        after === undefined ? undefined : { ...toInstance(id, after), events, position, positions, ...returned }
      ])
    }
    return Object.fromEntries(results)
  })
}
