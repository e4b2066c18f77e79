/**
 * Plans the results of causes: the events of their reactions, each at its version, and the conditions under which they
 * may be recorded.
 */
import { Cause, Context, Data, Effect, Exit, Predicate } from "effect"
import type * as Aggregate from "../../Aggregate.ts"
import type { ReadError, RecorderError, RecorderUnavailable } from "../../EventSourcingError.ts"
import {
  CausationTooDeep,
  EventNotEncodable,
  isRecorderError,
  isRecorderUnavailable
} from "../../EventSourcingError.ts"
import type { EventStore } from "../../EventStore.ts"
import * as Metadata from "../../Metadata.ts"
import type * as StreamName from "../../StreamName.ts"
import type { Command, Decided, Failure, Recording } from "../repository/command.ts"
import { makeDecide, notFound } from "../repository/command.ts"
import type { AnyRecorded } from "./compiled.ts"
import type { Keeping, Local, Outcome } from "./locals.ts"
import { makeLocals } from "./locals.ts"
import type { Node } from "./reaction.ts"
import { firstCommand } from "./reaction.ts"

/** An event, and what is to be done because of it. */
export interface Asked<out E> {
  readonly cause: AnyRecorded
  readonly reactions: ReadonlyArray<Node<E>>
}

/** Why a cause can't be planned. */
export type PlanError<E> = E | ReadError | EventNotEncodable | CausationTooDeep

/** The results of some causes. */
export interface Planned<out E> extends Outcome {
  /** The number of causes, counted from the first one. */
  readonly count: number
  /** Why the next cause is not among them, if it has failed. */
  readonly failure: Cause.Cause<PlanError<E>> | undefined
}

/** The bytes of results after which no further cause is added: 1 MiB. */
const MAX_BYTES = 1024 * 1024

/** How many states are loaded at once. */
const LOADING = 32

/** The services and limits with which reactions are planned. */
export interface Planning extends Keeping {
  readonly store: EventStore["Service"]
  /** The most events that may have led to an event, each causing the next. */
  readonly maxDepth: number
  /** The chain of events that led to an event, for an error. */
  readonly chainOf: (cause: AnyRecorded) => Effect.Effect<ReadonlyArray<string>, RecorderError>
}

/**
 * Makes the planner. A plan records nothing, and may be repeated: on `fresh` states after a conflict.
 *
 * Decisions that an append will verify are taken on the cached state. No append verifies a refusal, or a decision
 * without an event, so these are taken again on a state that was just read.
 */
