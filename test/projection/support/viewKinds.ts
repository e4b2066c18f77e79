/** Places for views of each kind, unchanged or with a store that does some things differently. */
import type { Scope } from "effect"
import { Effect, Layer } from "effect"
import type { View } from "effect-eventsourcing"
import { ViewStore } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { sqlViews } from "../../support/backends.ts"
import type { JournalOptions, JournalProjection, JournalView } from "./journalView.ts"
import { makeJournal } from "./journalView.ts"

export type Views = ViewStore.SqlViewStore | ViewStore.MemoryViewStore

/** A kind of view. */
export interface Kind {
  readonly journal: (options?: JournalOptions) => JournalProjection
  readonly store: Effect.Effect<AnyStore, never, Views>
  /** A new place. Built again, it is the same one, except in memory. */
  readonly make: Effect.Effect<Layer.Layer<Views, unknown>, unknown, Scope.Scope>
}

const inTables = (make: Kind["make"]): Kind => ({
  journal: (options) => makeJournal("tables", options),
  store: Effect.map(ViewStore.SqlViewStore, (store) => store as never),
  make
})

const withMemory = Effect.map((layer: Layer.Layer<ViewStore.SqlViewStore, unknown>) =>
  Layer.merge(layer, MemoryViews())
)

/** All kinds, in a layer of the same type. */
export const kinds: Readonly<Record<"memory" | "SQLite" | "PostgreSQL", Kind>> = {
  memory: {
    journal: (options) => makeJournal("memory", options),
    store: Effect.map(ViewStore.MemoryViewStore, (store) => store as never),
    make: Effect.sync(() => Layer.merge(SqliteViews({ filename: ":memory:" }), MemoryViews()))
  },
  SQLite: inTables(withMemory(sqlViews.SQLite as NonNullable<typeof sqlViews.SQLite>)),
  PostgreSQL: inTables(withMemory(sqlViews.PostgreSQL as NonNullable<typeof sqlViews.PostgreSQL>))
}

/** A store of either kind, whatever its views are. */
export type AnyStore = ViewStore.ViewStore<View.Of<JournalView>, never>

/** The existing stores, with some operations replaced. */
export const changing = (change: (store: AnyStore) => Partial<AnyStore>): Layer.Layer<Views, never, Views> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const sql = yield* ViewStore.SqlViewStore
      const memory = yield* ViewStore.MemoryViewStore
      const changed = <S>(store: S): S => ({ ...store, ...change(store as AnyStore) })
      return yield* Effect.context<Views>().pipe(
        Effect.provideService(ViewStore.SqlViewStore, changed(sql)),
        Effect.provideService(ViewStore.MemoryViewStore, changed(memory))
      )
    })
  )

/** What happens to the transactions of a place, one after the other. */
export interface Transactions {
  /** How many were committed. */
  committed: number
  /** What is done instead of the next ones, each with the original transaction. */
  readonly instead: Array<<A, E, R>(transaction: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>
}

/** Counts the transactions that move tracking, without a time limit, and replaces some of them. */
export const watching = () => {
  const transactions: Transactions = { committed: 0, instead: [] }
  const layer = changing((store) => ({
    transact: (move, work) =>
      Effect.suspend(() => {
        const untimed = store.transact(move, (view, transaction) => work(view, { ...transaction, left: () => 1000 }))
        const whole = Effect.tap(untimed, () =>
          Effect.sync(() => {
            transactions.committed++
          })
        )
        return transactions.instead.shift()?.(whole) ?? whole
      })
  }))
  return { transactions, layer }
}
