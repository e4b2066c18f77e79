/** Waits until a process has handled a position. */
import { Clock, Effect } from "effect"
import type { RecorderError } from "../../EventSourcingError.ts"
import { ProcessBehind } from "../../EventSourcingError.ts"
import type { Position } from "../../Position.ts"
import type { TrackedAppend } from "../../TrackedAppend.ts"
import { nextTick } from "../concurrency/ticks.ts"
import type { ChangeSignal } from "../following/changeSignal.ts"
import { makeChangeSignal } from "../following/changeSignal.ts"
import type { Definition } from "./compiled.ts"
import type { Parts } from "./reactor.ts"
import { nextWanted } from "./running.ts"
import { readAfter, successorOf, trackingOf } from "./trackingOf.ts"

/** What this process of the system knows about a runner. */
export interface Local {
  /** Grows with each step of progress. */
  readonly growth: ChangeSignal
  /** Why the last runner here has stopped, if it has. */
  stopped: string | undefined
}

const locals = new WeakMap<TrackedAppend["Service"], Map<string, Local>>()

/** One for each log and process. */
export const localOf = (tracked: TrackedAppend["Service"], name: string): Local => {
  const byName = locals.get(tracked) ?? new Map<string, Local>()
  locals.set(tracked, byName)
  const local = byName.get(name) ?? { growth: makeChangeSignal(), stopped: undefined }
  byName.set(name, local)
  return local
}

/** How often a waiter checks for the progress of others, in milliseconds. */
const POLL = 50

/** How long a waiter still waits for others if the runner here has stopped, in milliseconds. */
const OTHERS = 1000

/** The position of a process, whatever its version: `undefined` if it has not begun. */
export const positionOf = Effect.fnUntraced(function* (
  tracked: TrackedAppend["Service"],
  { name, version }: Pick<Definition<unknown, unknown>, "name" | "version">
): Effect.fn.Return<Position | undefined, RecorderError> {
  let position = yield* tracked.position(trackingOf({ name, version }))
  for (let by = successorOf(position); by !== undefined; by = successorOf(position)) {
    position = yield* tracked.position(trackingOf({ name, version: by }))
  }
  return position
})

/** Waits until every event up to a position that has a handler is handled. `timeout` is in milliseconds. */
export const untilHandled = Effect.fnUntraced(function* (
  { reader, tracked }: Pick<Parts<unknown, unknown>, "reader" | "tracked">,
  process: Definition<unknown, unknown>,
  position: Position,
  timeout: number
): Effect.fn.Return<void, ProcessBehind | RecorderError> {
  const local = localOf(tracked, process.name)
  const began = yield* Clock.currentTimeMillis
  while (true) {
    const seen = local.growth.current()
    const reached = yield* positionOf(tracked, process)
    if (reached !== undefined && reached >= position) return
    if ((yield* nextWanted(reader, process, readAfter(reached), position)) === undefined) return
    const { stopped } = local
    const waited = stopped === undefined ? timeout : Math.min(timeout, OTHERS)
    const left = waited - ((yield* Clock.currentTimeMillis) - began)
    if (left <= 0) {
      return yield* new ProcessBehind({ process: process.name, position, reached: readAfter(reached), waited, stopped })
    }
    const change = Effect.raceFirst(Effect.ignore(local.growth.after(seen)), nextTick(tracked, POLL))
    yield* left === Number.POSITIVE_INFINITY ? change : Effect.timeoutOption(change, left)
  }
})
