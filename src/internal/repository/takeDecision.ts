import { Clock, Effect, Fiber, Result } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type * as Decision from "../../Decision.ts"
import type { EventNotEncodable } from "../../EventSourcingError.ts"
import * as Metadata from "../../Metadata.ts"
import * as StreamName from "../../StreamName.ts"
import type { AnyRevision, Current, Taken } from "../decision/steps.ts"
import { refusal, takeWith } from "../decision/steps.ts"
import { cachedDateTime } from "../eventStore/cachedDateTime.ts"
import { notEncodable, readBack, toPlain } from "../eventStore/codecs.ts"

/** What is known of an existing aggregate. */
export interface Known {
  readonly state: unknown
  readonly version: number
  readonly createdAt: Aggregate.Revision<string>["createdAt"]
  readonly modifiedAt: Aggregate.Revision<string>["modifiedAt"]
}

/** What a decision gets of the aggregate besides its state. */
export const revisionOf = (id: Aggregate.Id<string>, known: Known | undefined): AnyRevision =>
  known === undefined
    ? { id, version: undefined, createdAt: undefined, modifiedAt: undefined }
    : { id, version: known.version, createdAt: known.createdAt, modifiedAt: known.modifiedAt }

/** Takes a decision on an aggregate, if its requirement is met. */
export const takeDecision = <Name extends string, E, State, Event>(
  aggregate: Aggregate.Any,
  id: Aggregate.Id<string>,
  decision: Decision.Decision<Name, E, State, Event>,
  known: Known | undefined
): Effect.Effect<Taken<Event>, E | Refusal | EventNotEncodable> => {
  const current = { state: known?.state, revision: revisionOf(id, known) }
  const refused = refusal(decision, current)
  if (refused !== undefined) return Effect.fail(refused)
  return takeWith(decision, current, {
    copyState: aggregate.compiled.copyState,
    advance: (before, events) => advance(aggregate, before, events)
  })
}

/** Why no decision is taken. */
export type Refusal = Exclude<ReturnType<typeof refusal>, undefined>

/**
 * The state after events that the first of two decisions returned. It is folded from the events as they will be read,
 * so that the second decides on the state that it would see if they were recorded.
 */
const advance = (
  aggregate: Aggregate.Any,
  { state, revision }: Current,
  events: ReadonlyArray<Aggregate.AnyEvent>
): Effect.Effect<Current, EventNotEncodable> => {
  const stream = StreamName.of(aggregate.name, revision.id)
  const first = revision.version === undefined ? 0 : revision.version + 1
  const plain = toPlain(aggregate, stream, first, events)
  if (Result.isFailure(plain)) return Effect.fail(plain.failure)
  let folded = aggregate.compiled.copyState(state)
  for (const [index, place] of plain.success.entries()) {
    let event: Aggregate.AnyEvent
    try {
      event = readBack(aggregate, place, events[index] as Aggregate.AnyEvent, place.json)
    } catch (cause) {
      return Effect.fail(notEncodable(stream, place.version, place.type, cause))
    }
    folded = aggregate.compiled.apply(folded, event)
  }
  const modifiedAt = timeOfRecording()
  const { id, createdAt = modifiedAt } = revision
  return Effect.succeed({
    state: folded,
    revision: { id, version: first + events.length - 1, createdAt, modifiedAt }
  })
}

/** The time with which events would be recorded now. */
const timeOfRecording = (): Aggregate.Revision<string>["modifiedAt"] => {
  // decisions are only taken by a fiber
  const fiber = Fiber.getCurrent() as Fiber.Fiber<unknown, unknown>
  return (
    fiber.getRef(Metadata.RecordedAt) ?? cachedDateTime(Math.floor(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()))
  )
}
