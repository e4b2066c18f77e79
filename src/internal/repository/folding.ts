/** Folds events into states: events that were read, and events that are about to be recorded. */
import { DateTime, Effect } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import { EventNotDecodable } from "../../EventSourcingError.ts"
import type { Page, Prepared } from "../../EventStore.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { LoadedState } from "./loadedState.ts"

/** Folds a page of events. An event that can't follow the state is a failure, never a wrong state (G8). */
export const foldPage = (
  aggregate: Aggregate.Any,
  from: LoadedState | undefined,
  { notifications, events }: Page
): Effect.Effect<LoadedState | undefined, EventNotDecodable> =>
  Effect.suspend((): Effect.Effect<LoadedState | undefined, EventNotDecodable> => {
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
          creates ? "it creates an aggregate that already exists" : "it changes an aggregate that does not exist yet"
        )
      }
      if (!isTime(notification.recordedAt)) return misplaced(notification, "the time of its recording is invalid")
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
  from: LoadedState | undefined,
  prepared: Prepared<string, Aggregate.AnyEvent>,
  keysSince: number
): LoadedState => {
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
