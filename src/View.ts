/** What the handlers of a projection write to and its readers read: tables of a database, or a value in memory. */
import type { Effect } from "effect"
import type { SqlClient, Statement } from "effect/sql"

/** The tables of a projection's version. */
export interface SqlView {
  /** The client of the view's database, in the transaction that also moves the tracking. */
  readonly sql: SqlClient.SqlClient
  /** The name of one of the view's tables; the tables of each projection and version are kept apart. */
  readonly table: (name: string) => Statement.Fragment
  /** The name of an index, a trigger or a constraint of one of the view's tables. */
  readonly index: (name: string) => Statement.Fragment
  /** The version of the projection whose tables these are. */
  readonly version: number
}

/** A value in memory; nobody sees a change before the tracking has moved. */
export interface MemoryView<in out State> {
  readonly get: Effect.Effect<State>
  readonly set: (state: State) => Effect.Effect<void>
  /** Replaces the value; never change it in place, so that a failure leaves the old value unchanged. */
  readonly update: (f: (state: State) => State) => Effect.Effect<void>
  /** The version of the projection whose value this is. */
  readonly version: number
}

/** A view in tables, and how they are created. */
export interface Sql<out R> {
  readonly _tag: "Sql"
  readonly setup: (view: SqlView) => Effect.Effect<unknown, unknown, R>
}

/** A view in memory, and its initial value. */
export interface Memory<in out State> {
  readonly _tag: "Memory"
  readonly initial: () => State
}

/** Any kind of view. */
export type Any = Sql<unknown> | AnyMemory

/** Any view in memory. */
export interface AnyMemory {
  readonly _tag: "Memory"
  readonly initial: () => unknown
}

/** What handlers get for a kind of view. */
export type Of<K> = K extends { readonly _tag: "Memory"; readonly initial: () => infer State }
  ? MemoryView<State>
  : SqlView

/** A value for readers, who must not change it. */
export interface MemoryReader<out State> {
  readonly get: Effect.Effect<State>
  readonly version: number
}

/** What readers get for a kind of view. */
export type ReaderOf<K> = K extends { readonly _tag: "Memory"; readonly initial: () => infer State }
  ? MemoryReader<State>
  : SqlView
