/** The transactions of a file's client. */
import type { DatabaseSync } from "node:sqlite"
import { Effect } from "effect"
import { handlerEnded } from "../internal/projection/handling.ts"
import { toSqlError } from "./sqlErrors.ts"

const ENDED =
  "the transaction was ended by SQLite, which undoes all of it after some errors, or by a COMMIT or ROLLBACK among its statements"
const OVER = "the transaction that this statement belongs to is over"

/** A transaction of the client, as it is found in the context. */
export interface Transaction {
  /**
   * Whether it has ended, with all of its savepoints: a fiber that still has it in its context is outside any
   * transaction.
   */
  readonly isOver: () => boolean
  /** Throws unless it is the open transaction: SQLite ends transactions on its own after some errors. */
  readonly assertOpen: () => void
}

/** The error for a fiber that was started by a handler of a projection which has ended. */
export const refused = Effect.suspend(() => Effect.fail(toSqlError(handlerEnded())))

/** The transaction that such a fiber is in: one that does nothing more. */
export const endedHandler: Transaction = {
  isOver: () => false,
  assertOpen: () => {
    throw handlerEnded()
  }
}

/** A transaction as the client sees it, which begins and ends it. */
export interface OwnTransaction extends Transaction {
  readonly isOpen: () => boolean
  readonly begin: () => void
  readonly end: () => void
  /**
   * How many there are. A fiber that is in one when the transaction ends can't continue outside it: half of its work
   * would be undone.
   */
  savepoints: number
}

export const makeTransaction = (db: DatabaseSync): OwnTransaction => {
  let begun = false
  let ended = false
  const transaction: OwnTransaction = {
    savepoints: 0,
    begin: () => {
      begun = true
    },
    end: () => {
      ended = true
    },
    isOpen: () => !ended && db.isOpen && db.isTransaction,
    isOver: () => ended && transaction.savepoints === 0,
    assertOpen: () => {
      if (ended) throw new Error(OVER)
      if (begun && !(db.isOpen && db.isTransaction)) throw new Error(ENDED)
    }
  }
  return transaction
}
