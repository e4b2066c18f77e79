/** Events as they would be recorded: each as every later reader gets it, in its place. */
import { DateTime, Equal, Result } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { messageOf } from "../../internal/errors/messageOf.ts"
import { decode, readBack, toPlain } from "../../internal/eventStore/codecs.ts"
import * as Metadata from "../../Metadata.ts"
import * as Position from "../../Position.ts"
import type { Positioned } from "../../RecordedEvent.ts"
import type { Notification, StoredEvent } from "../../StoredEvent.ts"
import * as StreamName from "../../StreamName.ts"
import * as Transcoder from "../../Transcoder.ts"
import { isSame, show } from "./compare.ts"

/** An event as it would be recorded, and as it would be read. */
export interface Recordable {
  readonly event: Aggregate.AnyEvent
  readonly type: string
  readonly schemaVersion: number
  readonly json: unknown
  readonly payload: string
}

/**
 * Events as they would be recorded after `first - 1`. Throws on the first one that could not be: it does not fit its
 * schema, it would be read back as another event, it creates an existing aggregate, or changes a missing one.
 */
export const recordable = (
  aggregate: Aggregate.Any,
  first: number,
  events: ReadonlyArray<unknown>
): ReadonlyArray<Recordable> => {
  const stream = StreamName.of(aggregate.name, "given")
  const plain = toPlain(aggregate, stream, first, events as ReadonlyArray<Aggregate.AnyEvent>)
  if (Result.isFailure(plain)) {
    const { reason, version } = plain.failure
    throw new NotRecordable(events[version - first], reason)
  }
  return plain.success.map((one, i) => {
    const given = events[i] as Aggregate.AnyEvent
    try {
      const payload = Transcoder.json.encode(one.json) as string
      const event = readBack(aggregate, one, given, Transcoder.json.decode(payload))
      return { event, type: one.type, schemaVersion: one.schemaVersion, json: JSON.parse(payload) as unknown, payload }
    } catch (cause) {
      throw new NotRecordable(given, messageOf(cause))
    }
  })
}

/** An event that could not be recorded, and why. */
export class NotRecordable extends Error {
  constructor(event: unknown, reason: string) {
    super(`${show(event)} can't be recorded: ${reason}`)
  }
}

/** Whether two events are recorded as the same, or are the same when they are read. */
export const areSameEvents = (a: ReadonlyArray<Recordable>, b: ReadonlyArray<Recordable>): boolean =>
  a.length === b.length && a.every((one, i) => isSameEvent(one, b[i] as Recordable))

const isSameEvent = (a: Recordable, b: Recordable): boolean =>
  a.type === b.type && (Equal.equals(a.json, b.json) || isSame(a.event, b.event))

/** Folds events as a repository does; throws what a reducer throws, with the event's name. */
export const foldAll = (
  aggregate: Aggregate.Any,
  state: unknown,
  events: ReadonlyArray<Aggregate.AnyEvent>
): unknown => {
  let folded = aggregate.compiled.copyState(state)
  for (const event of events) folded = applyOne(aggregate, folded, event)
  return folded
}

/** Applies one event. */
export const applyOne = (aggregate: Aggregate.Any, state: unknown, event: Aggregate.AnyEvent): unknown => {
  let next: unknown
  try {
    next = aggregate.compiled.apply(state, event)
  } catch (cause) {
    throw new ReducerThrew(`the reducer of ${aggregate.name}.${event._tag} threw: ${messageOf(cause)}`, { cause })
  }
  if (next === undefined) throw new ReducerThrew(`the reducer of ${aggregate.name}.${event._tag} returned undefined`)
  return next
}

/** A reducer that is not total. */
export class ReducerThrew extends Error {}

/** A state as a snapshot contains it; throws if it does not fit its schema. */
export const snapshotOf = (aggregate: Aggregate.Any, state: unknown): string => {
  try {
    return Transcoder.json.encode(aggregate.compiled.state.encode(state)) as string
  } catch (cause) {
    throw new Error(`the state does not fit its schema, so that no snapshot can be taken: ${messageOf(cause)}`, {
      cause
    })
  }
}

/** The state of a snapshot. */
export const fromSnapshot = (aggregate: Aggregate.Any, snapshot: string): unknown =>
  aggregate.compiled.state.decode(aggregate.compiled.state.version, Transcoder.json.decode(snapshot))

/** Whether two states are the same, or their snapshots are. */
export const areSameStates = (aggregate: Aggregate.Any, a: unknown, b: unknown): boolean => {
  if (isSame(a, b)) return true
  if (a === undefined || b === undefined) return false
  return Equal.equals(JSON.parse(snapshotOf(aggregate, a)), JSON.parse(snapshotOf(aggregate, b)))
}

/** The events of an aggregate instance, in a log. */
export interface Section {
  readonly aggregate: Aggregate.Any
  readonly id: string
  readonly events: ReadonlyArray<unknown>
  /** In milliseconds since the epoch; if it is omitted, a second after the event before. */
  readonly recordedAt: number | undefined
  readonly metadata: Metadata.Metadata
}

/** An event in a log. */
export interface Entry {
  readonly aggregate: Aggregate.Any
  readonly stored: StoredEvent
  readonly recorded: Positioned<string, Aggregate.AnyEvent>
}

/** In milliseconds. */
export const SECOND = 1000

/** The time of the first given event, unless the test says otherwise. */
export const FIRST_TIME = Date.UTC(2000, 0, 1)

/**
 * The log of events that are recorded in this order: ids and times are the same each time. Throws as {@link recordable}
 * does.
 */
export const logOf = (sections: ReadonlyArray<Section>): ReadonlyArray<Entry> => {
  const versions = new Map<string, number>()
  const entries: Array<Entry> = []
  let time = FIRST_TIME
  for (const { aggregate, id, events, metadata, recordedAt } of sections) {
    const stream = StreamName.of(aggregate.name, id)
    const first = versions.get(stream) ?? 0
    versions.set(stream, first + events.length)
    if (recordedAt !== undefined) time = recordedAt
    for (const [i, { event, payload, schemaVersion, type }] of recordable(aggregate, first, events).entries()) {
      const eventId = `00000000-0000-7000-8000-${entries.length.toString(16).padStart(12, "0")}`
      const at = { type, schemaVersion, encoding: Transcoder.json.name, payload }
      entries.push({
        aggregate,
        stored: { id: eventId, ...at, metadata: Metadata.toStored(metadata), recordedAt: time },
        recorded: {
          ...{
            id: eventId,
            stream,
            aggregate: aggregate.name,
            aggregateId: id as Aggregate.Id<string>,
            metadata,
            event
          },
          version: first + i,
          position: Position.fromStorage(BigInt(entries.length + 1)),
          recordedAt: DateTime.makeUnsafe(time)
        }
      })
      if (recordedAt === undefined) time += SECOND
    }
    if (recordedAt !== undefined) time += SECOND
  }
  return entries
}

/** An event that was read, if one of the aggregates has it. */
export const fromNotification = (
  aggregates: ReadonlyArray<Aggregate.Any>,
  { payload, schemaVersion, stream, type }: Notification
): (Recordable & { readonly aggregate: Aggregate.Any }) | undefined => {
  const aggregate = aggregates.find(({ name }) => name === StreamName.category(stream))
  if (aggregate?.compiled.byType.has(type) !== true || typeof payload !== "string") return undefined
  const event = decode(aggregate, type, schemaVersion, Transcoder.json.decode(payload))
  return { aggregate, event, type, schemaVersion, json: JSON.parse(payload) as unknown, payload }
}
