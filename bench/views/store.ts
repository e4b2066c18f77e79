/** The library's side of every place: its store of views. */
import { Effect } from "effect"
import type { ViewStore } from "effect-eventsourcing"
import type { Commits } from "./commits.ts"
import type { Way } from "./Site.ts"

export const keyOf = (projection: Way, version: number) => ({ projection, version, upstream: "log", slice: 0 })

/** The store, of which each commit is noted. */
export const noted = <View, Provided>(
  store: ViewStore.ViewStore<View, Provided>,
  commits: Commits
): ViewStore.ViewStore<View, Provided> => ({
  ...store,
  transact: (move, work) =>
    Effect.tap(store.transact(move, work), () => Effect.sync(() => commits.note(Number(move.to))))
})

/** Removes all versions of a view that are not read. */
export const cleaner = <View, Provided>(store: ViewStore.ViewStore<View, Provided>) =>
  Effect.fnUntraced(function* (way: Way) {
    const all = yield* store.versions(keyOf(way, 1))
    for (const { version } of all) yield* store.remove(keyOf(way, version))
  })
