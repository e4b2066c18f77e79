/**
 * A log in memory, as arrays and maps: the same guarantees as on any backend except durability (G5).
 *
 * JavaScript runs one append at a time, so each is atomic on its own.
 */
import type { Result } from "effect"
import { Context, Effect, Layer } from "effect"
import type { ExclusiveLog } from "../internal/backend/exclusiveAppend.ts"
import {
  appendOne,
  appendToStreams,
  assertDistinctStreams,
  exclusiveAppend,
  exclusiveTracking
} from "../internal/backend/exclusiveAppend.ts"
import { isBeyond, matcher } from "../internal/backend/matching.ts"
import { makePage, upToSize } from "../internal/backend/pageSize.ts"
import * as Uuid from "../internal/encoding/uuid.ts"
import { makeChangeSignal } from "../internal/following/changeSignal.ts"
import { followLog } from "../internal/following/followPages.ts"
import { MultiStreamAppend } from "../MultiStreamAppend.ts"
import type { Position } from "../Position.ts"
import { fromStorage } from "../Position.ts"
import type { ReadAll } from "../Recorder.ts"
import { Recorder } from "../Recorder.ts"
import type { StoredSnapshot } from "../SnapshotRecorder.ts"
import { SnapshotRecorder } from "../SnapshotRecorder.ts"
import type { Notification } from "../StoredEvent.ts"
import type { StreamHead } from "../StreamCatalog.ts"
import { StreamCatalog } from "../StreamCatalog.ts"
import * as StreamName from "../StreamName.ts"
import { TrackedAppend } from "../TrackedAppend.ts"
import type * as Tracking from "../Tracking.ts"

/** The services that the memory recorder provides. */
export type Services = Recorder | MultiStreamAppend | TrackedAppend | StreamCatalog | SnapshotRecorder

/** Each build of the layer has a log of its own. */
export const layer: Layer.Layer<Services> = Layer.effectContext(
  Effect.gen(function* () {
    const logId = Uuid.v7(0)
    const { log, streams, exclusive, sortedNames } = makeLog()
    const snapshots = new Map<string, StoredSnapshot>()
    const tracked = new Map<string, Tracking.Progress>()
    const changes = makeChangeSignal()
    yield* Effect.addFinalizer(() => Effect.sync(() => changes.close()))

    const lastPosition = (): Position | undefined => log[log.length - 1]?.position

    /** Appends, and wakes the followers if the log has grown. */
    const appending = <A, E>(append: () => Result.Result<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => {
        const before = log.length
        const result = append()
        if (log.length > before) changes.notify()
        return Effect.fromResult(result)
      })

    const readAll = ({ direction, after, upTo, filter, limit, maxBytes }: ReadAll) =>
      Effect.sync(() => {
        const matches = matcher(filter)
        const page = makePage({ limit, maxBytes })
        // positions are 1, 2, 3… here, so a position is the index of the event after it
        const backward = direction === "backward"
        const step = backward ? -1 : 1
        let index = after === undefined ? (backward ? log.length - 1 : 0) : Number(after) + (backward ? -2 : 0)
        for (; !page.isFull(); index += step) {
          const event = log[index]
          if (event === undefined || isBeyond(event.position, upTo, backward)) break
          if (matches(event)) page.add(event)
        }
        return page.events
      })

    const trackingOf = (move: Tracking.Move) => {
      const key = keyOf(move.key)
      return exclusiveTracking(move, {
        get: () => tracked.get(key)?.position,
        set: (position) => tracked.set(key, { position, note: move.note })
      })
    }

    const recorder = Recorder.of({
      append: (append) => appending(() => appendOne(exclusive, append)),
      readStream: ({ stream, direction, after, upTo, limit, maxBytes }) =>
        Effect.sync(() => {
          const events = streams.get(stream) ?? []
          if (direction === "backward") {
            const end = after === undefined ? events.length : Math.min(Math.max(after, 0), events.length)
            return upToSize(events.slice(Math.max(end - limit, upTo ?? 0, 0), end).reverse(), maxBytes)
          }
          const start = Math.max((after ?? -1) + 1, 0)
          return upToSize(
            events.slice(start, Math.max(Math.min(start + limit, (upTo ?? events.length) + 1), 0)),
            maxBytes
          )
        }),
      readAll,
      follow: (follow) => followLog({ readAll, head: Effect.sync(lastPosition) }, changes)(follow),
      head: Effect.sync(lastPosition),
      logId
    })

    const multiStreamAppend = MultiStreamAppend.of({
      append: (appends, checks = []) =>
        appending(() => {
          assertDistinctStreams(appends, checks)
          return appendToStreams(exclusive, appends, checks)
        })
    })

    const trackedAppend = TrackedAppend.of({
      append: (appends, move, checks = []) =>
        appending(() => {
          assertDistinctStreams(appends, checks)
          return exclusiveAppend(exclusive, appends, checks, trackingOf(move))
        }),
      position: (key) => Effect.sync(() => tracked.get(keyOf(key))?.position),
      progress: (key) => Effect.sync(() => tracked.get(keyOf(key)))
    })

    const streamCatalog = StreamCatalog.of({
      list: ({ category, after, limit }) =>
        Effect.sync(() => {
          const heads: Array<StreamHead> = []
          for (const stream of sortedNames()) {
            if (heads.length >= limit) break
            if (category !== undefined && StreamName.category(stream) !== category) continue
            if (after !== undefined && compareCodePoints(stream, after) <= 0) continue
            heads.push({ stream, version: (streams.get(stream)?.length ?? 0) - 1 })
          }
          return heads
        })
    })

    const snapshotRecorder = SnapshotRecorder.of({
      save: (snapshot) =>
        Effect.sync(() => {
          const existing = snapshots.get(snapshot.stream)
          if (existing === undefined || existing.version <= snapshot.version) {
            snapshots.set(snapshot.stream, { ...snapshot, payload: ownCopy(snapshot.payload) })
          }
        }),
      load: (stream) => Effect.sync(() => snapshots.get(stream))
    })

    return Context.make(Recorder, recorder).pipe(
      Context.add(MultiStreamAppend, multiStreamAppend),
      Context.add(TrackedAppend, trackedAppend),
      Context.add(StreamCatalog, streamCatalog),
      Context.add(SnapshotRecorder, snapshotRecorder)
    )
  })
)

