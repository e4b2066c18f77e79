/** Dead letters: the events that were set aside. */
import { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { Transaction, ViewStore } from "../../ViewStore.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import { inTransaction, inTransactionOfWork, query, rememberPlace, run, runWork, viewIn } from "./viewDatabase.ts"
import { deadLetterValues, keyValues, toDeadLetter } from "./viewRows.ts"

type Store = ViewStore<SqlView, SqlClient.SqlClient>

/** The operations of a move's work on the dead letters of its version. */
export const deadLettersIn = (
  db: ViewDatabase,
  key: Tracking.Key
): Pick<Transaction, "setAside" | "isSetAside" | "discard"> => {
  const { addDeadLetter, discardStream, hasDeadLetter } = db.statements
  return {
    setAside: (letter) =>
      Effect.asVoid(query(db, "set an event aside", addDeadLetter, [...keyValues(key), ...deadLetterValues(letter)])),
    isSetAside: (stream) =>
      Effect.map(
        query(db, "look for dead letters", hasDeadLetter, [...keyValues(key), stream]),
        (rows) => rows.length > 0
      ),
    discard: (stream) =>
      Effect.map(query(db, "discard dead letters", discardStream, [...keyValues(key), stream]), (rows) => rows.length)
  }
}

/** The operations of the store on dead letters. */
export const makeDeadLetters = (
  db: ViewDatabase
): Pick<Store, "deadLetters" | "takeBack" | "discard" | "triedAgain"> => {
  const { statements } = db
  return {
    deadLetters: (key, stream) =>
      Effect.map(
        stream === undefined
          ? query(db, "read dead letters", statements.findDeadLetters, keyValues(key))
          : query(db, "read dead letters", statements.findDeadLettersOfStream, [...keyValues(key), stream]),
        (rows) => rows.map(toDeadLetter)
      ),

    takeBack: (key, position, work) =>
      inTransactionOfWork(
        db,
        "replay a dead letter",
        Effect.gen(function* () {
          // from here on, no batch of this projection is committed until this is
          const [row] = yield* run(db, statements.lockVersion, keyValues(key))
          const deleted = yield* run(db, statements.takeBackDeadLetter, [...keyValues(key), position])
          if (row === undefined || deleted.length === 0) return false
          yield* runWork(db, work(viewIn(db, rememberPlace(db, key, row[0]), key)))
          return true
        })
      ),

    discard: (key, what) =>
      inTransaction(
        db,
        "discard dead letters",
        Effect.gen(function* () {
          // meanwhile, no batch of this projection sets events aside
          yield* run(db, statements.lockVersion, keyValues(key))
          // a letter has both fields, and selects itself
          const [statement, value] =
            "eventId" in what ? [statements.discardEvent, what.eventId] : [statements.discardStream, what.stream]
          return (yield* run(db, statement, [...keyValues(key), value])).length
        })
      ),

    triedAgain: (key, position, cause) =>
      Effect.asVoid(
        query(db, "count an attempt at a dead letter", statements.countAttempt, [...keyValues(key), position, cause])
      )
  }
}
