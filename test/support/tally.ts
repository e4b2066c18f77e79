/** An aggregate whose events name their append (`batch`) and say how many events that has in all its streams. */
import { Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

const batch = { batch: Schema.String, size: Schema.Int }

export const Tally = Aggregate.make("Tally", {
  state: Schema.Int,
  creation: { Begun: batch },
  events: { Counted: batch },
  reduce: { Begun: () => 1, Counted: (count) => count + 1 }
})

export type TallyId = Aggregate.Id<"Tally">
