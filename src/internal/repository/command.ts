import { Effect, Exit } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import * as Decision from "../../Decision.ts"
import type { AggregateAlreadyExists, AppendError, EventNotEncodable, ReadError } from "../../EventSourcingError.ts"
import { AggregateNotFound, WrongExpectedVersion } from "../../EventSourcingError.ts"
import type { EventStore, Prepared } from "../../EventStore.ts"
import type { Position } from "../../Position.ts"
import type { RecordedEvent } from "../../RecordedEvent.ts"
import type { ExpectedVersion } from "../../Recorder.ts"
import type * as Repository from "../../Repository.ts"
import type * as StreamName from "../../StreamName.ts"
import type { Taken } from "../decision/steps.ts"
import { make, toEvents } from "../decision/steps.ts"
import { deciding } from "./deciding.ts"
import { foldPrepared } from "./folding.ts"
import type { LoadedState } from "./loadedState.ts"
import { ownCopy, versionOf } from "./loadedState.ts"
import type { States } from "./states.ts"
import { takeDecision } from "./takeDecision.ts"

export const notFound = (aggregate: Aggregate.Any, id: string, version?: number) =>
  new AggregateNotFound({ aggregate: aggregate.name, id, version })

/** Turns plain events into a decision. It creates the aggregate if the first of them does. */
export const toDecision = <A extends Aggregate.Any, const C extends Repository.Command<A>>(
  aggregate: A,
  command: C
): DecisionOn<A, Repository.CommandError<A, C>> => {
  // a decision on aggregates of that name is a decision on this aggregate
  if (Decision.isDecision(command)) return command as DecisionOn<A, Repository.CommandError<A, C>>
  const events = toEvents<unknown>(command)
  const first = events[0] as Aggregate.AnyEvent | null | undefined
  const creates = first != null && aggregate.compiled.byTag.get(first._tag)?.creates === true
  return make(aggregate, creates ? "missing" : "existing", () => events)
}

/** A decision on an aggregate. */
type DecisionOn<A extends Aggregate.Any, E> = Decision.Decision<
  Aggregate.NameOf<A>,
  E,
  Aggregate.StateOf<A>,
  Aggregate.Event<A>
>

/** What a command can fail with in addition to the errors of its decision. */
export type Failure = AggregateNotFound | AggregateAlreadyExists | AppendError | ReadError

/** What a command is. */
export interface Command<A extends Aggregate.Any, E> {
  readonly aggregate: A
  readonly id: Aggregate.Id<Aggregate.NameOf<A>>
  readonly stream: StreamName.StreamName
  readonly decision: DecisionOn<A, E>
  readonly expected: ExpectedVersion | undefined
}

/** The result of a decision: its events as they will be recorded, and the state after them. */
export interface Decided<A extends Aggregate.Any> {
  /** `undefined` if the decision has no events. */
  readonly recording: Recording<A> | undefined
  readonly returned: Returned
}

/** Events that are ready to be appended, and the state after them. */
export interface Recording<A extends Aggregate.Any> {
  readonly prepared: Prepared<Aggregate.NameOf<A>, Aggregate.Event<A>>
  readonly after: LoadedState
}

/** Has the field `value` if the decision returned one. */
type Returned = Taken<unknown>["returned"]

/** The result of a command. */
export interface CommandResult<A extends Aggregate.Any> {
  readonly before: LoadedState | undefined
  readonly after: LoadedState
  readonly events: ReadonlyArray<RecordedEvent<Aggregate.NameOf<A>, Aggregate.Event<A>>>
  readonly position: Position | undefined
  readonly positions: ReadonlyArray<Position> | undefined
  readonly returned: Returned
}

