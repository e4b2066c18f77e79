import type { Context } from "effect"
import { Effect, Exit, Request, RequestResolver } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

class Question<Q, A, E> extends Request.Class<{ readonly question: Q }, A, E> {}

/**
 * Answers questions that are asked in one step of the event loop together, by one statement or request. The answers are in
 * the order of the questions.
 *
 * `isAlone` tells of an asker whose question can't be answered for others, nor by them: one in a transaction of its own.
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
