import type { Context } from "effect"
import { Effect, Exit, Request, RequestResolver } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

class Call<In, Out, E> extends Request.Class<{ readonly input: In }, Out, E> {}

/**
 * Combines the calls of one step of the event loop into one statement or request, which `run` is for. It returns their
 * results in the order of their inputs.
 *
 * `isAlone`: whether a call can't be combined with others, because its fiber is in a transaction of its own.
 */
export const gather = <In, Out, E>(
  run: (inputs: NonEmptyReadonlyArray<In>) => Effect.Effect<ReadonlyArray<Out>, E>,
  isAlone: (context: Context.Context<never>) => boolean = () => false
): ((input: In) => Effect.Effect<Out, E>) => {
  const resolver = RequestResolver.make<Call<In, Out, E>>((entries) =>
    Effect.map(run([entries[0].request.input, ...entries.slice(1).map((entry) => entry.request.input)]), (results) => {
      for (const [i, entry] of entries.entries()) entry.completeUnsafe(Exit.succeed(results[i] as Out))
    })
  )
  return (input) =>
    Effect.contextWith((context: Context.Context<never>) =>
      isAlone(context)
        ? Effect.map(run([input]), ([only]) => only as Out)
        : Effect.request(new Call<In, Out, E>({ input }), resolver)
    )
}
