import { Context } from "effect"
import { SqlClient } from "effect/sql"
import { Handling } from "../projection/handling.ts"

/**
 * The prefix of the service keys by which clients of `effect/sql` find the transaction of a fiber; the client's number
 * follows it.
 */
const TRANSACTION = SqlClient.TransactionConnection(0).key.slice(0, -1)

/**
 * A context without the transactions that its fiber is in, of whatever SQL clients: for work that is started in a
 * transaction and outlives it.
 */
export const outsideTransactions = <R>(context: Context.Context<R>): Context.Context<R> => {
  const kept = new Map(context.mapUnsafe)
  for (const key of context.mapUnsafe.keys()) if (key.startsWith(TRANSACTION)) kept.delete(key)
  kept.delete(SqlClient.BeginTransaction.key)
  kept.delete(Handling.key)
  return Context.makeUnsafe(kept)
}
