import { Effect, Exit } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import * as Decision from "../../Decision.ts"
import { AggregateAlreadyExists, AggregateNotFound, WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { EventStore, Prepared } from "../../EventStore.ts"
import type { Position } from "../../Position.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import type * as StreamName from "../../StreamName.ts"
import { deciding } from "./deciding.ts"
import type { Rebuilt, States } from "./states.ts"
import { foldPrepared, ownCopy, versionOf } from "./states.ts"

export const notFound = (aggregate: Aggregate.Any, id: string, version?: number) =>
  new AggregateNotFound({ aggregate: aggregate.name, id, version })

/** Why a decision can't be taken on this state, if it can't. */
export const requirementError = (
  aggregate: Aggregate.Any,
  id: string,
  requires: Decision.Requires,
  current: Rebuilt | undefined
): AggregateNotFound | AggregateAlreadyExists | undefined => {
  if (requires === "existing" && current === undefined) return notFound(aggregate, id)
  if (requires === "missing" && current !== undefined) {
    return new AggregateAlreadyExists({ aggregate: aggregate.name, id, version: current.version })
  }
  return undefined
}

/** Events as they are: they create where the first of them does. */
export const toDecision = (aggregate: Aggregate.Any, command: unknown): Decision.Decision<string, unknown> => {
  if (Decision.isDecision(command)) return command
  const events = Decision.toEvents(command)
  const first = events[0] as Aggregate.AnyEvent | null | undefined
  const creates = first != null && aggregate.compiled.byTag.get(first._tag)?.creates === true
  return Decision.make(aggregate.name, creates ? "missing" : "existing", () => events)
}

/** What a command is. */
export interface Command {
  readonly aggregate: Aggregate.Any
  readonly id: Aggregate.Id<string>
  readonly stream: StreamName.StreamName
  readonly decision: Decision.Decision<string, unknown>
  readonly expected: ExpectedVersion | undefined
}

/** What a decision comes to: its events as they will be recorded, and the state with them. */
interface Decided {
  readonly prepared: Prepared<string, Aggregate.AnyEvent>
  readonly after: Rebuilt
}

/** What a command has come to. */
export interface Attempted {
  readonly before: Rebuilt | undefined
  readonly after: Rebuilt
  readonly events: ReadonlyArray<RecordedEvent<string, Aggregate.AnyEvent>>
  readonly position: Position | undefined
}

/**
 * Attempts a command once: decides on what is known, and appends.
 *
 * An append checks what the cache believed. A decision that fails, throws or has no event is checked by nothing, so it is
 * taken again on what is there now.
 *
 * Every command passes through here, so there are no generators: each costs as much as several of these steps.
 */
export const attempt = (store: EventStore["Service"], states: States) => {
  /** Encodes the events of a decision and folds them; `undefined` where it has none. */
  const encode = ({ aggregate, id }: Command, before: Rebuilt | undefined, events: ReadonlyArray<unknown>) =>
    isReadonlyArrayNonEmpty(events)
      ? states.mapWithKeyAge(
          store.prepare(aggregate, id, versionOf(before), events as never),
          (prepared: Prepared<string, Aggregate.AnyEvent>, keysSince) => ({
            prepared,
            after: foldPrepared(aggregate, before, prepared, keysSince)
          })
        )
      : Effect.undefined

  /** Takes the decision on a state, if the state is what it requires. */
  const decide = (command: Command, before: Rebuilt | undefined): Effect.Effect<Decided | undefined, unknown> =>
    Effect.suspend((): Effect.Effect<Decided | undefined, unknown> => {
      const { aggregate, id, stream, decision, expected } = command
      const actual = versionOf(before)
      if (expected !== undefined && expected !== actual) {
        return Effect.fail(new WrongExpectedVersion({ stream, expected, actual }))
      }
      const refused = requirementError(aggregate, id, decision.requires, before)
      if (refused !== undefined) return Effect.fail(refused)
      // most decisions are plain functions: their events are there at once
      const taken = deciding(store, [stream], Decision.take(decision, aggregate.compiled.copyState(before?.state)))
      return Effect.flatMapEager(taken, (events) => encode(command, before, events))
    })

  /** Records what was decided. */
  const conclude = (
    { aggregate, id, stream }: Command,
    before: Rebuilt | undefined,
    decided: Decided | undefined
  ): Effect.Effect<Attempted, unknown> => {
    if (decided === undefined) {
      return before === undefined
        ? Effect.fail(notFound(aggregate, id))
        : Effect.succeed({ before, after: ownCopy(aggregate, before), events: [], position: undefined })
    }
    const { prepared, after } = decided
    return Effect.map(store.commit(prepared), ({ position }) => {
      states.remember(aggregate, stream, after)
      return { before, after, events: prepared.events, position }
    })
  }

  const decideAndConclude = (command: Command, before: Rebuilt | undefined) =>
    Effect.flatMap(decide(command, before), (decided) => conclude(command, before, decided))

  const onFresh = (command: Command) =>
    Effect.flatMap(states.fresh(command.aggregate, command.id), (before) => decideAndConclude(command, before))

  const onKnown = (command: Command, known: Rebuilt) =>
    Effect.flatMap(Effect.exit(decide(command, known)), (exit) => {
      if (isToBeChecked(exit)) {
        states.used()
        return Effect.flatMapEager(exit, (decided) => conclude(command, known, decided))
      }
      return Effect.flatMap(states.fresh(command.aggregate, command.id), (newer) =>
        newer === known
          ? Effect.flatMapEager(exit, (decided) => conclude(command, known, decided))
          : decideAndConclude(command, newer)
      )
    })

  return (command: Command, mistrustCache: boolean): Effect.Effect<Attempted, unknown> =>
    Effect.withFiber((fiber) => {
      const known = mistrustCache ? undefined : states.cached(command.aggregate, command.stream, fiber)
      return known === undefined ? onFresh(command) : onKnown(command, known)
    })
}

/** Whether an append will check the state that this rests on. */
const isToBeChecked = (decided: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(decided) ? decided.value !== undefined : Exit.hasInterrupts(decided)
