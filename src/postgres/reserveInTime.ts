/** A connection whose statements have to be answered in time. */
import { Effect, Exit, Fiber, Scope } from "effect"
import type { SqlConnection, SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"
import type { InTime } from "./beginningInTime.ts"

/**
 * A connection for work that must be answered in time. It returns to the pool when the scope has closed and nothing
 * runs on it any more: statements that were given up are cancelled first, or the connection ends. Nobody waits for
 * that.
 */
export const reserveInTime = Effect.fnUntraced(function* (options: {
  /** How long an answer may take, in milliseconds. */
  readonly wait: number
  readonly acquire: (held: Scope.Scope) => Effect.Effect<SqlConnection.Connection, RecorderError | SqlError.SqlError>
  readonly silent: () => RecorderError
  readonly limit: <A, E>(statement: Effect.Effect<A, E>) => Effect.Effect<A, E | RecorderError>
}) {
  const held = yield* Scope.make()
  const running = new Set<Fiber.Fiber<unknown, unknown>>()
  const release = Scope.close(held, Exit.void)
  /** Undoes what a statement that was given up may have left on the connection. */
  let undo: Effect.Effect<unknown> | undefined
  const releaseLater = Effect.andThen(
    Effect.suspend(() => Fiber.awaitAll([...running])),
    Effect.suspend(() => Effect.ensuring(undo ?? Effect.void, release))
  )
  yield* Effect.addFinalizer(() =>
    running.size === 0 && undo === undefined ? release : Effect.asVoid(Effect.forkDetach(releaseLater))
  )
  const connection = yield* options.acquire(held)
  const inTime: InTime = (work) =>
    Effect.flatMap(Effect.forkDetach(work, { startImmediately: true }), (fiber) => {
      running.add(fiber)
      return Effect.callback((resume) => {
        const giveUp = () => {
          resume(Effect.fail(options.silent()))
          fiber.interruptUnsafe()
        }
        const timer = setTimeout(giveUp, options.wait)
        fiber.addObserver((exit) => {
          running.delete(fiber)
          clearTimeout(timer)
          resume(exit)
        })
        return Effect.sync(() => {
          clearTimeout(timer)
          fiber.interruptUnsafe()
        })
      })
    })
  /** A transaction that was given up may still have begun: the connection must not be used within it. */
  const rollBack = Effect.sync(() => {
    undo = Effect.ignore(options.limit(connection.executeUnprepared("ROLLBACK", [], undefined)))
  })
  return { connection, inTime, rollBack }
})
