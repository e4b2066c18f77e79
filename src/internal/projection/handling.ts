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

/** Runs a handler for each of several events, as {@link handling} runs one: in fewer steps. */
export const handlingEach = <E, R>(loop: {
  readonly while: () => boolean
  readonly body: () => Effect.Effect<unknown, E, R>
  readonly step: () => void
}): Effect.Effect<void, E, R> =>
  Effect.withFiber((fiber) => {
    const around = fiber.context
    let one: State = { hasEnded: false }
    const all = Effect.whileLoop({
      while: loop.while,
      body: () => {
        one = { hasEnded: false }
        fiber.setContext(Context.add(around, Handling, one))
        return loop.body()
      },
      step: () => {
        one.hasEnded = true
        loop.step()
      }
    })
    return Effect.onExitPrimitive(all, () => {
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
    "the projection handler that started this fiber has ended, so the fiber would work in another event's transaction, or in none; let the handler wait for the fibers that it starts"
  )

const sqlRefusal = (): SqlError.SqlError => {
  const cause = refusal()
  return new SqlError.SqlError({ reason: new SqlError.UnknownError({ cause, message: cause.message }) })
}

/** Refuses statements of fibers whose handler has ended. */
const unlessEnded = <A>(self: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> =>
  Effect.withFiber((fiber) => (hasEnded(fiber.context) ? Effect.fail(sqlRefusal()) : self))

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
    const level = Context.getOrUndefined(fiber.context, sql.transactionService) as
      | [connection: SqlConnection.Connection, depth: number]
      | undefined
    if (level !== undefined && !(level[0] instanceof Guarded)) level[0] = new Guarded(level[0])
    return Effect.void
  })
