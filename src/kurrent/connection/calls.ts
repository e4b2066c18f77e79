/** Calls of a client: each has a deadline, and only so many run at once. */
import type { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import * as ConcurrencyLimit from "./concurrencyLimit.ts"
import type { CallError } from "./errors.ts"
import { toCallError } from "./errors.ts"
import { KurrentUnavailable } from "./KurrentError.ts"

/**
 * A call of the client. It calls `alive` whenever something arrives, which restarts the deadline. `isOver` returns
 * whether nobody waits for it any more.
 */
export type Call<A> = (client: KurrentDBClient, alive: () => void, isOver: () => boolean) => Promise<A>

/** The notifications about a call. */
interface Listener<A> {
  readonly onAlive: () => void
  /** `wasSilent`: whether the deadline ended it. */
  readonly onEnd: (outcome: Effect.Effect<A, CallError>, wasSilent: boolean) => void
}

const noop = () => {}

/** How long an interrupted fiber waits for a change that was sent, in milliseconds. */
const INTERRUPTED = 1000

/** Starts a call; returns a function that abandons it: nobody waits for it any more, though it continues. */
export const startCall = <A>(
  client: KurrentDBClient,
  deadline: number,
  operation: string,
  stream: string,
  run: Call<A>,
  { onAlive, onEnd }: Listener<A>
): (() => void) => {
  let isSettled = false
  let isAbandoned = false
  const end = (outcome: Effect.Effect<A, CallError>, wasSilent: boolean) => {
    if (isSettled) return
    isSettled = true
    clearTimeout(timer)
    onEnd(outcome, wasSilent)
  }
  const reason = `no answer within ${deadline} ms`
  const timer = setTimeout(() => end(Effect.fail(new KurrentUnavailable({ operation, reason })), true), deadline)
  const alive = () => {
    if (isSettled || isAbandoned) return
    timer.refresh()
    onAlive()
  }
  const fail = (cause: unknown) => end(Effect.fail(toCallError(operation, stream, cause)), false)
  try {
    run(client, alive, () => isSettled || isAbandoned).then((value) => end(Effect.succeed(value), false), fail)
  } catch (cause) {
    fail(cause)
  }
  return () => {
    isAbandoned = true
    timer.unref()
  }
}
/** Runs at most this many calls at once. Waiting for a turn is not silence while the server answers other calls. */
export const makeCallQueue = (deadline: number, most: number, isChange: boolean) => {
  const turns = ConcurrencyLimit.make(most)
  let answered = Number.NEGATIVE_INFINITY
  const onAlive = () => {
    answered = performance.now()
  }
  return <A>(
    clientOf: () => KurrentDBClient,
    operation: string,
    stream: string,
    run: Call<A>
  ): Effect.Effect<A, CallError> =>
    Effect.callback((resume) => {
      let settle = resume
      let state: "waiting" | "begun" | "settled" = "waiting"
      let waiting: NodeJS.Timeout | undefined
      let abandon = noop
      const giveUp = turns.begin(() => {
        clearTimeout(waiting)
        state = "begun"
        abandon = startCall(clientOf(), deadline, operation, stream, run, {
          onAlive,
          onEnd: (outcome, wasSilent) => {
            state = "settled"
            if (!wasSilent) onAlive()
            turns.done()
            settle(outcome)
          }
        })
      })
      const isIn = (expected: typeof state) => state === expected
      const giveUpAfter = (milliseconds: number) => {
        waiting = setTimeout(() => {
          const left = answered + deadline - performance.now()
          if (left > 0) return giveUpAfter(left)
          state = "settled"
          giveUp()
          const reason = `earlier calls were not answered within ${deadline} ms; nothing was sent`
          resume(Effect.fail(new KurrentUnavailable({ operation, reason })))
        }, milliseconds)
      }
      if (isIn("waiting")) giveUpAfter(deadline)
      return Effect.suspend(() => {
        if (isIn("waiting")) {
          clearTimeout(waiting)
          giveUp()
        }
        if (!isIn("begun")) return Effect.void
        if (!isChange) {
          abandon()
          return Effect.void
        }
        // what was sent may be recorded: wait for its outcome before the interruption ends, unless that takes long
        return Effect.callback<void>((settled) => {
          const patience = setTimeout(() => settled(Effect.void), Math.min(deadline, INTERRUPTED))
          settle = () => {
            clearTimeout(patience)
            settled(Effect.void)
          }
        })
      })
    })
}
