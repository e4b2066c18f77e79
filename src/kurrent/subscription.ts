/** A subscription of the client's, as something that is pulled: errors are typed, and its end is noticed. */
import type { AllStreamSubscription, StreamSubscription } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import type { CallError } from "./errors.ts"
import { toCallError } from "./errors.ts"
import type { ResolvedEvent } from "./events.ts"
import { fromResolved } from "./events.ts"
import { KurrentUnavailable } from "./KurrentError.ts"

/** A place that the server has looked up to: every event before it, and the one at it where both are the same. */
export interface Checkpoint {
  readonly commit: bigint
  readonly prepare: bigint
}

/** What comes of a subscription: events, and what the server said behind the last of them. */
export interface Delivery {
  readonly events: ReadonlyArray<ResolvedEvent>
  readonly checkpoint: Checkpoint | undefined
  /** Whether the server said that it has come to the end. */
  readonly caughtUp: boolean
}

/** A subscription that is open. */
export interface Subscription {
  /** Waits until there is something to take. */
  readonly wait: Effect.Effect<void>
  /** Takes what is there, if anything; fails when that was all and the subscription has ended. */
  readonly take: Effect.Effect<ReadonlyArray<Delivery>, CallError>
  /** Ends it: whoever waits for it gets the error, behind what is there. */
  readonly end: (error: CallError) => void
}

/** How many events are in hand at the most, before the server has to wait. */
const BUFFER = 512

export const readableOptions = { highWaterMark: BUFFER, readableHighWaterMark: BUFFER, writableHighWaterMark: BUFFER }

/** The client calls it with each checkpoint. */
export type OnCheckpoint = (subscription: unknown, checkpoint: Checkpoint) => void

/**
 * Opens a subscription, which is cancelled with the scope.
 *
 * What the server says (checkpoints, that it has come to the end) is not in the client's stream of events, but beside it,
 * and sooner than events that are still in its buffer: here each comes in its place.
 */
export const open = (
  operation: string,
  stream: string,
  deadline: number,
  start: (onCheckpoint: OnCheckpoint) => AllStreamSubscription | StreamSubscription
) =>
  Effect.gen(function* () {
    let delivered = 0
    let isOver = false
    let failure: CallError | undefined
    let wake: (() => void) | undefined
    const said: Array<{ readonly behind: number; readonly checkpoint: Checkpoint | undefined }> = []

    const look = () => wake?.()
    const end = (error: CallError) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      failure = error
      look()
    }
    const unavailable = (reason: string) => new KurrentUnavailable({ operation, reason })
    // the client has no deadline for it
    const timer = setTimeout(() => end(unavailable(`no answer within ${deadline} ms`)), deadline)

    let subscription: AllStreamSubscription | StreamSubscription | undefined
    const say = (checkpoint: Checkpoint | undefined) => {
      said.push({ behind: delivered + (subscription?.readableLength ?? 0), checkpoint })
      look()
    }
    subscription = yield* Effect.acquireRelease(
      Effect.try({
        try: () => start((_, checkpoint) => say(checkpoint)),
        catch: (cause) => toCallError(operation, stream, cause)
      }),
      (subscription) =>
        Effect.sync(() => {
          isOver = true
          clearTimeout(timer)
          // it settles when the call is made, which on a server that is gone may take long
          subscription.unsubscribe().catch(() => {})
        })
    )
    const source = subscription
    source.on("error", (cause) => end(toCallError(operation, stream, cause)))
    source.on("end", () => end(unavailable("the server ended the subscription")))
    source.on("close", () => end(unavailable("the subscription was closed")))
    source.on("confirmation", () => clearTimeout(timer))
    source.on("caughtUp", () => say(undefined))
    source.on("readable", look)

    /** What is there, cut where the server said something. */
    const take = (): ReadonlyArray<Delivery> => {
      const deliveries: Array<Delivery> = []
      let events: Array<ResolvedEvent> = []
      const cut = (checkpoint: Checkpoint | undefined, caughtUp: boolean) => {
        deliveries.push({ events, checkpoint, caughtUp })
        events = []
      }
      const cutWhereSaid = () => {
        while (said[0] !== undefined && said[0].behind <= delivered) {
          const { checkpoint } = said.shift() as (typeof said)[number]
          cut(checkpoint, checkpoint === undefined)
        }
      }
      cutWhereSaid()
      for (let next = source.read(); next !== null; next = source.read()) {
        delivered++
        events.push(fromResolved(next))
        cutWhereSaid()
      }
      if (events.length > 0) cut(undefined, false)
      return deliveries
    }

    const isThere = () => isOver || said.length > 0 || source.readableLength > 0
    const handle: Subscription = {
      wait: Effect.callback((resume) => {
        if (isThere()) return resume(Effect.void)
        wake = () => {
          if (!isThere()) return
          wake = undefined
          resume(Effect.void)
        }
        return Effect.sync(() => {
          wake = undefined
        })
      }),
      take: Effect.suspend(() => {
        const deliveries = take()
        return deliveries.length === 0 && failure !== undefined ? Effect.fail(failure) : Effect.succeed(deliveries)
      }),
      end
    }
    return handle
  })