/** Takes decisions on states that meet their requirements, and encodes and folds the events, without recording them. */
export const makeDecide = (store: EventStore["Service"], states: States) => {
  /** Encodes the events of a decision and folds them. */
  const encode = <A extends Aggregate.Any, E>(
    { aggregate, id }: Command<A, E>,
    before: LoadedState | undefined,
    { events, returned }: Taken<Aggregate.Event<A>>
  ): Effect.Effect<Decided<A>, EventNotEncodable> =>
    isReadonlyArrayNonEmpty(events)
      ? states.mapWithKeyAge(store.prepare(aggregate, id, versionOf(before), events), (prepared, keysSince) => ({
          recording: { prepared, after: foldPrepared(aggregate, before, prepared, keysSince) },
          returned
        }))
      : Effect.succeed({ recording: undefined, returned })

  return <A extends Aggregate.Any, E>(
    command: Command<A, E>,
    before: LoadedState | undefined
  ): Effect.Effect<Decided<A>, E | Failure> =>
    Effect.suspend((): Effect.Effect<Decided<A>, E | Failure> => {
      const { aggregate, id, stream, decision, expected } = command
      const actual = versionOf(before)
      if (expected !== undefined && expected !== actual) {
        return Effect.fail(new WrongExpectedVersion({ stream, expected, actual }))
      }
      // most decisions are plain functions, whose events are available at once
      const taken = deciding(store, [stream], takeDecision(aggregate, id, decision, before))
      return Effect.flatMapEager(taken, (taken) => encode(command, before, taken))
    })
}

/**
 * Attempts a command once: decides on the known state, and appends.
 *
 * An append verifies the cached state. If a decision fails, throws or has no event, nothing verifies the state, so the
 * decision is taken again on the current one.
 *
 * Every command passes through here, so there are no generators: each costs as much as several of these steps.
 */
export const attempt = (store: EventStore["Service"], states: States) => {
  const decide = makeDecide(store, states)

  /** Records the outcome of the decision. */
  const conclude = <A extends Aggregate.Any, E>(
    { aggregate, id, stream }: Command<A, E>,
    before: LoadedState | undefined,
    { recording, returned }: Decided<A>
  ): Effect.Effect<CommandResult<A>, Failure> => {
    if (recording === undefined) {
      return before === undefined
        ? Effect.fail(notFound(aggregate, id))
        : Effect.succeed({
            before,
            after: ownCopy(aggregate, before),
            events: [],
            position: undefined,
            positions: [],
            returned
          })
    }
    const { prepared, after } = recording
    return Effect.map(store.commit(prepared), ({ position, positions }) => {
      states.remember(aggregate, stream, after)
      return { before, after, events: prepared.events, position, positions, returned }
    })
  }

  const decideAndConclude = <A extends Aggregate.Any, E>(command: Command<A, E>, before: LoadedState | undefined) =>
    Effect.flatMap(decide(command, before), (decided) => conclude(command, before, decided))

  const attemptOnFresh = <A extends Aggregate.Any, E>(command: Command<A, E>) =>
    Effect.flatMap(states.fresh(command.aggregate, command.id), (before) => decideAndConclude(command, before))

  const attemptOnCached = <A extends Aggregate.Any, E>(command: Command<A, E>, known: LoadedState) =>
    Effect.flatMap(Effect.exit(decide(command, known)), (exit) => {
      if (isVerifiedByAppend(exit)) {
        states.countCacheHit()
        return Effect.flatMapEager(exit, (decided) => conclude(command, known, decided))
      }
      return Effect.flatMap(states.fresh(command.aggregate, command.id), (newer) =>
        newer === known
          ? Effect.flatMapEager(exit, (decided) => conclude(command, known, decided))
          : decideAndConclude(command, newer)
      )
    })

  return <A extends Aggregate.Any, E>(
    command: Command<A, E>,
    afterConflict: boolean
  ): Effect.Effect<CommandResult<A>, E | Failure> =>
    Effect.withFiber((fiber): Effect.Effect<CommandResult<A>, E | Failure> => {
      const known = afterConflict ? undefined : states.cached(command.aggregate, command.stream, fiber)
      return known === undefined ? attemptOnFresh(command) : attemptOnCached(command, known)
    })
}

/** Whether an append will verify the state on which this is based. */
const isVerifiedByAppend = (decided: Exit.Exit<Pick<Decided<Aggregate.Any>, "recording">, unknown>): boolean =>
  Exit.isSuccess(decided) ? decided.value.recording !== undefined : Exit.hasInterrupts(decided)
