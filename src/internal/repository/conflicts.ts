import type { Effect } from "effect"
import type { WrongExpectedVersion } from "../../EventSourcingError.ts"
import { isWrongExpectedVersion } from "../../EventSourcingError.ts"
import { retryOnFailure } from "../concurrency/retryOnFailure.ts"
import type { Parts } from "./parts.ts"

/** How conflicts are handled. */
export const makeConflicts = ({ schedule, states }: Pick<Parts, "schedule" | "states">) => {
  /** Whether the error is a conflict on these streams. If it is, the cache learns from it. */
  const noteConflict = (error: unknown, streams: ReadonlyArray<string>): boolean => {
    if (!isConflict(error, streams)) return false
    states.invalidateIfAhead(error)
    return true
  }

  /** Attempts and, after a conflict, attempts again until there is none or the policy ends. */
  const retryOnConflict = <A, E, R>(
    streams: ReadonlyArray<string>,
    attempt: (afterConflict: boolean) => Effect.Effect<A, E, R>
  ) =>
    retryOnFailure(attempt(false), {
      again: () => attempt(true),
      schedule,
      while: (error) => noteConflict(error, streams)
    })

  return { noteConflict, retryOnConflict }
}

/** Whether the error is a conflict on these streams, and not one with which a decision itself fails. */
const isConflict = (error: unknown, streams: ReadonlyArray<string>): error is WrongExpectedVersion =>
  isWrongExpectedVersion(error) && streams.includes(error.stream)
