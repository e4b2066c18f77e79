/** A running handler and the fibers that it has started. They may outlive the handler, but not its transaction. */
import { Context, Effect, Stream } from "effect"
import type { SqlClient, SqlConnection } from "effect/sql"
import { SqlError } from "effect/sql"

interface State {
  hasEnded: boolean
}

/** The handler in which a fiber runs, or was started. Shared by all copies of this package. */
export const Handling = Context.Reference<State | undefined>("effect-eventsourcing/Handling", {
  defaultValue: () => undefined
})

/** Runs a handler or a setup. Once it has ended, the fibers that it has started can no longer use its view. */
export const handling = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const around = fiber.context
    const one: State = { hasEnded: false }
    // once for each event: `provideService` does the same in more steps
    fiber.setContext(Context.add(around, Handling, one))
    return Effect.onExitPrimitive(self, () => {
      one.hasEnded = true
      fiber.setContext(around)
      return undefined
    })
  })

/** Whether a fiber was started in a handler that has ended. */
export const hasEnded = (context: Context.Context<never>): boolean => Context.get(context, Handling)?.hasEnded === true

/** The error for such a fiber. */
export const refusal = (): Error =>
  new Error(
    "the handler of a projection that this fiber was started in has ended, and what it does would be in another event's transaction, or in none: let the handler wait for what it starts"
  )

const sqlRefusal = (): SqlError.SqlError => {
  const cause = refusal()
  return new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause, message: cause.message }) })
}

/** Refuses statements of fibers whose handler has ended. */
const unlessEnded = <A>(self: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
  Effect.withFiber((fiber) => (hasEnded(fiber.context) ? Effect.fail(sqlRefusal()) : self))

const guard = (connection: SqlConnection.Connection): SqlConnection.Connection => {
  const guarded: SqlConnection.Connection = {
    execute: (...statement) => unlessEnded(connection.execute(...statement)),
    executeRaw: (...statement) => unlessEnded(connection.executeRaw(...statement)),
    executeStream: (...statement) =>
      Stream.unwrap(unlessEnded(Effect.sync(() => connection.executeStream(...statement)))),
    executeValues: (...statement) => unlessEnded(connection.executeValues(...statement)),
    executeValuesUnprepared: (...statement) => unlessEnded(connection.executeValuesUnprepared(...statement)),
    executeUnprepared: (...statement) => unlessEnded(connection.executeUnprepared(...statement))
  }
  // whatever else the connection of a driver has
  return Object.assign(Object.create(connection), guarded)
}

const guarded = new WeakSet<object>()

/**
 * Makes the client's transaction that the calling fiber is in refuse statements of fibers whose handler has ended. For
 * clients whose connections do not do this themselves.
 *
 * The connection is replaced in the client's own record of the transaction, by which the client finds its callbacks: a
 * service in its place would lose `afterCommit`.
 */
export const guardTransaction = (sql: SqlClient.SqlClient): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const level = Context.getOrUndefined(fiber.context, sql.transactionService) as
      | [connection: SqlConnection.Connection, depth: number]
      | undefined
    if (level !== undefined && !guarded.has(level[0])) {
      level[0] = guard(level[0])
      guarded.add(level[0])
    }
    return Effect.void
  })
