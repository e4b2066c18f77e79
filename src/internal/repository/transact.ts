import { Effect, Exit } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import * as Decision from "../../Decision.ts"
import type { EventNotEncodable } from "../../EventSourcingError.ts"
import { WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { EventStore, Prepared } from "../../EventStore.ts"
import type { AppendedToStreams } from "../../MultiStreamAppend.ts"
import type { Position } from "../../Position.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import * as StreamName from "../../StreamName.ts"
import type { AnyRevision, Taken } from "../decision/steps.ts"
import { refusal, toTaken } from "../decision/steps.ts"
import { deciding } from "./deciding.ts"
import { foldPrepared } from "./folding.ts"
import type { LoadedState } from "./loadedState.ts"
import { ownCopy, versionOf } from "./loadedState.ts"
import type { States } from "./states.ts"
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
  revisions: Readonly<Record<string, AnyRevision>>
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
export interface ParticipantResult {
  readonly participant: Participant
  readonly before: LoadedState | undefined
  readonly after: LoadedState | undefined
  readonly events: ReadonlyArray<RecordedEvent<string, Aggregate.AnyEvent>>
  readonly position: Position | undefined
  readonly positions: ReadonlyArray<Position> | undefined
  readonly returned: Returned
}

/** Has the field `value` if the decision returned one for the participant. */
type Returned = Taken<unknown>["returned"]

/** A participant during the transaction: its state before, and its state if the append is accepted. */
interface InProgress {
  readonly participant: Participant
  readonly before: LoadedState | undefined
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
        (before): InProgress => ({
          ...{ participant, before, prepared: undefined, keysSince: Number.POSITIVE_INFINITY, returned: {} }
        })
      )
    )

  /** Takes a decision on a participant, if its state meets the decision's requirements. */
  const takeOn = <E>(
    { participant, before }: InProgress,
    decision: DecisionOn<E>
  ): Effect.Effect<Taken<Aggregate.AnyEvent>, E | Refusal | EventNotEncodable> => {
    const { aggregate, id } = participant
    if (decision.aggregate !== aggregate.name) {
      throw new Error(
        `the participant "${participant.name}" is a ${aggregate.name}, but its decision is for a ${decision.aggregate}`
      )
    }
    return deciding(store, [streamOf(participant)], takeDecision(aggregate, id, decision, before))
  }

  const prepare = <E>(
    inProgress: InProgress,
    outcome: Outcome<E>
  ): Effect.Effect<InProgress, E | Refusal | EventNotEncodable> =>
    isDecision(outcome)
      ? Effect.flatMap(takeOn(inProgress, outcome), (taken) => prepareEvents(inProgress, taken))
      : prepareEvents(inProgress, toTaken(outcome))

  const prepareEvents = (
    inProgress: InProgress,
    { events, returned }: Taken<Aggregate.AnyEvent>
  ): Effect.Effect<InProgress, EventNotEncodable> => {
    const { participant, before } = inProgress
    if (!isReadonlyArrayNonEmpty(events)) return Effect.succeed({ ...inProgress, returned })
    return states.mapWithKeyAge(
      store.prepare(participant.aggregate, participant.id, versionOf(before), events),
      (prepared, keysSince) => ({ participant, before, prepared, keysSince, returned })
    )
  }

  /** Decides on the loaded states, encodes the events and folds them. */
  const decideOn = Effect.fnUntraced(function* <E>(loaded: ReadonlyArray<InProgress>, decide: Decide<E>) {
    const decided = yield* take(store, loaded, decide)
    const prepared = yield* Effect.forEach(loaded, (one) => prepare(one, decided(one.participant.name)))
    return prepared.map((one) => ({ ...one, after: foldInProgress(one) }))
  })

  /** No append verifies that the states belong together, so they are compared with the current ones. */
  const verify = Effect.fnUntraced(function* (loaded: ReadonlyArray<InProgress>) {
    for (const { participant, before } of loaded) {
      const [stream, expected] = [streamOf(participant), versionOf(before)]
      const actual = (yield* store.version(stream)) ?? "NoStream"
      if (actual !== expected) return yield* new WrongExpectedVersion({ stream, expected, actual })
    }
  })

  /** Records what was prepared, if no participant has changed. Returns their positions. */
  const record = (inProgress: ReadonlyArray<InProgress>) => {
    const prepared = inProgress.flatMap((one) => (one.prepared === undefined ? [] : [one.prepared]))
    if (!isReadonlyArrayNonEmpty(prepared)) return Effect.as(verify(inProgress), undefined)
    const checks = inProgress.flatMap(({ participant, prepared, before }) =>
      prepared === undefined ? [{ stream: streamOf(participant), expected: versionOf(before) }] : []
    )
    return Effect.map(store.commitAll(prepared, checks), (appended): AppendedToStreams | undefined => appended)
  }

  return Effect.fnUntraced(function* <E>(participants: ReadonlyArray<Participant>, decide: Decide<E>) {
    const loaded = yield* load(participants)
    const decided = yield* Effect.exit(decideOn(loaded, decide))
    if (Exit.isFailure(decided) && !Exit.hasInterrupts(decided)) yield* verify(loaded)
    const folded = yield* decided
    const recorded = yield* record(folded)
    let appends = 0
    return folded.map(({ participant, before, prepared, after, returned }): ParticipantResult => {
      if (after !== undefined) states.remember(participant.aggregate, streamOf(participant), after)
      const isRecorded = prepared !== undefined
      return {
        participant,
        before,
        after,
        events: isRecorded ? prepared.events : [],
        position: isRecorded ? recorded?.position : undefined,
        positions: isRecorded ? recorded?.positions?.[appends++] : [],
        returned
      }
    })
  })
}

const foldInProgress = ({ participant, before, prepared, keysSince }: InProgress): LoadedState | undefined => {
  if (prepared !== undefined) return foldPrepared(participant.aggregate, before, prepared, keysSince)
  return before === undefined ? undefined : ownCopy(participant.aggregate, before)
}

/** Takes the decision, if all participants meet its requirements. Returns the outcome for each of them, by its name. */
const take = <E>(
  store: object,
  loaded: ReadonlyArray<InProgress>,
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
      const refused = refusal({ aggregate: aggregate.name, requires }, current)
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
      const unknownName = Object.keys(byName).find((name) => !Object.hasOwn(states, name))
      if (unknownName !== undefined) throw new Error(`the transaction has no participant "${unknownName}"`)
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
      ? "the decision of a transaction returned a promise; a decision that has to wait returns an Effect, such as Effect.promise(...)"
      : "the decision of a transaction must return an object that has the events of each participant under its name"
  )
}
