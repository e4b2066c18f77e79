import { Context } from "effect"
import { SqlClient } from "effect/sql"
import { Handling } from "../projection/handling.ts"

/** What the services are called by which a client of `effect/sql` finds the transaction of a fiber, but for the client's number. */
const TRANSACTION = SqlClient.TransactionConnection(0).key.slice(0, -1)

/**
 * A context without the transactions that its fiber is in, of whatever SQL clients: for what is started in one and outlives
 * it.
 */
export const outsideTransactions = <R>(context: Context.Context<R>): Context.Context<R> => {
  const kept = new Map(context.mapUnsafe)
  for (const key of context.mapUnsafe.keys()) if (key.startsWith(TRANSACTION)) kept.delete(key)
  kept.delete(SqlClient.BeginTransaction.key)
  kept.delete(Handling.key)
  return Context.makeUnsafe(kept)
}