export const makePlan = (services: Planning) => {
  const { chainOf, maxDepth, states, store } = services
  const decide = makeDecide(store, states)

  return Effect.fnUntraced(function* <E>(
    asked: ReadonlyArray<Asked<E>>,
    fresh: boolean
  ): Effect.fn.Return<Planned<E>, RecorderError> {
    const locals = makeLocals(services, fresh)
    const { localOf, rollBack, stepsTaken } = locals
    // all states that are needed are loaded at once; if one can't be loaded, the first cause that needs it fails
    const first = new Map<StreamName.StreamName, Command<Aggregate.Any, unknown>>()
    for (const { reactions } of asked) {
      for (const reaction of reactions) {
        const command = firstCommand(reaction)
        if (!first.has(command.stream)) first.set(command.stream, command)
      }
    }
    const preload = (command: Command<Aggregate.Any, unknown>) =>
      Effect.catch(localOf(command), (error) => (isRecorderError(error) ? Effect.fail(error) : Effect.void))
    yield* Effect.forEach(first.values(), preload, { concurrency: LOADING, discard: true })

    /**
     * The outcome of a decision that was refused or has no event: no append verifies the state that it was taken on.
     */
    const conclude = Effect.fnUntraced(function* <E>(
      command: Command<Aggregate.Any, E>,
      local: Local,
      first: Exit.Exit<Decided<Aggregate.Any>, E | Failure>
    ): Effect.fn.Return<Recording<Aggregate.Any> | undefined, StageError<E>> {
      let decided = first
      const isUnverified = Exit.isSuccess(decided) || !Exit.hasInterrupts(decided)
      if (isUnverified && local.stored.length === 0 && !local.isFresh && (yield* locals.reload(local))) {
        decided = yield* Effect.exit(decide(command, local.after))
      }
      if (Exit.isSuccess(decided) && decided.value.recording !== undefined) return decided.value.recording
      local.isDecidedOn = true
      if (Exit.isFailure(decided)) {
        return yield* Effect.failCause(Cause.map(decided.cause, (error) => toRefusal<E>(error)))
      }
      if (local.after !== undefined) return undefined
      return yield* new Refusal(notFound(command.aggregate, command.id) as E)
    })

    const tooDeep = (cause: AnyRecorded): Effect.Effect<never, CausationTooDeep | RecorderError> =>
      Effect.flatMap(chainOf(cause), (chain) => Effect.fail(new CausationTooDeep({ depth: depthOf(cause) + 1, chain })))

    const execute = <E>(command: Command<Aggregate.Any, E>, cause: AnyRecorded): Effect.Effect<void, StageError<E>> => {
      let local: Local
      const add = (recording: Recording<Aggregate.Any> | undefined): Effect.Effect<void, StageError<E>> => {
        if (recording === undefined) return Effect.void
        if (depthOf(cause) >= maxDepth) return tooDeep(cause)
        locals.add(local, recording)
        return Effect.void
      }
      // most decisions have their events synchronously: there are no generators on that path
      const decided = Effect.flatMapEager(localOf(command), (found) => {
        local = found
        return Effect.exit(decide(command, local.after))
      })
      return Effect.flatMap(decided, (exit) =>
        Exit.isSuccess(exit) && exit.value.recording !== undefined
          ? add(exit.value.recording)
          : Effect.flatMap(conclude(command, local, exit), add)
      )
    }

    const stage = <E>(node: Node<E>, cause: AnyRecorded): Effect.Effect<void, StageError<E>> => {
      if (node._tag === "Execute") return execute(node.command, cause)
      const { reaction, tag, then } = node
      return Effect.suspend(() => {
        const before = stepsTaken()
        return Effect.catch(stage(reaction, cause), (error): Effect.Effect<void, StageError<E>> => {
          // a refusal that is not handled here belongs to the whole reaction
          if (!(error instanceof Refusal) || !isTagged(error.error, tag)) return Effect.fail(error as StageError<E>)
          rollBack(before)
          return stageAll(then(error.error), cause)
        })
      })
    }

    const stageAll = <E>(nodes: ReadonlyArray<Node<E>>, cause: AnyRecorded): Effect.Effect<void, StageError<E>> =>
      Effect.forEach(nodes, (node) => stage(node, cause), { discard: true })

    let count = 0
    let failure: Cause.Cause<PlanError<E>> | undefined
    for (const { cause, reactions } of asked) {
      if (locals.bytes() >= MAX_BYTES) break
      const before = stepsTaken()
      const staging = Effect.mapError(stageAll(reactions, cause), (error) =>
        error instanceof Refusal ? error.error : error
      )
      const staged = yield* Effect.exit(Effect.updateContext(staging, causedBy(cause)))
      if (Exit.isFailure(staged)) {
        rollBack(before)
        failure = staged.cause
        break
      }
      count++
    }

    return { count, failure, ...locals.outcome() }
  })
}

/** A decision was refused, and the process does not say what to do then. */
class Refusal<out E> extends Data.TaggedError("Refusal")<{ readonly error: unknown }> {
  declare readonly error: E
  constructor(error: E) {
    super({ error })
  }
}

/** Why a reaction can't be planned. */
type StageError<E> = Refusal<E> | ReadError | EventNotEncodable | CausationTooDeep

/**
 * Not refusals, but failures: an event that can't be recorded, and transient ones. The requirement of a decision
 * determines whether a missing aggregate, or an existing one, is among its failures.
 */
const toRefusal = <E>(error: E | Failure): Refusal<E> | EventNotEncodable | RecorderUnavailable =>
  error instanceof EventNotEncodable || isRecorderUnavailable(error) ? error : new Refusal(error as E)

const isTagged = (error: unknown, tag: string | undefined): boolean =>
  tag === undefined || Predicate.isTagged(error, tag)

/** How many events led to an event. */
const depthOf = ({ metadata }: AnyRecorded): number => metadata.causationDepth ?? 0

/** The metadata of events that are recorded because of another one. */
const causedBy =
  (cause: AnyRecorded) =>
  (context: Context.Context<never>): Context.Context<never> =>
    // each addition would copy all services
    Context.merge(
      context,
      Context.make(Metadata.CausationId, cause.id).pipe(
        Context.add(Metadata.CorrelationId, cause.metadata.correlationId ?? cause.id),
        Context.add(Metadata.CausationDepth, depthOf(cause) + 1)
      )
    )
