import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import * as StreamName from "../../StreamName.ts"
import type { LoadedState } from "./loadedState.ts"
import { ownCopy, toInstance } from "./loadedState.ts"
import type { Parts } from "./parts.ts"

/** The interval of an aggregate's snapshots, if any. */
export const intervalOf = (aggregate: Aggregate.Any, { snapshots }: Pick<Parts, "snapshots">): number | undefined =>
  aggregate.snapshotEvery ?? snapshots.snapshotEvery

/** Saves a snapshot in the background if the state has passed a multiple of the aggregate's interval. */
export const snapshotInBackground = <A extends Aggregate.Any>(
  parts: Pick<Parts, "runInBackground" | "snapshots">,
  aggregate: A,
  id: Aggregate.Id<Aggregate.NameOf<A>>,
  before: LoadedState | undefined,
  after: LoadedState
): Effect.Effect<unknown> => {
  const { runInBackground, snapshots } = parts
  const every = intervalOf(aggregate, parts)
  if (every === undefined || multiples(before, every) === multiples(after, every)) return Effect.void
  // the caller that gets the result may change it
  return snapshots.save(aggregate, toInstance<A>(id, ownCopy(aggregate, after)), after.eventId).pipe(
    Effect.catchCause((cause) =>
      Effect.logWarning(`the snapshot of "${StreamName.of(aggregate.name, id)}" could not be saved`, cause)
    ),
    runInBackground
  )
}

/** How many multiples of the interval have been passed at a version. */
const multiples = (loaded: LoadedState | undefined, every: number): number =>
  Math.floor(((loaded?.version ?? -1) + 1) / every)
