/** Dead letters: the events that were set aside. */
import { Effect } from "effect"
import type { MemoryView } from "../../View.ts"
import type { ViewStore } from "../../ViewStore.ts"
import { withDraft } from "./draft.ts"
import type { ViewMemory } from "./entries.ts"
import { entryOf } from "./entries.ts"

type Store = ViewStore<MemoryView<unknown>, never>

/** The operations of the store on dead letters. */
export const makeDeadLetters = (
  memory: ViewMemory
): Pick<Store, "deadLetters" | "takeBack" | "discard" | "triedAgain"> => ({
  deadLetters: (key, stream) =>
    Effect.sync(() =>
      (entryOf(memory, key)?.letters ?? []).filter((letter) => stream === undefined || letter.stream === stream)
    ),

  takeBack: (key, position, work) =>
    memory.exclusively(
      Effect.suspend(() => {
        const entry = entryOf(memory, key)
        const letter = entry?.letters.find((candidate) => candidate.position === position)
        const isFirst = entry?.letters.find(({ stream }) => stream === letter?.stream) === letter
        if (entry === undefined || letter === undefined || !isFirst) return Effect.succeed(false)
        const handled = withDraft(entry, work, () => {
          entry.letters = entry.letters.filter((other) => other !== letter)
        })
        return Effect.as(handled, true)
      })
    ),

  discard: (key, what) =>
    memory.exclusively(
      Effect.sync(() => {
        const entry = entryOf(memory, key)
        if (entry === undefined) return 0
        const { length } = entry.letters
        entry.letters = entry.letters.filter((letter) =>
          "eventId" in what ? letter.eventId !== what.eventId : letter.stream !== what.stream
        )
        return length - entry.letters.length
      })
    ),

  triedAgain: (key, position, cause) =>
    memory.exclusively(
      Effect.sync(() => {
        const entry = entryOf(memory, key)
        if (entry === undefined) return
        entry.letters = entry.letters.map((letter) =>
          letter.position === position ? { ...letter, attempts: letter.attempts + 1, cause } : letter
        )
      })
    )
})
