import type { Effect } from "effect"
import type { AppendError, DuplicateParticipant, ReadError } from "../../EventSourcingError.ts"
import type { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import type {
  Decided,
  DecidedError,
  ParticipantError,
  Participants,
  Repository,
  Revisions,
  States,
  Transacted
} from "../../Repository.ts"
import { makeAggregateRepositories } from "./aggregateRepository.ts"
import type { Parts } from "./parts.ts"
import type * as Transaction from "./transact.ts"
import { makeTransactions } from "./transactions.ts"

/** The repositories built from these parts. */
export const makeRepositories = (parts: Parts): Repository["Service"] => {
  const transactionOf = makeTransactions(parts)
  return {
    of: makeAggregateRepositories(parts),
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
