import type { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Node } from "./reaction.ts"

/** Any event that a process follows. */
export type AnyRecorded = Positioned<string, Aggregate.AnyEvent>

/** What a runner needs of a process's definition. */
export interface Compiled<out E, out R> {
  readonly handles: (aggregate: string, tag: string) => boolean
  /** Calls the handler of an event, which must have one, to find out what to do. */
  readonly react: (cause: AnyRecorded) => Effect.Effect<ReadonlyArray<Node<E>>, E, R>
}

/** A process as its runner knows it. */
export interface Definition<out E, out R> {
  readonly name: string
  readonly version: number
  readonly begin: "start" | "end"
  readonly follows: ReadonlyArray<Aggregate.Any>
  readonly compiled: Compiled<E, R>
}
