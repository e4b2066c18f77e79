/** Calls the handlers of a process to find out what to do because of events. */
import { Cause, Effect, Exit } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { EventNotDecodable, EventNotDecryptable, isRecorderError, UnknownEventType } from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import type { Notification } from "../../StoredEvent.ts"
import type { AnyRecorded, Definition } from "./compiled.ts"
import type { Asked, PlanError } from "./planning.ts"

/** What is to be done because of events. */
export interface Work<out E> {
  readonly asked: ReadonlyArray<Asked<E>>
  /** Why there are no reactions to the next event, if it can't be decoded or its handler failed. */
  readonly failure: Cause.Cause<PlanError<E>> | undefined
}

/** Calls the handlers of events: up to an event that can't be decoded, or whose handler fails. */
export const makeAsk = <E, R>(store: EventStore["Service"], process: Definition<E, R>) => {
  const decode = store.decode(process.follows)

  const decodeUpTo = (events: ReadonlyArray<Notification>) =>
    Effect.catch(
      Effect.map(decode(events), (causes) => ({ causes, failure: undefined as Work<E>["failure"] })),
      (error) => {
        const at = isOfEvent(error) ? events.findIndex(({ position }) => position === error.position) : -1
        if (at === -1 || isRecorderError(error)) return Effect.fail(error)
        const before = at === 0 ? Effect.succeed([]) : decode(events.slice(0, at))
        return Effect.map(before, (causes) => ({
          causes: causes as ReadonlyArray<AnyRecorded>,
          failure: Cause.fail<PlanError<E>>(error)
        }))
      }
    )

  return Effect.fnUntraced(function* (
    events: ReadonlyArray<Notification>
  ): Effect.fn.Return<Work<E>, RecorderError | EventNotDecodable | EventNotDecryptable | UnknownEventType, R> {
    const { causes, failure } = yield* decodeUpTo(events)
    const asked: Array<Asked<E>> = []
    for (const cause of causes as ReadonlyArray<AnyRecorded>) {
      const reactions = yield* Effect.exit(process.compiled.react(cause))
      if (Exit.isFailure(reactions)) return { asked, failure: reactions.cause }
      asked.push({ cause, reactions: reactions.value })
    }
    return { asked, failure }
  })
}

/** Whether a failure belongs to a single event, and not to reading. */
const isOfEvent = (error: unknown): error is EventNotDecodable | EventNotDecryptable | UnknownEventType =>
  error instanceof EventNotDecodable || error instanceof EventNotDecryptable || error instanceof UnknownEventType
