import type { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { RecorderError } from "../../EventSourcingError.ts"
import type { Positioned } from "../../RecordedEvent.ts"

/** Any event that a projection handles. */
export type AnyRecorded = Positioned<string, Aggregate.AnyEvent>

/** What the runner needs of a projection. `Setup` is what the setup of its view asks for, `R` what its handlers do. */
export interface Compiled<out Setup, out R> {
  readonly handles: (aggregate: string, tag: string) => boolean
  /** Whether events are handled together, so that some of them can't be handled without the others. */
  readonly isBatched?: boolean
  /** Handles events, all of them handled ones. */
  readonly handle: (events: ReadonlyArray<AnyRecorded>, view: unknown) => Effect.Effect<unknown, unknown, R>
  readonly setup: (view: unknown) => Effect.Effect<unknown, RecorderError, Setup>
  /** How the definition is written, which tells two projections of one name apart. */
  readonly source: () => string
}
