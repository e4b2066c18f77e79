/** Leases: which runner may work on a version, for a limited time. */
import { Clock, Effect } from "effect"
import { keyText } from "../../internal/projection/trackingKey.ts"
import type { ViewStore } from "../../ViewStore.ts"
import type { ViewMemory } from "./entries.ts"

export const makeLease =
  ({ leases }: ViewMemory): ViewStore<unknown, never>["lease"] =>
  (key, holder, milliseconds) =>
    // not the time of day, which can be set
    Effect.map(Clock.monotonicTimeNanos, (nanos) => {
      const now = Number(nanos / 1_000_000n)
      const text = keyText(key)
      const taken = leases.get(text)
      if (taken !== undefined && taken.holder !== holder && taken.until > now) return false
      if (milliseconds > 0) leases.set(text, { holder, until: now + milliseconds })
      else leases.delete(text)
      return milliseconds > 0
    })
