import type { Context } from "effect"
import { Effect, Exit, Request, RequestResolver } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

class Question<Q, A, E> extends Request.Class<{ readonly question: Q }, A, E> {}

/**
 * Combines the questions of one step of the event loop into one statement or request. The answers are in the order of
 * the questions.
 *
 * `isAlone`: whether a question can't be combined with others, because its fiber is in a transaction of its own.
 */
export const gather = <Q, A, E>(
  answer: (questions: NonEmptyReadonlyArray<Q>) => Effect.Effect<ReadonlyArray<A>, E>,
  isAlone: (context: Context.Context<never>) => boolean = () => false
): ((question: Q) => Effect.Effect<A, E>) => {
  const resolver = RequestResolver.make<Question<Q, A, E>>((entries) =>
    Effect.map(
      answer([entries[0].request.question, ...entries.slice(1).map((entry) => entry.request.question)]),
      (all) => {
        for (const [i, entry] of entries.entries()) entry.completeUnsafe(Exit.succeed(all[i] as A))
      }
    )
  )
  return (question) =>
    Effect.contextWith((context: Context.Context<never>) =>
      isAlone(context)
        ? Effect.map(answer([question]), ([only]) => only as A)
        : Effect.request(new Question<Q, A, E>({ question }), resolver)
    )
}
