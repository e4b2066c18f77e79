/** The compiled form of an aggregate's definition. */
import type * as Aggregate from "../../Aggregate.ts"
import type * as Evolution from "../../Evolution.ts"

/** One event of an aggregate, compiled. */
export interface CompiledEvent {
  readonly tag: string
  readonly type: string
  readonly creates: boolean
  readonly codec: Evolution.Codec<object>
  readonly construct: (payload?: object) => Aggregate.AnyEvent
}

/** What the event store needs from an aggregate. */
export interface Compiled {
  readonly byTag: ReadonlyMap<string, CompiledEvent>
  /** By stored type, including aliases. */
  readonly byType: ReadonlyMap<string, CompiledEvent>
  readonly state: Evolution.Codec<unknown>
  /** Copies a state that could be changed in place; returns the state itself if nothing can change it. */
  readonly copyState: (state: unknown) => unknown
  readonly apply: (state: unknown, event: Aggregate.AnyEvent) => unknown
}
