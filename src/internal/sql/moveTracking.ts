/** Moves of a tracking position, with the work of a batch in the same transaction (G6). */
import type { Context } from "effect"
import { Clock, Effect } from "effect"
import type { SqlClient } from "effect/sql"
import { ProjectionSuperseded, RecorderFailure, TrackingConflict } from "../../EventSourcingError.ts"
import * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { Move, Seen, Transaction, ViewStore } from "../../ViewStore.ts"
import { deadLettersIn } from "./deadLetters.ts"
import { findVersion, progressOf } from "./versions.ts"
import type { ViewDatabase } from "./viewDatabase.ts"
import {
  inTransactionOfWork,
  isInTransaction,
  namingHolder,
  query,
  rememberPlace,
  run,
  runWork,
  viewIn
} from "./viewDatabase.ts"
import { encodeSeen, keyValues } from "./viewRows.ts"

const OPERATION = "move a tracking position"

/** How long the work of a move continues, in milliseconds, so that progress becomes visible. */
const MAX_MILLIS = 1000

export const makeTransact =
  (db: ViewDatabase): ViewStore<SqlView, SqlClient.SqlClient>["transact"] =>
  (move, work) => {
    const { key, from, to, seen } = move
    const { localProgress, statements } = db
    const { moveInTurn } = db.dialect
    const refusal = Tracking.refusal(move)
    if (refusal !== undefined) return Effect.fail(new RecorderFailure({ operation: OPERATION, reason: refusal }))
    const moving = (begun: Effect.Effect<number>) => {
      let end = to
      const moved = Effect.gen(function* () {
        const clock = yield* Clock.Clock
        const until = clock.currentTimeMillisUnsafe() + (yield* begun)
        const [row] = yield* run(db, statements.moveTracking, [...keyValues(key), to, from ?? null, toText(seen)])
        if (row === undefined) return yield* refused(db, move)
        end = to
        const transaction: Transaction = {
          ...deadLettersIn(db, key),
          left: () => until - clock.currentTimeMillisUnsafe(),
          endAt: (position, seenThere) =>
            Effect.map(
              query(db, OPERATION, statements.endMoveAt, [...keyValues(key), position, toText(seenThere)]),
              () => {
                end = position
              }
            )
        }
        return yield* runWork(db, work(viewIn(db, rememberPlace(db, key, row[0]), key), transaction))
      })
      return Effect.tap(inTransactionOfWork(db, OPERATION, moved).pipe(namingHolder(db, key)), () =>
        Effect.sync(() => localProgress(key.projection).reached(key.version, end))
      )
    }
    return Effect.contextWith((context: Context.Context<never>) =>
      moveInTurn === undefined || isInTransaction(db)(context)
        ? moving(Effect.succeed(MAX_MILLIS))
        : moveInTurn(OPERATION, moving)
    )
  }

const toText = (seen: Seen | undefined): string | null => (seen === undefined ? null : encodeSeen(seen))

/** Finds out why a move was refused. */
const refused = Effect.fnUntraced(function* (db: ViewDatabase, { key, from }: Move) {
  const existing = (yield* findVersion(db, key))?.progress
  const { projection, version, upstream } = key
  if (existing?.status === "retired" && !existing.ready) {
    const current = (yield* progressOf(db, key)).find(({ status }) => status === "current")
    return yield* new ProjectionSuperseded({ projection, version, by: current?.version ?? version })
  }
  return yield* new TrackingConflict({ projection, upstream, expected: from, actual: existing?.position })
})
