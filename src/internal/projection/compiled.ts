import type { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Positioned } from "../../RecordedEvent.ts"

/** Any event that a projection handles. */
export type AnyRecorded = Positioned<string, Aggregate.AnyEvent>

/**
 * What the runner needs of a projection. `Setup` is what the setup of its view requires, `R` what its handlers require.
 */
export interface Compiled<out Setup, out R> {
  readonly handles: (aggregate: string, tag: string) => boolean
  /** Whether events are handled together, so that none of them can be handled without the others. */
  readonly isBatched?: boolean
  /**
   * Handles events, all of which the projection handles. If it handles one after another, it calls `handled` after each,
   * and stops before one, but not before the first, if `isTimeLeft` returns false.
   */
  readonly handle: (
    events: ReadonlyArray<AnyRecorded>,
    view: unknown,
    progress?: { readonly isTimeLeft: () => boolean; readonly handled: () => void }
  ) => Effect.Effect<unknown, unknown, R>
  readonly setup: (view: unknown) => Effect.Effect<unknown, RecorderError, Setup>
  /** The source text of the definition, which tells two projections with the same name apart. */
  readonly source: () => string
}
