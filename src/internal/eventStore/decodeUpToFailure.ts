import type { Pull } from "effect"
import { Effect, Stream } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"

/** What was decoded, and why there is no more. */
export interface Decoded<A, E> {
  readonly events: ReadonlyArray<A>
  /** Fails with the error of the event after these; `undefined` if all were decoded. */
  readonly failure: Effect.Effect<never, E> | undefined
}

/**
 * Decodes a page up to the first event that can't be decoded: the events before it are not withheld.
 *
 * Only after a failure is a page decoded again, event by event.
 */
export const decodeUpToFailure =
  <N, A, E>(decode: (page: ReadonlyArray<N>) => Effect.Effect<ReadonlyArray<A>, E>) =>
  (page: ReadonlyArray<N>): Effect.Effect<Decoded<A, E>> =>
    Effect.matchEffect(decode(page), {
      onSuccess: (events) => Effect.succeed({ events, failure: undefined }),
      onFailure: (error) =>
        page.length === 1 ? Effect.succeed({ events: [], failure: Effect.fail(error) }) : oneByOne(decode, page)
    })

const oneByOne = Effect.fnUntraced(function* <N, A, E>(
  decode: (page: ReadonlyArray<N>) => Effect.Effect<ReadonlyArray<A>, E>,
  page: ReadonlyArray<N>
): Effect.fn.Return<Decoded<A, E>> {
  const events: Array<A> = []
  for (const notification of page) {
    const exit = yield* Effect.result(decode([notification]))
    if (exit._tag === "Failure") return { events, failure: Effect.fail(exit.failure) }
    for (const event of exit.success) events.push(event)
  }
  return { events, failure: undefined }
})

/** What an element of a stream becomes, and why the stream ends after it, if it does. */
export interface Mapped<B, E> {
  /** Nothing is emitted if it is `undefined`. */
  readonly value: B | undefined
  readonly failure: Effect.Effect<never, E> | undefined
}

/** Maps the elements of a stream one after the other. One that has a failure is emitted before the stream fails. */
export const mapUpToFailure = <A extends object, E, B, E2>(
  self: Stream.Stream<A, E>,
  f: (a: A) => Effect.Effect<Mapped<B, E2>>
): Stream.Stream<B, E | E2> =>
  Stream.transformPull(self, (pull) =>
    Effect.sync(() => {
      let rest: ReadonlyArray<A> = []
      let failure: Effect.Effect<never, E2> | undefined
      const next: Pull.Pull<NonEmptyReadonlyArray<B>, E | E2> = Effect.suspend(() => {
        if (failure !== undefined) return failure
        const [first, ...others] = rest
        if (first === undefined) {
          return Effect.flatMap(pull, (more) => {
            rest = more
            return next
          })
        }
        rest = others
        return Effect.flatMap(f(first), (mapped) => {
          failure = mapped.failure
          return mapped.value === undefined ? next : Effect.succeed([mapped.value] as const)
        })
      })
      return next
    })
  )
