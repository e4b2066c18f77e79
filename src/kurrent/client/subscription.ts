/** A subscription of the client, turned into one that is pulled: its errors are typed, and its end is noticed. */
import type { AllStreamSubscription, StreamSubscription } from "@kurrent/kurrentdb-client"
import type { Scope } from "effect"
import { Effect } from "effect"
import type { CallError } from "../connection/errors.ts"
import { toCallError } from "../connection/errors.ts"
import { KurrentUnavailable } from "../connection/KurrentError.ts"
import type { ResolvedEvent } from "./events.ts"
import { fromResolved } from "./events.ts"
import * as Values from "./values.ts"

/**
 * A place up to which the server has searched: every event before it, and the event at it if both numbers are the same.
 */
export interface Checkpoint {
  readonly commit: bigint
  readonly prepare: bigint
}

/** What a subscription delivers: events, and what the server reported after the last of them. */
export interface Delivery<A = ResolvedEvent> {
  readonly events: ReadonlyArray<A>
  readonly checkpoint: Checkpoint | undefined
  /** Whether the server reported that it has reached the end. */
  readonly caughtUp: boolean
}

/** An open subscription. */
export interface Subscription<A = ResolvedEvent> {
  /** Waits until there is something to take. */
  readonly wait: Effect.Effect<void>
  /** Takes what has arrived, if anything. Fails once everything has been taken and the subscription has ended. */
  readonly take: Effect.Effect<ReadonlyArray<Delivery<A>>, CallError>
  /** Ends the subscription: a reader gets the error after what has already arrived. */
  readonly end: (error: CallError) => void
  /** Whether nothing more can arrive or be sent. */
  readonly isOver: () => boolean
}

/** What all kinds of the client's subscriptions have in common. */
export interface Source {
  readonly readableLength: number
  readonly read: () => unknown
  readonly on: (event: string, listener: (...args: ReadonlyArray<unknown>) => void) => unknown
  readonly unsubscribe: () => Promise<void>
}

/** How many events are buffered at most before the server has to wait. */
const BUFFER = 512

export const readableOptions = { highWaterMark: BUFFER, readableHighWaterMark: BUFFER, writableHighWaterMark: BUFFER }

/** The client calls it with each checkpoint. */
export type OnCheckpoint = (subscription: unknown, checkpoint: Checkpoint) => void

/**
 * Opens a subscription, which is cancelled with the scope.
 *
 * What the server reports (checkpoints, that it has reached the end) does not arrive in the client's stream of events
 * but separately, and before events that are still in the client's buffer. Here each report is put in its place.
 */
export const open = (
  operation: string,
  stream: string,
  deadline: number,
  start: (onCheckpoint: OnCheckpoint) => AllStreamSubscription | StreamSubscription
): Effect.Effect<Subscription, CallError, Scope.Scope> =>
  openSource({
    ...{ operation, stream, deadline, start },
    convert: fromResolved,
    // `unsubscribe` settles only once the call is made, which may take long if the server is gone
    close: (source) => Effect.sync(() => void source.unsubscribe().catch(() => {}))
  })

/** {@link open} for a subscription of any kind. */
export const openSource = <S extends Source, Raw, A>({
  operation,
  stream,
  deadline,
  start,
  convert,
  close
}: {
  readonly operation: string
  readonly stream: string
  /** How long the server may take to confirm the subscription, in milliseconds. */
  readonly deadline: number
  readonly start: (onCheckpoint: OnCheckpoint) => S
  /** Converts what was read. */
  readonly convert: (raw: Raw) => A
  /** `isLost`: whether the subscription had ended on its own. */
  readonly close: (source: S, isLost: boolean) => Effect.Effect<void>
}): Effect.Effect<Subscription<A>, CallError, Scope.Scope> =>
  Effect.gen(function* () {
    let delivered = 0
    let isOver = false
    let failure: CallError | undefined
    let wake: (() => void) | undefined
    const reports: Array<{ readonly after: number; readonly checkpoint: Checkpoint | undefined }> = []

    const notify = () => wake?.()
    const end = (error: CallError) => {
      if (isOver) return
      isOver = true
      clearTimeout(timer)
      failure = error
      notify()
    }
    const unavailable = (reason: string) => new KurrentUnavailable({ operation, reason })
    // the client has no deadline for it
    const timer = setTimeout(() => end(unavailable(`no answer within ${deadline} ms`)), deadline)

    let subscription: S | undefined
    const report = (checkpoint: Checkpoint | undefined) => {
      reports.push({ after: delivered + (subscription?.readableLength ?? 0), checkpoint })
      notify()
    }
    subscription = yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          start((_, checkpoint) => {
            // servers before 24.10.5 report 2^64 - 1 if they have searched little and found nothing: it is not a place
            if (Values.placeProblem("commit", checkpoint.commit) === undefined) report(checkpoint)
          }),
        catch: (cause) => toCallError(operation, stream, cause)
      }),
      (subscription) =>
        Effect.suspend(() => {
          const isLost = isOver
          isOver = true
          clearTimeout(timer)
          return close(subscription, isLost)
        })
    )
    const source = subscription
    source.on("error", (cause) => end(toCallError(operation, stream, cause)))
    source.on("end", () => end(unavailable("the server ended the subscription")))
    source.on("close", () => end(unavailable("the subscription was closed")))
    source.on("confirmation", () => clearTimeout(timer))
    source.on("caughtUp", () => report(undefined))
    source.on("readable", notify)

    /** What has arrived, split at each report of the server. */
    const take = (): ReadonlyArray<Delivery<A>> => {
      const deliveries: Array<Delivery<A>> = []
      let events: Array<A> = []
      const cut = (checkpoint: Checkpoint | undefined, caughtUp: boolean) => {
        deliveries.push({ events, checkpoint, caughtUp })
        events = []
      }
      const cutAtReports = () => {
        while (reports[0] !== undefined && reports[0].after <= delivered) {
          const { checkpoint } = reports.shift() as (typeof reports)[number]
          cut(checkpoint, checkpoint === undefined)
        }
      }
      cutAtReports()
      for (let next = source.read(); next !== null; next = source.read()) {
        delivered++
        events.push(convert(next as Raw))
        cutAtReports()
      }
      if (events.length > 0) cut(undefined, false)
      return deliveries
    }

    const hasArrived = () => isOver || reports.length > 0 || source.readableLength > 0
    const handle: Subscription<A> = {
      wait: Effect.callback((resume) => {
        if (hasArrived()) return resume(Effect.void)
        wake = () => {
          if (!hasArrived()) return
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
      end,
      isOver: () => isOver
    }
    return handle
  })
