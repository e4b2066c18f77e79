import { Effect, Exit } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import * as Decision from "../../Decision.ts"
import type { EventNotEncodable } from "../../EventSourcingError.ts"
import { WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { EventStore, Prepared } from "../../EventStore.ts"
import type { Position } from "../../Position.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import * as StreamName from "../../StreamName.ts"
import { deciding } from "./deciding.ts"
import type { Rebuilt, States } from "./states.ts"
import { foldPrepared, ownCopy, versionOf } from "./states.ts"
import type { Refusal } from "./takeDecision.ts"
import { revisionOf, takeDecision } from "./takeDecision.ts"

/** What a transaction decides for a participant without a decision on it: events, perhaps with a value. */
type OwnOutcome = Decision.Outcome<Aggregate.AnyEvent>

/** A decision that is taken on a participant. */
type DecisionOn<E> = Decision.Decision<string, E, unknown, Aggregate.AnyEvent>

/** What a transaction decides for a participant. */
type Outcome<E> = OwnOutcome | DecisionOn<E>

/** The outcomes of a transaction, by participant. */
type Outcomes<E> = Readonly<Record<string, Outcome<E>>>

/** What the decision of a transaction returns. */
export type Decided<E> = Outcomes<E> | Effect.Effect<Outcomes<E>, E>

/** The decision of a transaction: it gets the states and the revisions of the participants by their names. */
export type Decide<E> = (
  states: Readonly<Record<string, unknown>>,
  revisions: Readonly<Record<string, Decision.AnyRevision>>
) => Decided<E>

/** One aggregate of a transaction. */
export interface Participant {
  readonly name: string
  readonly aggregate: Aggregate.Any
  readonly id: Aggregate.Id<string>
  readonly requires: Decision.Requires
  readonly expectedVersion?: ExpectedVersion | undefined
}

/** The result for a participant. */
export interface Transacted {
  readonly participant: Participant
  readonly before: Rebuilt | undefined
  readonly after: Rebuilt | undefined
  readonly events: ReadonlyArray<RecordedEvent<string, Aggregate.AnyEvent>>
  readonly position: Position | undefined
  readonly returned: Returned
}

/** Has the field `value` if the decision returned one for the participant. */
type Returned = Decision.Taken<unknown>["returned"]

/** A participant during the transaction: its state before, and its state if the append is accepted. */
interface Underway {
  readonly participant: Participant
  readonly before: Rebuilt | undefined
  readonly prepared: Prepared<string, Aggregate.AnyEvent> | undefined
  readonly keysSince: number
  readonly returned: Returned
}

const streamOf = ({ aggregate, id }: Participant): StreamName.StreamName => StreamName.of(aggregate.name, id)

/** Attempts a transaction once: loads all participants, decides, and appends all or nothing. */
export const transact = (store: EventStore["Service"], states: States) => {
  const load = (participants: ReadonlyArray<Participant>) =>
    Effect.forEach(participants, (participant) =>
      Effect.map(
        states.fresh(participant.aggregate, participant.id),
        (before): Underway => ({
          ...{ participant, before, prepared: undefined, keysSince: Number.POSITIVE_INFINITY, returned: {} }
        })
      )
    )

  /** Takes a decision on a participant, if its state meets the decision's requirements. */
  const takeOn = <E>(
    { participant, before }: Underway,
    decision: DecisionOn<E>
  ): Effect.Effect<Decision.Taken<Aggregate.AnyEvent>, E | Refusal | EventNotEncodable> => {
    const { aggregate, id } = participant
    if (decision.aggregate !== aggregate.name) {
      throw new Error(
        `the participant "${participant.name}" is a ${aggregate.name}, its decision is on a ${decision.aggregate}`
      )
    }
    return deciding(store, [streamOf(participant)], takeDecision(aggregate, id, decision, before))
  }

  const prepare = <E>(
    underway: Underway,
    outcome: Outcome<E>
  ): Effect.Effect<Underway, E | Refusal | EventNotEncodable> =>
    isDecision(outcome)
      ? Effect.flatMap(takeOn(underway, outcome), (taken) => prepareEvents(underway, taken))
      : prepareEvents(underway, Decision.toTaken(outcome))

  const prepareEvents = (
    underway: Underway,
    { events, returned }: Decision.Taken<Aggregate.AnyEvent>
  ): Effect.Effect<Underway, EventNotEncodable> => {
    const { participant, before } = underway
    if (!isReadonlyArrayNonEmpty(events)) return Effect.succeed({ ...underway, returned })
    return states.mapWithKeyAge(
      store.prepare(participant.aggregate, participant.id, versionOf(before), events),
      (prepared, keysSince) => ({ participant, before, prepared, keysSince, returned })
    )
  }

  /** Decides on the loaded states, encodes the events and folds them. */
  const decideOn = Effect.fnUntraced(function* <E>(loaded: ReadonlyArray<Underway>, decide: Decide<E>) {
    const decided = yield* take(store, loaded, decide)
    const prepared = yield* Effect.forEach(loaded, (one) => prepare(one, decided(one.participant.name)))
    return prepared.map((one) => ({ ...one, after: foldUnderway(one) }))
  })

  /** No append verifies that the states belong together, so they are compared with the current ones. */
  const verify = Effect.fnUntraced(function* (loaded: ReadonlyArray<Underway>) {
    for (const { participant, before } of loaded) {
      const [stream, expected] = [streamOf(participant), versionOf(before)]
      const actual = (yield* store.version(stream)) ?? "NoStream"
      if (actual !== expected) return yield* new WrongExpectedVersion({ stream, expected, actual })
    }
  })

  /** Records what was prepared, if no participant has changed. Returns the position of the last event. */
  const record = (underway: ReadonlyArray<Underway>) => {
    const prepared = underway.flatMap((one) => (one.prepared === undefined ? [] : [one.prepared]))
    if (!isReadonlyArrayNonEmpty(prepared)) return Effect.as(verify(underway), undefined)
    const checks = underway.flatMap(({ participant, prepared, before }) =>
      prepared === undefined ? [{ stream: streamOf(participant), expected: versionOf(before) }] : []
    )
    return Effect.map(store.commitAll(prepared, checks), ({ position }): Position | undefined => position)
  }

  return Effect.fnUntraced(function* <E>(participants: ReadonlyArray<Participant>, decide: Decide<E>) {
    const loaded = yield* load(participants)
    const decided = yield* Effect.exit(decideOn(loaded, decide))
    if (Exit.isFailure(decided) && !Exit.hasInterrupts(decided)) yield* verify(loaded)
    const folded = yield* decided
    const position = yield* record(folded)
    return folded.map(({ participant, before, prepared, after, returned }): Transacted => {
      if (after !== undefined) states.remember(participant.aggregate, streamOf(participant), after)
      const isRecorded = prepared !== undefined
      return {
        participant,
        before,
        after,
        events: isRecorded ? prepared.events : [],
        position: isRecorded ? position : undefined,
        returned
      }
    })
  })
}

const foldUnderway = ({ participant, before, prepared, keysSince }: Underway): Rebuilt | undefined => {
  if (prepared !== undefined) return foldPrepared(participant.aggregate, before, prepared, keysSince)
  return before === undefined ? undefined : ownCopy(participant.aggregate, before)
}

/** Takes the decision, if all participants meet its requirements. Returns the outcome for each of them, by its name. */
const take = <E>(
  store: object,
  loaded: ReadonlyArray<Underway>,
  decide: Decide<E>
): Effect.Effect<(name: string) => Outcome<E>, E | Refusal | WrongExpectedVersion> =>
  Effect.suspend((): Effect.Effect<(name: string) => Outcome<E>, E | Refusal | WrongExpectedVersion> => {
    for (const { participant, before } of loaded) {
      const [stream, expected, actual] = [streamOf(participant), participant.expectedVersion, versionOf(before)]
      if (expected !== undefined && expected !== actual) {
        return Effect.fail(new WrongExpectedVersion({ stream, expected, actual }))
      }
      const { aggregate, id, requires } = participant
      const current = { state: before?.state, revision: revisionOf(id, before) }
      const refused = Decision.refusal({ aggregate: aggregate.name, requires }, current)
      if (refused !== undefined) return Effect.fail(refused)
    }
    const states = Object.fromEntries(
      loaded.map(({ participant: { name, aggregate }, before }) => [name, aggregate.compiled.copyState(before?.state)])
    )
    const revisions = Object.fromEntries(
      loaded.map(({ participant: { name, id }, before }) => [name, revisionOf(id, before)])
    )
    const decision = decide(states, revisions)
    const decided = Effect.isEffect(decision) ? decision : Effect.succeed(decision)
    const streams = loaded.map(({ participant }) => streamOf(participant))
    return Effect.map(deciding(store, streams, decided), (events) => {
      const byName = outcomesOf<E>(events)
      const stranger = Object.keys(byName).find((name) => !Object.hasOwn(states, name))
      if (stranger !== undefined) throw new Error(`the transaction has no participant "${stranger}"`)
      // a participant may have the name of a member that every object has
      return (name: string) => (Object.hasOwn(byName, name) ? byName[name] : undefined)
    })
  })

const isDecision = <E>(outcome: Outcome<E>): outcome is DecisionOn<E> => Decision.isDecision(outcome)

/** The events by participant. Throws if any have a name that is not a participant's: they would be lost. */
const outcomesOf = <E>(decided: unknown): Outcomes<E> => {
  if (decided === undefined) return {}
  if (typeof decided === "object" && decided !== null) {
    const prototype = Object.getPrototypeOf(decided)
    if (prototype === Object.prototype || prototype === null) return decided as Outcomes<E>
  }
  const isPromise = decided instanceof Promise
  throw new Error(
    isPromise
      ? "the decision of a transaction is a promise; one that has to wait returns an Effect, such as Effect.promise(...)"
      : "the decision of a transaction returns an object with the events of each participant by its name"
  )
}
