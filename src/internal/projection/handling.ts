/** A running handler and the fibers that it has started. They may outlive the handler, but not its transaction. */
import { Context, Effect, Stream } from "effect"
import type { SqlClient, SqlConnection } from "effect/sql"
import { SqlError } from "effect/sql"

interface Handler {
  hasEnded: boolean
}

/** The handler in which a fiber runs, or was started. Shared by all copies of this package. */
export const Handling = Context.Reference<Handler | undefined>("effect-eventsourcing/Handling", {
  defaultValue: () => undefined
})

/** Runs a handler or a setup. Once it has ended, the fibers that it has started can no longer use its view. */
export const handling = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const outer = fiber.context
    const handler: Handler = { hasEnded: false }
    // once for each event: `provideService` does the same in more steps
    fiber.setContext(Context.add(outer, Handling, handler))
    return Effect.onExitPrimitive(self, () => {
      handler.hasEnded = true
      fiber.setContext(outer)
      return undefined
    })
  })

/** Runs a handler for each of several events, like {@link handling}, but in fewer steps. */
export const handlingEach = <E, R>(loop: {
  readonly while: () => boolean
  readonly body: () => Effect.Effect<unknown, E, R>
  readonly step: () => void
}): Effect.Effect<void, E, R> =>
  Effect.withFiber((fiber) => {
    const outer = fiber.context
    let handler: Handler = { hasEnded: false }
    const all = Effect.whileLoop({
      while: loop.while,
      body: () => {
        handler = { hasEnded: false }
        fiber.setContext(Context.add(outer, Handling, handler))
        return loop.body()
      },
      step: () => {
        handler.hasEnded = true
        loop.step()
      }
    })
    return Effect.onExitPrimitive(all, () => {
      handler.hasEnded = true
      fiber.setContext(outer)
      return undefined
    })
  })

/** Whether a fiber was started in a handler that has ended. */
export const hasEnded = (context: Context.Context<never>): boolean => Context.get(context, Handling)?.hasEnded === true

/** The error of a fiber whose handler has ended. */
export const handlerEnded = (): Error =>
  new Error(
    "the projection handler that started this fiber has ended, so the fiber would work in another event's transaction, or in none; let the handler wait for the fibers that it starts"
  )

const sqlHandlerEnded = (): SqlError.SqlError => {
  const cause = handlerEnded()
  return new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause, message: cause.message }) })
}

/** Refuses statements of fibers whose handler has ended. */
const unlessEnded = <A>(self: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
  Effect.withFiber((fiber) => (hasEnded(fiber.context) ? Effect.fail(sqlHandlerEnded()) : self))

/** A class, since there is one for each transaction. */
class Guarded implements SqlConnection.Connection {
  readonly connection: SqlConnection.Connection
  constructor(connection: SqlConnection.Connection) {
    this.connection = connection
  }
  execute(...statement: Parameters<SqlConnection.Connection["execute"]>) {
    return unlessEnded(this.connection.execute(...statement))
  }
  executeRaw(...statement: Parameters<SqlConnection.Connection["executeRaw"]>) {
    return unlessEnded(this.connection.executeRaw(...statement))
  }
  executeStream(...statement: Parameters<SqlConnection.Connection["executeStream"]>) {
    return Stream.unwrap(unlessEnded(Effect.sync(() => this.connection.executeStream(...statement))))
  }
  executeValues(...statement: Parameters<SqlConnection.Connection["executeValues"]>) {
    return unlessEnded(this.connection.executeValues(...statement))
  }
  executeValuesUnprepared(...statement: Parameters<SqlConnection.Connection["executeValuesUnprepared"]>) {
    return unlessEnded(this.connection.executeValuesUnprepared(...statement))
  }
  executeUnprepared(...statement: Parameters<SqlConnection.Connection["executeUnprepared"]>) {
    return unlessEnded(this.connection.executeUnprepared(...statement))
  }
}

/**
 * Makes the client's transaction that the calling fiber is in refuse statements of fibers whose handler has ended. For
 * clients whose connections do not do this themselves.
 *
 * The connection is replaced in the client's own record of the transaction, by which the client finds its callbacks: a
 * service in its place would lose `afterCommit`.
 */
export const guardTransaction = (sql: SqlClient.SqlClient): Effect.Effect<void> =>
  Effect.withFiber((fiber) => {
    const transaction = Context.getOrUndefined(fiber.context, sql.transactionService) as
      | [connection: SqlConnection.Connection, depth: number]
      | undefined
    if (transaction !== undefined && !(transaction[0] instanceof Guarded)) transaction[0] = new Guarded(transaction[0])
    return Effect.void
  })
