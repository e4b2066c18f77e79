/** Takes a decision as a repository does, but without one. */

import { DateTime, Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import type { AnyRevision, Current, Taken } from "../../internal/decision/steps.ts"
import { takeWith } from "../../internal/decision/steps.ts"
import { FIRST_TIME, foldAll, recordable, SECOND } from "./recording.ts"

/** What a decision gets of the aggregate besides its state. */
export interface Known {
  readonly id: Aggregate.Id<string>
  readonly createdAt?: DateTime.DateTime.Input | undefined
  readonly modifiedAt?: DateTime.DateTime.Input | undefined
}

/** The history of an aggregate, and the revisions that it has had or will have. */
export interface Taking {
  readonly aggregate: Aggregate.Any
  readonly state: unknown
  /** How many events it has. */
  readonly events: number
  readonly known: Known
}

/** The aggregate's revision after this many events; without times of its own, there is one event in a second. */
export const revisionAt = ({ events, known }: Taking, count: number): AnyRevision => {
  const { id } = known
  if (count === 0) return { id, version: undefined, createdAt: undefined, modifiedAt: undefined }
  const created = known.createdAt === undefined ? FIRST_TIME : millisOf(known.createdAt)
  const modified =
    known.modifiedAt === undefined ? created + Math.max(events - 1, 0) * SECOND : millisOf(known.modifiedAt)
  return {
    id,
    version: count - 1,
    createdAt: DateTime.makeUnsafe(created),
    modifiedAt: DateTime.makeUnsafe(modified + (count - Math.max(events, 1)) * SECOND)
  }
}

const millisOf = (time: DateTime.DateTime.Input): number => DateTime.toEpochMillis(DateTime.makeUnsafe(time))

/** What a decision is taken on. */
export const currentOf = (taking: Taking): Current => ({
  state: taking.state,
  revision: revisionAt(taking, taking.events)
})

/** Takes a decision whose requirement is met. Dies if it is composed and the first events can't be recorded. */
export const take = <Name extends string, E, State, Event>(
  taking: Taking,
  decision: Decision.Decision<Name, E, State, Event>
): Effect.Effect<Taken<Event>, E> =>
  Effect.suspend(() =>
    takeWith(decision, currentOf(taking), {
      copyState: taking.aggregate.compiled.copyState,
      advance: (before, events) => {
        const first = before.revision.version === undefined ? 0 : before.revision.version + 1
        const recorded = recordable(taking.aggregate, first, events).map(({ event }) => event)
        const state = foldAll(taking.aggregate, before.state, recorded)
        return Effect.succeed({ state, revision: revisionAt(taking, first + events.length) })
      }
    })
  )