/** The events of a log, by position and by stream. */
const makeLog = () => {
  const log: Array<Notification> = []
  const streams = new Map<string, Array<Notification>>()
  let sortedNames: ReadonlyArray<StreamName.StreamName> | undefined

  const exclusive: ExclusiveLog = {
    lastVersion: (stream) => {
      const events = streams.get(stream)
      return events === undefined ? "NoStream" : events.length - 1
    },
    eventsFrom: (stream, version, count) => streams.get(stream)?.slice(version, version + count) ?? [],
    insert: ({ stream, events }, firstVersion) => {
      const recorded = streams.get(stream) ?? []
      if (firstVersion === 0) {
        streams.set(stream, recorded)
        sortedNames = undefined
      }
      const positions: Array<Position> = []
      for (const event of events) {
        const position = fromStorage(BigInt(log.length + 1))
        positions.push(position)
        const notification = { ...event, payload: ownCopy(event.payload), stream, version: recorded.length, position }
        recorded.push(notification)
        log.push(notification)
      }
      return positions
    }
  }

  return {
    log,
    streams,
    exclusive,
    sortedNames: () => {
      sortedNames ??= [...streams.keys()].map(StreamName.fromStorage).sort(compareCodePoints)
      return sortedNames
    }
  }
}

/** What was recorded must not change with the caller's buffer. */
const ownCopy = (payload: string | Uint8Array): string | Uint8Array =>
  typeof payload === "string" ? payload : new Uint8Array(payload)

const keyOf = ({ projection, version, upstream, slice }: Tracking.Key): string =>
  JSON.stringify([projection, version, upstream, slice])

/** Orders by UTF-8 bytes, as SQLite and PostgreSQL ("C") sort text; `<` orders by UTF-16 units. */
const compareCodePoints = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    // a unit of a surrogate pair stands for a code point beyond all others
    if (x !== y) return isSurrogate(x) === isSurrogate(y) ? x - y : isSurrogate(x) ? 1 : -1
  }
  return a.length - b.length
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdfff
