import type { Fiber } from "effect"
import { Clock, Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { KeyAge } from "../../Cipher.ts"
import type { ReadError, WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import * as StreamName from "../../StreamName.ts"
import type { Counts } from "../observability/metrics.ts"
import { withSpan } from "../observability/tracing.ts"
import type { LoadedState } from "./loadedState.ts"
import { ownCopy } from "./loadedState.ts"
import { makeLoading } from "./loading.ts"
import { Lru } from "./lru.ts"

/** The states of aggregates: loaded from snapshots and events, and cached. */
export interface States {
  /** The cached state, however old. Only this module may keep or change it, so others get an {@link ownCopy}. */
  readonly cached: (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => LoadedState | undefined
  /** Counts that a cached state was used as it is. */
  readonly countCacheHit: () => void
  /** Caches a copy of a state that others have too. */
  readonly remember: (aggregate: Aggregate.Any, stream: StreamName.StreamName, loaded: LoadedState) => void
  /**
   * Maps the result of something that may use keys, together with the time at which the oldest of them was requested;
   * see {@link LoadedState}.
   */
  readonly mapWithKeyAge: <A, E, B>(
    self: Effect.Effect<A, E>,
    f: (value: A, keysSince: number) => B
  ) => Effect.Effect<B, E>
  readonly forget: (stream: StreamName.StreamName) => void
  /** Discards a state that is ahead of its stream: the log was restored from a backup. */
  readonly invalidateIfAhead: (conflict: WrongExpectedVersion) => void
  /** The current state: never older than what was recorded before the call. */
  readonly fresh: (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>
  ) => Effect.Effect<LoadedState | undefined, ReadError>
  /** The state at a version, or at the last one before it. */
  readonly at: (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    version: number
  ) => Effect.Effect<LoadedState | undefined, ReadError>
}

export const make = (
  store: EventStore["Service"],
  snapshots: SnapshotStore["Service"],
  capacity: number,
  counts: Counts
): States => {
  const { keysTrustedFor } = store
  const cache = new Lru<{ readonly aggregate: Aggregate.Any; readonly loaded: LoadedState }>(capacity)

  /** How often something was forgotten. */
  let forgotten = 0

  /** Whether a key with which a state was decrypted was requested so long ago that it may have been deleted. */
  const isExpired = ({ keysSince }: LoadedState, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
    keysTrustedFor !== undefined && fiber.getRef(Clock.Clock).currentTimeMillisUnsafe() - keysSince >= keysTrustedFor

  const cached: States["cached"] = (aggregate, stream, fiber) => {
    const entry = cache.get(stream)
    if (entry?.aggregate !== aggregate) return undefined
    if (!isExpired(entry.loaded, fiber)) return entry.loaded
    cache.delete(stream)
    return undefined
  }

  const remember = (aggregate: Aggregate.Any, stream: StreamName.StreamName, loaded: LoadedState): void => {
    const known = cache.get(stream)
    if (known?.aggregate !== aggregate || known.loaded.version < loaded.version) {
      cache.set(stream, { aggregate, loaded })
    }
  }

  const { load, continueFrom } = makeLoading(store, snapshots)

  const mapWithKeyAge: States["mapWithKeyAge"] = (self, f) =>
    keysTrustedFor === undefined
      ? Effect.map(self, (value) => f(value, Number.POSITIVE_INFINITY))
      : Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const age = { oldest: now }
          return Effect.map(Effect.provideService(self, KeyAge, age), (value) => f(value, age.oldest))
        })

  /** The current state, based on the cached one if that is still valid. */
  const current = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    known: LoadedState | undefined,
    upTo?: number
  ): Effect.fn.Return<LoadedState | undefined, ReadError> {
    const stream = StreamName.of(aggregate.name, id)
    const loaded = yield* mapWithKeyAge(
      known === undefined ? load(aggregate, id, upTo) : continueFrom(aggregate, stream, known, upTo),
      (loaded, keysSince) =>
        loaded === undefined || loaded === known || keysSince >= loaded.keysSince ? loaded : { ...loaded, keysSince }
    )
    if (loaded !== undefined || known === undefined) return loaded
    cache.delete(stream)
    return yield* current(aggregate, id, undefined, upTo)
  })

  /** Whether a state is cached, so that only later events have to be read. */
  const count = (known: LoadedState | undefined): boolean => {
    if (known === undefined) counts.cacheMisses++
    else counts.cacheHits++
    return known !== undefined
  }

  return {
    cached,
    countCacheHit: () => {
      counts.cacheHits++
    },
    mapWithKeyAge,
    remember: (aggregate, stream, loaded) => remember(aggregate, stream, ownCopy(aggregate, loaded)),
    forget: (stream) => {
      forgotten++
      cache.delete(stream)
    },
    invalidateIfAhead: ({ stream, actual }) => {
      const known = cache.get(stream)?.loaded.version
      if (known !== undefined && (actual === "NoStream" || actual < known)) cache.delete(stream)
    },
    fresh: (aggregate, id) =>
      Effect.withFiber((fiber) => {
        const stream = StreamName.of(aggregate.name, id)
        const known = cached(aggregate, stream, fiber)
        const span = withSpan("Repository.load", { stream, cached: count(known) })
        const before = forgotten
        return Effect.map(span(current(aggregate, id, known)), (loaded) => {
          // what was read before something was forgotten may be what had to be forgotten
          if (loaded !== undefined && forgotten === before) remember(aggregate, stream, loaded)
          return loaded
        })
      }),
    at: (aggregate, id, version) =>
      Effect.withFiber((fiber) => {
        const stream = StreamName.of(aggregate.name, id)
        const known = cached(aggregate, stream, fiber)
        const from = known?.version === version ? known : undefined
        return withSpan("Repository.load", { stream, version })(current(aggregate, id, from, Math.max(version, 0)))
      })
  }
}
