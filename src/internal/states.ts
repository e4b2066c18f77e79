import { DateTime, Effect } from "effect"
import type * as Aggregate from "../Aggregate.ts"
import type { ReadError, WrongExpectedVersion } from "../EventSourcingError.ts"
import { EventNotDecodable } from "../EventSourcingError.ts"
import type { EventStore, Page, Prepared } from "../EventStore.ts"
import type { RecordedEvent } from "../RecordedEvent.ts"
import type { ExpectedVersion } from "../Recorder.ts"
import type { SnapshotStore } from "../SnapshotStore.ts"
import type { Notification } from "../StoredEvent.ts"
import * as StreamName from "../StreamName.ts"
import { Lru } from "./lru.ts"
import type { Counts } from "./metrics.ts"
import { withSpan } from "./tracing.ts"

/** A state and what it was folded from. */
export interface Rebuilt {
  readonly state: unknown
  readonly version: number
  readonly createdAt: DateTime.Utc
  readonly modifiedAt: DateTime.Utc
}

/** The states of aggregates: rebuilt from snapshots and events, and remembered. */
export interface States {
  /** What is remembered, however old. */
  readonly cached: (aggregate: Aggregate.Any, stream: StreamName.StreamName) => Rebuilt | undefined
  /** Says that a remembered state was used as it is. */
  readonly used: () => void
  readonly remember: (aggregate: Aggregate.Any, stream: StreamName.StreamName, rebuilt: Rebuilt) => void
  /** Forgets a state that is ahead of its stream: the log was put back to an earlier one. */
  readonly learnFrom: (conflict: WrongExpectedVersion) => void
  /** The state as it stands now: never older than what was recorded before the call. */
  readonly fresh: (aggregate: Aggregate.Any, id: Aggregate.Id<string>) => Effect.Effect<Rebuilt | undefined, ReadError>
  /** The state as it stood at a version, or at the last one before it. */
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
  const cache = new Lru<{ readonly aggregate: Aggregate.Any; readonly rebuilt: Rebuilt }>(capacity)

  const cached: States["cached"] = (aggregate, stream) => {
    const entry = cache.get(stream)
    return entry?.aggregate === aggregate ? entry.rebuilt : undefined
  }

  const remember: States["remember"] = (aggregate, stream, rebuilt) => {
    const known = cached(aggregate, stream)
    if (known === undefined || known.version < rebuilt.version) cache.set(stream, { aggregate, rebuilt })
  }

  /** Reads and folds what comes behind a state, or behind nothing. */
  const fastForward = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    from: Rebuilt | undefined,
    upTo?: number
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    return yield* foldPages(aggregate, from, yield* store.readPage(aggregate, stream, { after: from?.version, upTo }))
  })

  /** Folds a page and those behind it. */
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

  /**
   * Goes on from a snapshot, if the event that it ends with is there: the log may have been put back to an earlier state.
   */
  const fromSnapshot = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    stream: StreamName.StreamName,
    snapshot: Rebuilt,
    upTo: number | undefined
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    const { notifications, events, next } = yield* store.readPage(aggregate, stream, {
      after: snapshot.version - 1,
      upTo
    })
    if (notifications.length === 0) return yield* fastForward(aggregate, stream, undefined, upTo)
    return yield* foldPages(aggregate, snapshot, {
      notifications: notifications.slice(1),
      events: events.slice(1),
      next
    })
  })

  /** Rebuilds from the snapshot, if there is one that helps, and the events behind it. */
  const load = Effect.fnUntraced(function* (
    aggregate: Aggregate.Any,
    id: Aggregate.Id<string>,
    upTo?: number
  ): Effect.fn.Return<Rebuilt | undefined, ReadError> {
    const stream = StreamName.of(aggregate.name, id)
    const snapshot = yield* snapshots.load(aggregate, id)
    return snapshot !== undefined && (upTo === undefined || snapshot.version <= upTo)
      ? yield* fromSnapshot(aggregate, stream, snapshot, upTo)
      : yield* fastForward(aggregate, stream, undefined, upTo)
  })

  /** Whether a state is remembered, so that only what came behind it has to be read. */
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
    remember,
    learnFrom: ({ stream, actual }) => {
      const known = cache.get(stream)?.rebuilt.version
      if (known !== undefined && (actual === "NoStream" || actual < known)) cache.delete(stream)
    },
    fresh: Effect.fnUntraced(function* (aggregate, id) {
      const stream = StreamName.of(aggregate.name, id)
      const known = cached(aggregate, stream)
      const current = known === undefined ? load(aggregate, id) : fastForward(aggregate, stream, known)
      const rebuilt = yield* withSpan("Repository.load", { stream, cached: count(known) })(current)
      if (rebuilt !== undefined) remember(aggregate, stream, rebuilt)
      return rebuilt
    }),
    at: (aggregate, id, version) => {
      const stream = StreamName.of(aggregate.name, id)
      const known = cached(aggregate, stream)
      return known?.version === version
        ? Effect.succeed(known)
        : withSpan("Repository.load", { stream, version })(load(aggregate, id, Math.max(version, 0)))
    }
  }
}

/** Where a stream stands whose state this is. */
export const versionOf = (rebuilt: Rebuilt | undefined): ExpectedVersion => rebuilt?.version ?? "NoStream"

/** Folds a page of events. One that can't stand where it stands is a failure, never a wrong state (G8). */
const foldPage = (
  aggregate: Aggregate.Any,
  from: Rebuilt | undefined,
  { notifications, events }: Page
): Effect.Effect<Rebuilt | undefined, EventNotDecodable> =>
  Effect.suspend((): Effect.Effect<Rebuilt | undefined, EventNotDecodable> => {
    let exists = from !== undefined
    let state = from?.state
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
      createdAt: from?.createdAt ?? DateTime.makeUnsafe(first.recordedAt),
      modifiedAt: DateTime.makeUnsafe(last.recordedAt)
    })
  })

/** Whether milliseconds are a time that `DateTime` can hold. */
const isTime = (epochMillis: number): boolean => Math.abs(epochMillis) <= 8.64e15

const misplaced = ({ stream, version, position, type }: Notification, reason: string) =>
  Effect.fail(new EventNotDecodable({ stream, version, position, type, reason }))

/** Folds events that are about to be recorded: a reducer that throws is a defect, and nothing is recorded. */
export const foldPrepared = (
  aggregate: Aggregate.Any,
  from: Rebuilt | undefined,
  prepared: Prepared<string, Aggregate.AnyEvent>
): Rebuilt => {
  let state = from?.state
  let last: RecordedEvent<string, Aggregate.AnyEvent> | undefined
  for (const recorded of prepared.events) {
    state = aggregate.compiled.apply(state, recorded.event)
    last = recorded
  }
  const { version, recordedAt } = last as RecordedEvent<string, Aggregate.AnyEvent>
  return { state, version, createdAt: from?.createdAt ?? recordedAt, modifiedAt: recordedAt }
}
