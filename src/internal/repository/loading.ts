import { Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { ReadError } from "../../EventSourcingError.ts"
import type { EventStore, Page } from "../../EventStore.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import * as StreamName from "../../StreamName.ts"
import { foldPage } from "./folding.ts"
import type { LoadedState } from "./loadedState.ts"

/** Loads states from snapshots and events. */
export const makeLoading = (store: EventStore["Service"], snapshots: SnapshotStore["Service"]) => {
  /** Folds a page and the pages after it. */
  const foldPages = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    from: LoadedState | undefined,
    first: Page
  ): Effect.fn.Return<LoadedState | undefined, ReadError> {
    let loaded = yield* foldPage(aggregate, from, first)
    for (let next = first.next; next !== undefined; ) {
      const page = yield* next
      loaded = yield* foldPage(aggregate, loaded, page)
      next = page.next
    }
    return loaded
  })

  /** Reads a stream from its first event and folds it. */
  const fold = (aggregate: Aggregate.Any, stream: StreamName.StreamName, upTo: number | undefined) =>
    Effect.flatMap(store.readPage(aggregate, stream, { known: undefined, upTo }), (page) =>
      foldPages(aggregate, undefined, page)
    )

  /**
   * Continues from the state of a snapshot or the cache, if the event with which it ends still exists. Returns
   * `undefined` if it does not: the stream was removed, or the log was restored from a backup.
   */
  const continueFrom = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    from: LoadedState,
    upTo: number | undefined
  ): Effect.fn.Return<LoadedState | undefined, ReadError> {
    const page = yield* store.readPage(aggregate, stream, { known: from.version, upTo })
    if (page.known === undefined || (from.eventId ?? page.known.id) !== page.known.id) return undefined
    // a snapshot of an earlier release does not contain it
    const known = from.eventId === undefined ? { ...from, eventId: page.known.id } : from
    return page.events.length === 0 ? known : yield* foldPages(aggregate, known, page)
  })

  /** Rebuilds from the snapshot, if there is a usable one, and the events after it. */
  const load = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    upTo?: number
  ): Effect.fn.Return<LoadedState | undefined, ReadError> {
    const stream = StreamName.of(aggregate.name, id)
    const snapshot = yield* snapshots.load(aggregate, id)
    if (snapshot !== undefined && (upTo === undefined || snapshot.version <= upTo)) {
      const from = { eventId: undefined, ...snapshot, keysSince: Number.POSITIVE_INFINITY }
      const loaded = yield* continueFrom(aggregate, stream, from, upTo)
      if (loaded !== undefined) return loaded
    }
    return yield* fold(aggregate, stream, upTo)
  })

  return { load, continueFrom }
}
