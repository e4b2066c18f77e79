/** Views as values in memory. */
import { Effect, Layer } from "effect"
import type { MemoryReader, MemoryView } from "../View.ts"
import type { ViewStore } from "../ViewStore.ts"
import { MemoryViewStore } from "../ViewStore.ts"
import { makePromote, makeRemove, makeReset } from "./views/changeVersions.ts"
import { makeDeadLetters } from "./views/deadLetters.ts"
import type { ViewMemory } from "./views/entries.ts"
import { entryOf, makeViewMemory, toProgress, versionsOf } from "./views/entries.ts"
import { makeLease } from "./views/leases.ts"
import { makeTransact } from "./views/moveTracking.ts"
import { makeOpen } from "./views/openVersion.ts"

type Store = ViewStore<MemoryView<unknown>, never>

/** A place for views in memory. Each build of the layer has its own, which is gone when the process ends. */
export const MemoryViews = (): Layer.Layer<MemoryViewStore> => Layer.sync(MemoryViewStore, makeStore)

const makeStore = (): Store => {
  const memory = makeViewMemory()
  return {
    localProgress: memory.localProgress,
    open: makeOpen(memory),
    versions: (key) => Effect.sync(() => versionsOf(memory, key).map(toProgress)),
    transact: makeTransact(memory),
    note: (key, seen) =>
      memory.exclusively(
        Effect.sync(() => {
          const entry = entryOf(memory, key)
          if (entry?.position === seen.position) entry.seen = seen
        })
      ),
    read: makeRead(memory),
    promote: makePromote(memory),
    reset: makeReset(memory),
    remove: makeRemove(memory),
    ...makeDeadLetters(memory),
    lease: makeLease(memory)
  }
}

const makeRead =
  (memory: ViewMemory): Store["read"] =>
  (key, read) =>
    Effect.suspend(() => {
      const entry = entryOf(memory, key)
      const view: MemoryReader<unknown> = {
        get: Effect.sync(() => entry?.state),
        version: key.version
      }
      return read(view as MemoryView<unknown>)
    })
