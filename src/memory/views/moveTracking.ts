/** Moves of a tracking position, with the work of a batch in the same transaction (G6). */
import { Effect } from "effect"
import { ProjectionSuperseded, RecorderFailure, TrackingConflict } from "../../EventSourcingError.ts"
import * as Tracking from "../../Tracking.ts"
import type { MemoryView } from "../../View.ts"
import type { Move, ViewStore } from "../../ViewStore.ts"
import { withDraft } from "./draft.ts"
import type { Entry, ViewMemory } from "./entries.ts"
import { currentOf, entryOf } from "./entries.ts"

export const makeTransact =
  (memory: ViewMemory): ViewStore<MemoryView<unknown>, never>["transact"] =>
  (move, work) =>
    memory.exclusively(
      Effect.gen(function* () {
        const { key, to, seen } = move
        const entry = yield* entryToMove(memory, move)
        return yield* withDraft(entry, work, (end = { position: to, seen }) => {
          Object.assign(entry, end)
          memory.localProgress(key.projection).reached(key.version, end.position)
        })
      })
    )

/** Finds the version, if this move is allowed. */
const entryToMove = Effect.fnUntraced(function* (
  memory: ViewMemory,
  { key, from, to }: Move
): Effect.fn.Return<Entry, RecorderFailure | ProjectionSuperseded | TrackingConflict> {
  const { projection, version, upstream } = key
  const refusal = Tracking.refusal({ key, from, to })
  if (refusal !== undefined) {
    return yield* new RecorderFailure({ operation: "move a tracking position", reason: refusal })
  }
  const entry = entryOf(memory, key)
  if (entry?.status === "retired" && !entry.ready) {
    return yield* new ProjectionSuperseded({ projection, version, by: currentOf(memory, key)?.key.version ?? version })
  }
  if (entry === undefined || entry.position !== from) {
    return yield* new TrackingConflict({ projection, upstream, expected: from, actual: entry?.position })
  }
  return entry
})
