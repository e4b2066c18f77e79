import { Effect, Exit } from "effect"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../Aggregate.ts"
import * as Decision from "../Decision.ts"
import { AggregateAlreadyExists, AggregateNotFound, WrongExpectedVersion } from "../EventSourcingError.ts"
import type { EventStore, Prepared } from "../EventStore.ts"
import type { ExpectedVersion } from "../Recorder.ts"
import * as StreamName from "../StreamName.ts"
import type { Rebuilt, States } from "./states.ts"
import { foldPrepared, versionOf } from "./states.ts"

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
  const first = events[0] as Aggregate.AnyEvent | undefined
  const creates = first !== undefined && aggregate.compiled.byTag.get(first._tag)?.creates === true
  return Decision.make(aggregate.name, creates ? "missing" : "existing", () => events)
}

/** What a command is. */
export interface Command {
  readonly aggregate: Aggregate.Any
  readonly id: Aggregate.Id<string>
  readonly decision: Decision.Decision<string, unknown>
  readonly expected: ExpectedVersion | undefined
}

/** What a decision comes to: its events as they will be recorded, and the state with them. */
interface Decided {
  readonly prepared: Prepared<string, Aggregate.AnyEvent>
  readonly after: Rebuilt
}

/**
 * Attempts a command once: decides on what is known, and appends.
 *
 * An append checks what the cache believed. A decision that fails, throws or has no event is checked by nothing, so it is
 * taken again on what is there now.
 */
export const attempt = (store: EventStore["Service"], states: States) => {
  /** Encodes the events of a decision and folds them; `undefined` where it has none. */
  const encode = ({ aggregate, id }: Command, before: Rebuilt | undefined, events: ReadonlyArray<unknown>) =>
    isReadonlyArrayNonEmpty(events)
      ? Effect.map(
          store.prepare(aggregate, id, versionOf(before), events as never),
          (prepared: Prepared<string, Aggregate.AnyEvent>) => ({
            prepared,
            after: foldPrepared(aggregate, before, prepared)
          })
        )
      : Effect.undefined

  /** Takes the decision on a state, if the state is what it requires. */
  const decide = (command: Command, before: Rebuilt | undefined): Effect.Effect<Decided | undefined, unknown> =>
    Effect.suspend((): Effect.Effect<Decided | undefined, unknown> => {
      const { aggregate, id, decision, expected } = command
      const actual = versionOf(before)
      if (expected !== undefined && expected !== actual) {
        const stream = StreamName.of(aggregate.name, id)
        return Effect.fail(new WrongExpectedVersion({ stream, expected, actual }))
      }
      const refused = requirementError(aggregate, id, decision.requires, before)
      if (refused !== undefined) return Effect.fail(refused)
      return Effect.flatMap(Decision.take(decision, before?.state), (events) => encode(command, before, events))
    })

  return Effect.fnUntraced(function* (command: Command, mistrustCache: boolean) {
    const { aggregate, id } = command
    const stream = StreamName.of(aggregate.name, id)
    const known = mistrustCache ? undefined : states.cached(aggregate, stream)
    let before = known ?? (yield* states.fresh(aggregate, id))
    let decided = yield* Effect.exit(decide(command, before))
    if (known !== undefined && !isToBeChecked(decided)) {
      const newer = yield* states.fresh(aggregate, id)
      if (newer !== before) {
        before = newer
        decided = yield* Effect.exit(decide(command, before))
      }
    }
    const outcome = yield* decided
    if (outcome === undefined) {
      if (before === undefined) return yield* notFound(aggregate, id)
      return { before, after: before, events: [], position: undefined }
    }
    const { prepared, after } = outcome
    const { position } = yield* Effect.tapError(store.commit(prepared), (error) =>
      Effect.sync(() => {
        if (error._tag === "WrongExpectedVersion") states.learnFrom(error)
      })
    )
    states.remember(aggregate, stream, after)
    return { before, after, events: prepared.events, position }
  })
}

/** Whether an append will check the state that this rests on. */
const isToBeChecked = (decided: Exit.Exit<unknown, unknown>): boolean =>
  Exit.isSuccess(decided) ? decided.value !== undefined : Exit.hasInterrupts(decided)
