import { Effect, Result } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../Aggregate.ts"
import * as Decision from "../Decision.ts"
import { WrongExpectedVersion } from "../EventSourcingError.ts"
import type { EventStore, Prepared } from "../EventStore.ts"
import type { Check } from "../MultiStreamAppend.ts"
import type { Position } from "../Position.ts"
import type { RecordedEvent } from "../RecordedEvent.ts"
import * as StreamName from "../StreamName.ts"
import { requirementError } from "./command.ts"
import type { Rebuilt, States } from "./states.ts"
import { foldPrepared, versionOf } from "./states.ts"

/** One aggregate of a transaction. */
export interface Participant {
  readonly name: string
  readonly aggregate: Aggregate.Any
  readonly id: Aggregate.Id<string>
  readonly requires: Decision.Requires
}

/** What became of a participant. */
export interface Transacted {
  readonly participant: Participant
  readonly before: Rebuilt | undefined
  readonly after: Rebuilt | undefined
  readonly events: ReadonlyArray<RecordedEvent<string, Aggregate.AnyEvent>>
  readonly position: Position | undefined
}

/** A participant on its way: what it was, and what it will be if the append is accepted. */
interface Underway {
  readonly participant: Participant
  readonly before: Rebuilt | undefined
  readonly prepared: Prepared<string, Aggregate.AnyEvent> | undefined
  readonly after: Rebuilt | undefined
}

/** Attempts a transaction once: loads all, decides, appends all or nothing. */
export const transact = (store: EventStore["Service"], states: States) => {
  const prepare = Effect.fnUntraced(function* (
    participant: Participant,
    before: Rebuilt | undefined,
    events: ReadonlyArray<unknown>
  ) {
    if (!isReadonlyArrayNonEmpty(events)) return { participant, before, prepared: undefined, after: before }
    const { aggregate, id } = participant
    const prepared: Prepared<string, Aggregate.AnyEvent> = yield* store.prepare(
      aggregate,
      id,
      versionOf(before),
      events as never
    )
    return { participant, before, prepared, after: foldPrepared(aggregate, before, prepared) } satisfies Underway
  })

  /** No append checks that the states belong together, so they are compared with what is there now. */
  const verify = Effect.fnUntraced(function* (checks: ReadonlyArray<Check>) {
    for (const { stream, expected } of checks) {
      const actual = (yield* store.version(stream)) ?? "NoStream"
      if (actual !== expected) return yield* new WrongExpectedVersion({ stream, expected, actual })
    }
  })

  return Effect.fnUntraced(function* (
    participants: ReadonlyArray<Participant>,
    decide: (states: Readonly<Record<string, unknown>>) => unknown
  ) {
    const loaded = new Map<string, Rebuilt | undefined>()
    for (const { name, aggregate, id } of participants) loaded.set(name, yield* states.fresh(aggregate, id))

    const outcome = yield* Effect.result(take(participants, loaded, decide))
    const decided = Result.isSuccess(outcome) ? outcome.success : {}
    const underway: Array<Underway> = []
    for (const participant of participants) {
      const events = Decision.toEvents(decided[participant.name])
      underway.push(yield* prepare(participant, loaded.get(participant.name), events))
    }

    const prepared = underway.flatMap((one) => (one.prepared === undefined ? [] : [one.prepared]))
    const checks = underway.flatMap(({ participant: { aggregate, id }, prepared, before }) =>
      prepared === undefined ? [{ stream: StreamName.of(aggregate.name, id), expected: versionOf(before) }] : []
    )
    const recording = isReadonlyArrayNonEmpty(prepared)
      ? Effect.map(store.commitAll(prepared, checks), ({ position }): Position | undefined => position)
      : Effect.as(verify(checks), undefined)
    const position = yield* Effect.tapError(recording, (error) =>
      Effect.sync(() => {
        if (error._tag === "WrongExpectedVersion") states.learnFrom(error)
      })
    )
    if (Result.isFailure(outcome)) return yield* Effect.fail(outcome.failure)

    return underway.map(({ participant, before, prepared, after }): Transacted => {
      const { aggregate, id } = participant
      if (after !== undefined) states.remember(aggregate, StreamName.of(aggregate.name, id), after)
      const events = prepared?.events ?? []
      return { participant, before, after, events, position: prepared === undefined ? undefined : position }
    })
  })
}

/** Takes the decision, if all participants are what they have to be. */
const take = (
  participants: ReadonlyArray<Participant>,
  loaded: ReadonlyMap<string, Rebuilt | undefined>,
  decide: (states: Readonly<Record<string, unknown>>) => unknown
): Effect.Effect<Readonly<Record<string, unknown>>, unknown> =>
  Effect.suspend(() => {
    for (const { name, aggregate, id, requires } of participants) {
      const refused = requirementError(aggregate, id, requires, loaded.get(name))
      if (refused !== undefined) return Effect.fail(refused)
    }
    const decision = decide(Object.fromEntries(participants.map(({ name }) => [name, loaded.get(name)?.state])))
    const decided = Effect.isEffect(decision) ? (decision as Effect.Effect<unknown, unknown>) : Effect.succeed(decision)
    return Effect.map(decided, (events) => {
      const byName = (events ?? {}) as Readonly<Record<string, unknown>>
      const stranger = Object.keys(byName).find((name) => !loaded.has(name))
      if (stranger !== undefined) throw new Error(`the transaction has no participant "${stranger}"`)
      return byName
    })
  })
