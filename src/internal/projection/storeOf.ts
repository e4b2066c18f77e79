import type { Effect } from "effect"
import type * as Projection from "../../Projection.ts"
import type * as View from "../../View.ts"
import type { Mode, ViewStore } from "../../ViewStore.ts"
import * as ViewStores from "../../ViewStore.ts"

/** The store of a projection's view. */
export const storeOf = <K extends View.Any>(
  projection: Projection.Projection<K, Mode, Projection.Delivery, unknown>
): Effect.Effect<ViewStore<View.Of<K>, ViewStores.ProvidedOf<K>>, never, ViewStores.Of<K>> => {
  const store: Effect.Effect<unknown, never, unknown> =
    projection.view._tag === "Memory" ? ViewStores.MemoryViewStore : ViewStores.SqlViewStore
  return store as Effect.Effect<ViewStore<View.Of<K>, ViewStores.ProvidedOf<K>>, never, ViewStores.Of<K>>
}
