import type { Fiber } from "effect"
import { Clock, DateTime, Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { KeyAge } from "../../Cipher.ts"
import type { ReadError, WrongExpectedVersion } from "../../EventSourcingError.ts"
import { EventNotDecodable } from "../../EventSourcingError.ts"
import type { EventStore, Page, Prepared } from "../../EventStore.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import type { Notification } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import type { Counts } from "../observability/metrics.ts"
import { withSpan } from "../observability/tracing.ts"
import { Lru } from "./lru.ts"

/** A state and what it was folded from. */
export interface Rebuilt {
  readonly state: unknown
  readonly version: number
  /** The id of the event at this version; `undefined` if a snapshot of an earlier release does not contain it. */
  readonly eventId: string | undefined
  /**
   * When the oldest of the keys with which its events were decrypted was requested, in milliseconds since the epoch;
   * `Infinity` if nothing was encrypted.
   */
  readonly keysSince: number
  readonly createdAt: DateTime.Utc
  readonly modifiedAt: DateTime.Utc
}

/** The states of aggregates: rebuilt from snapshots and events, and cached. */
export interface States {
  /** The cached state, however old. Only this module may keep or change it, so others get an {@link ownCopy}. */
  readonly cached: (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    fiber: Fiber.Fiber<unknown, unknown>
  ) => Rebuilt | undefined
  /** Counts that a cached state was used as it is. */
  readonly used: () => void
  /** Caches a copy of a state that others have too. */
  readonly remember: (aggregate: Aggregate.Any, stream: StreamName.StreamName, rebuilt: Rebuilt) => void
  /**
   * Maps the result of something that may use keys, together with the time at which the oldest of them was requested;
   * see {@link Rebuilt}.
   */
  readonly mapWithKeyAge: <A, E, B>(
    self: Effect.Effect<A, E>,
    f: (value: A, keysSince: number) => B
  ) => Effect.Effect<B, E>
  readonly forget: (stream: StreamName.StreamName) => void
  /** Discards a state that is ahead of its stream: the log was restored from a backup. */
  readonly learnFrom: (conflict: WrongExpectedVersion) => void
  /** The current state: never older than what was recorded before the call. */
  readonly fresh: (aggregate: Aggregate.Any, id: Aggregate.Id<string>) => Effect.Effect<Rebuilt | undefined, ReadError>
  /** The state at a version, or at the last one before it. */
  readonly at: (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    version: number
  ) => Effect.Effect<Rebuilt | undefined, ReadError>
}

export const make = (
  store: EventStore["Service"],
  snapshots: SnapshotStore["Service"],
  capacity: number,
  counts: Counts
): States => {
  const { keysTrustedFor } = store
  const cache = new Lru<{ readonly aggregate: Aggregate.Any; readonly rebuilt: Rebuilt }>(capacity)

  /** How often something was forgotten. */
  let forgotten = 0

  /** Whether a key with which a state was decrypted was requested so long ago that it may have been deleted. */
  const isExpired = ({ keysSince }: Rebuilt, fiber: Fiber.Fiber<unknown, unknown>): boolean =>
    keysTrustedFor !== undefined && fiber.getRef(Clock.Clock).currentTimeMillisUnsafe() - keysSince >= keysTrustedFor

  const cached: States["cached"] = (aggregate, stream, fiber) => {
    const entry = cache.get(stream)
    if (entry?.aggregate !== aggregate) return undefined
    if (!isExpired(entry.rebuilt, fiber)) return entry.rebuilt
    cache.delete(stream)
    return undefined
  }

  const remember = (aggregate: Aggregate.Any, stream: StreamName.StreamName, rebuilt: Rebuilt): void => {
    const known = cache.get(stream)
    if (known?.aggregate !== aggregate || known.rebuilt.version < rebuilt.version) {
      cache.set(stream, { aggregate, rebuilt })
    }
  }

  const mapWithKeyAge: States["mapWithKeyAge"] = (self, f) =>
    keysTrustedFor === undefined
      ? Effect.map(self, (value) => f(value, Number.POSITIVE_INFINITY))
      : Effect.flatMap(Clock.currentTimeMillis, (now) => {
          const age = { oldest: now }
          return Effect.map(Effect.provideService(self, KeyAge, age), (value) => f(value, age.oldest))
        })

  /** Folds a page and the pages after it. */
  const foldPages = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    from: Rebuilt | undefined,
    first: Page
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    let rebuilt = yield* foldPage(aggregate, from, first)
    for (let next = first.next; next !== undefined; ) {
      const page = yield* next
      rebuilt = yield* foldPage(aggregate, rebuilt, page)
      next = page.next
    }
    return rebuilt
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
  const goOn = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    from: Rebuilt,
    upTo: number | undefined
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
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
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    const stream = StreamName.of(aggregate.name, id)
    const snapshot = yield* snapshots.load(aggregate, id)
    if (snapshot !== undefined && (upTo === undefined || snapshot.version <= upTo)) {
      const from = { eventId: undefined, ...snapshot, keysSince: Number.POSITIVE_INFINITY }
      const rebuilt = yield* goOn(aggregate, stream, from, upTo)
      if (rebuilt !== undefined) return rebuilt
    }
    return yield* fold(aggregate, stream, upTo)
  })

  /** The current state, based on the cached one if that is still valid. */
  const current = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    known: Rebuilt | undefined,
    upTo?: number
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    const stream = StreamName.of(aggregate.name, id)
    const rebuilt = yield* mapWithKeyAge(
      known === undefined ? load(aggregate, id, upTo) : goOn(aggregate, stream, known, upTo),
      (rebuilt, keysSince) =>
        rebuilt === undefined || rebuilt === known || keysSince >= rebuilt.keysSince
          ? rebuilt
          : { ...rebuilt, keysSince }
    )
    if (rebuilt !== undefined || known === undefined) return rebuilt
    cache.delete(stream)
    return yield* current(aggregate, id, undefined, upTo)
  })

  /** Whether a state is cached, so that only later events have to be read. */
  const count = (known: Rebuilt | undefined): boolean => {
    if (known === undefined) counts.cacheMisses++
    else counts.cacheHits++
    return known !== undefined
  }

  return {
    cached,
    used: () => {
      counts.cacheHits++
    },
    mapWithKeyAge,
    remember: (aggregate, stream, rebuilt) => remember(aggregate, stream, ownCopy(aggregate, rebuilt)),
    forget: (stream) => {
      forgotten++
      cache.delete(stream)
    },
    learnFrom: ({ stream, actual }) => {
      const known = cache.get(stream)?.rebuilt.version
      if (known !== undefined && (actual === "NoStream" || actual < known)) cache.delete(stream)
    },
    fresh: (aggregate, id) =>
      Effect.withFiber((fiber) => {
        const stream = StreamName.of(aggregate.name, id)
        const known = cached(aggregate, stream, fiber)
        const span = withSpan("Repository.load", { stream, cached: count(known) })
        const before = forgotten
        return Effect.map(span(current(aggregate, id, known)), (rebuilt) => {
          // what was read before something was forgotten may be what had to be forgotten
          if (rebuilt !== undefined && forgotten === before) remember(aggregate, stream, rebuilt)
          return rebuilt
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

/** A state that its holder may change without affecting the cached one. */
export const ownCopy = (aggregate: Aggregate.Any, rebuilt: Rebuilt): Rebuilt => {
  const state = aggregate.compiled.copyState(rebuilt.state)
  return state === rebuilt.state ? rebuilt : { ...rebuilt, state }
}

/** The version of the stream with this state. */
export const versionOf = (rebuilt: Rebuilt | undefined): ExpectedVersion => rebuilt?.version ?? "NoStream"

/** Folds a page of events. An event that can't follow the state is a failure, never a wrong state (G8). */
const foldPage = (
  aggregate: Aggregate.Any,
  from: Rebuilt | undefined,
  { notifications, events }: Page
): Effect.Effect<Rebuilt | undefined, EventNotDecodable> =>
  Effect.suspend((): Effect.Effect<Rebuilt | undefined, EventNotDecodable> => {
    let exists = from !== undefined
    // a reducer gets a state that nobody else has
    let state = events.length === 0 ? from?.state : aggregate.compiled.copyState(from?.state)
    let index = 0
    for (const event of events) {
      const notification = notifications[index++] as Notification
      const creates = aggregate.compiled.byTag.get(event._tag)?.creates === true
      if (creates === exists) {
        return misplaced(
          notification,
          creates ? "it creates what exists already" : "it changes what does not exist yet"
        )
      }
      if (!isTime(notification.recordedAt)) return misplaced(notification, "the time of its recording is none")
      state = aggregate.compiled.apply(state, event)
      exists = true
    }
    const [first] = notifications
    const last = notifications[notifications.length - 1]
    if (first === undefined || last === undefined) return Effect.succeed(from)
    return Effect.succeed({
      state,
      version: last.version,
      eventId: last.id,
      keysSince: from?.keysSince ?? Number.POSITIVE_INFINITY,
      createdAt: from?.createdAt ?? DateTime.makeUnsafe(first.recordedAt),
      modifiedAt: DateTime.makeUnsafe(last.recordedAt)
    })
  })

/** Whether `DateTime` can represent these milliseconds. */
const isTime = (epochMillis: number): boolean => Math.abs(epochMillis) <= 8.64e15

const misplaced = ({ stream, version, position, type }: Notification, reason: string) =>
  Effect.fail(new EventNotDecodable({ stream, version, position, type, reason }))

/** Folds events that are about to be recorded. A reducer that throws is a defect, and nothing is recorded. */
export const foldPrepared = (
  aggregate: Aggregate.Any,
  from: Rebuilt | undefined,
  prepared: Prepared<string, Aggregate.AnyEvent>,
  keysSince: number
): Rebuilt => {
  let state = aggregate.compiled.copyState(from?.state)
  let last: RecordedEvent<string, Aggregate.AnyEvent> | undefined
  for (const recorded of prepared.events) {
    state = aggregate.compiled.apply(state, recorded.event)
    last = recorded
  }
  const { id: eventId, version, recordedAt } = last as RecordedEvent<string, Aggregate.AnyEvent>
  return {
    state,
    version,
    eventId,
    keysSince: Math.min(from?.keysSince ?? keysSince, keysSince),
    createdAt: from?.createdAt ?? recordedAt,
    modifiedAt: recordedAt
  }
}
