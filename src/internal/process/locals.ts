/** The aggregates that reactions change, as planned. */
import { Effect } from "effect"
import { isArrayNonEmpty } from "effect/Array"
import type * as Aggregate from "../../Aggregate.ts"
import type { ReadError } from "../../EventSourcingError.ts"
import type { Check } from "../../MultiStreamAppend.ts"
import type { Append } from "../../Recorder.ts"
import type { SnapshotStore } from "../../SnapshotStore.ts"
import type { StoredEvent } from "../../StoredEvent.ts"
import type * as StreamName from "../../StreamName.ts"
import { sizeOf } from "../backend/pageSize.ts"
import type { Command, Recording } from "../repository/command.ts"
import type { LoadedState } from "../repository/loadedState.ts"
import { versionOf } from "../repository/loadedState.ts"
import { intervalOf, snapshotInBackground } from "../repository/snapshotting.ts"
import type { States } from "../repository/states.ts"

/** An aggregate that reactions change, before and after them. */
export interface Local {
  readonly command: Command<Aggregate.Any, unknown>
  before: LoadedState | undefined
  after: LoadedState | undefined
  readonly stored: Array<StoredEvent>
  /** Whether `before` was read after the planning began. */
  isFresh: boolean
  /** Whether a decision on it had no event. */
  isDecidedOn: boolean
}

/** What is to be recorded. */
export interface Outcome {
  readonly appends: ReadonlyArray<Append>
  /** Streams whose state a decision was based on without recording an event there. */
  readonly checks: ReadonlyArray<Check>
  /** Keeps the states once the events are recorded, and saves snapshots that are due in the background. */
  readonly recorded: Effect.Effect<void>
}

/** Loads and keeps states. */
export interface Keeping {
  readonly snapshots: SnapshotStore["Service"]
  readonly runInBackground: (save: Effect.Effect<void>) => Effect.Effect<unknown>
  readonly states: States
}

/** Starts without any; with `fresh`, all states are read. */
export const makeLocals = (services: Keeping, fresh: boolean) => {
  const { states } = services
  const locals = new Map<StreamName.StreamName, Local>()
  let bytes = 0
  /** How to undo what was planned; the last step is the last element. */
  const undo: Array<() => void> = []

  const addLocal = (command: Command<Aggregate.Any, unknown>, before: LoadedState | undefined, isFresh: boolean) => {
    const local: Local = { command, before, after: before, stored: [], isFresh, isDecidedOn: false }
    locals.set(command.stream, local)
    return local
  }
  const load = (command: Command<Aggregate.Any, unknown>) =>
    Effect.map(states.fresh(command.aggregate, command.id), (before) => addLocal(command, before, true))

  return {
    /**
     * The state to decide on: planned, cached, or loaded. An aggregate that is to be created is assumed to be missing.
     */
    localOf: (command: Command<Aggregate.Any, unknown>): Effect.Effect<Local, ReadError> =>
      Effect.withFiber((fiber) => {
        const local = locals.get(command.stream)
        if (local !== undefined) return Effect.succeed(local)
        const known = fresh ? undefined : states.cached(command.aggregate, command.stream, fiber)
        if (known === undefined && (fresh || command.decision.requires !== "missing")) return load(command)
        if (known !== undefined) states.countCacheHit()
        return Effect.succeed(addLocal(command, known, false))
      }),
    /** Reads a state on which nothing is planned. Returns whether it differs. */
    reload: (local: Local): Effect.Effect<boolean, ReadError> =>
      Effect.map(states.fresh(local.command.aggregate, local.command.id), (newer) => {
        const isOther = newer !== local.before
        local.before = local.after = newer
        local.isFresh = true
        return isOther
      }),
    /** Adds events to the plan. */
    add: (local: Local, { after: next, prepared }: Recording<Aggregate.Any>): void => {
      const { after, stored } = local
      undo.push(() => {
        local.after = after
        stored.length -= prepared.stored.length
      })
      local.after = next
      for (const event of prepared.stored) {
        stored.push(event)
        bytes += sizeOf(event)
      }
    },
    /** The bytes of all planned events. */
    bytes: () => bytes,
    stepsTaken: () => undo.length,
    /** Undoes all steps but the first ones. */
    rollBack: (steps: number): void => {
      while (undo.length > steps) undo.pop()?.()
    },
    outcome: (): Outcome => {
      const appends: Array<Append> = []
      const checks: Array<Check> = []
      for (const [stream, { before, isDecidedOn, stored }] of locals) {
        const expected = versionOf(before)
        if (isArrayNonEmpty(stored)) appends.push({ stream, expected, events: stored })
        else if (isDecidedOn) checks.push({ stream, expected })
      }
      const recorded = Effect.suspend(() => {
        const saves: Array<Effect.Effect<unknown>> = []
        for (const [stream, { command, before, after, stored }] of locals) {
          if (stored.length === 0 || after === undefined) continue
          states.remember(command.aggregate, stream, after)
          if (intervalOf(command.aggregate, services) !== undefined) {
            saves.push(snapshotInBackground(services, command.aggregate, command.id, before, after))
          }
        }
        return saves.length === 0 ? Effect.void : Effect.all(saves, { discard: true })
      })
      return { appends, checks, recorded }
    }
  }
}
