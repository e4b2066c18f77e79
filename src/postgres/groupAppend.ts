import { Cause, Effect } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { isRecorderError, RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import { sizeOf } from "../internal/backend/pageSize.ts"
import { resumeSafely } from "../internal/concurrency/resumeSafely.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { withoutUnseenSpans } from "../internal/observability/tracing.ts"
import type { AppendOutcome, AppendResult } from "./appends.ts"
import type { AppendFailure, Pending } from "./backlog.ts"
import { makeBacklog } from "./backlog.ts"
import type { Request } from "./parameters.ts"

/** How many calls run at once. They take turns on the server, by the position lock. */
const WRITERS = 2

/** Coalesces concurrent appends of this process into shared calls, with an outcome for each of them. */
export type GroupAppend = (request: Request) => Effect.Effect<AppendResult, AppendFailure>

/** Starts the writers, which stop with the scope. */
export const make = Effect.fnUntraced(function* (
  send: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<AppendOutcome>, RecorderError>
) {
  const backlog = makeBacklog(WRITERS)
  /** The writers that have nothing to do. */
  const idle: Array<() => void> = []
  let calls = 0
  /** A writer is delivering outcomes; it will also send the appends that follow from them. */
  let isAnswering = false
  let closed = false

  const unavailable = () => new RecorderUnavailable({ operation: "append", reason: "the log was closed" })

  /**
   * Waits for work, and then one turn more, so that fibers that are ready to run can join. An append that was alone
   * last time is usually alone again and need not wait.
   */
  const waitForWork = Effect.callback<void>((resume) => {
    if (backlog.hasWork()) return resume(Effect.void)
    const wake = () => resume(backlog.lastBatch() === 1 ? Effect.void : Effect.yieldNow)
    idle.push(wake)
    return Effect.sync(() => {
      const at = idle.indexOf(wake)
      if (at >= 0) idle.splice(at, 1)
    })
  })

  const answer = (pending: Pending, outcome: Effect.Effect<AppendResult, AppendFailure>): void => {
    if (pending.state === "answered") return
    pending.state = "answered"
    resumeSafely(() => pending.answer(outcome))
  }
  const answerAll = (batch: ReadonlyArray<Pending>, error: RecorderError): void => {
    for (const pending of batch) answer(pending, Effect.fail(error))
  }

  /**
   * Fails a batch. If it waited for the lock in vain, appends queued before the call began fail too: they have waited
   * as long as that call did.
   */
  const fail = (batch: ReadonlyArray<Pending>, error: RecorderError, call: number): void => {
    answerAll(batch, error)
    if (error._tag !== "RecorderUnavailable" || error.waited === undefined) return
    answerAll(backlog.removeBefore(call), error)
  }

  /** Sends a batch. If the server refuses it, its halves are sent, down to the one append that is at fault. */
  const sendBatch = (batch: ReadonlyArray<Pending>): Effect.Effect<void> => {
    const call = ++calls
    return Effect.matchCauseEffect(send(batch.map(({ request }) => request)), {
      onSuccess: (answers) => {
        backlog.end(batch)
        isAnswering = true
        batch.forEach((pending, i) => {
          answer(pending, answers[i] as AppendOutcome)
        })
        isAnswering = false
        return Effect.void
      },
      onFailure: (cause) => {
        const error = failureOf(cause)
        if (error._tag === "RecorderUnavailable" || batch.length === 1) {
          backlog.end(batch)
          fail(batch, error, call)
          return Effect.void
        }
        const half = batch.length >> 1
        return Effect.andThen(
          sendBatch(batch.slice(0, half)),
          Effect.suspend(() => {
            // appends that arrived in the meantime need not wait for the other half
            if (backlog.waiting() > 0) idle.pop()?.()
            return sendBatch(batch.slice(half))
          })
        )
      }
    })
  }

  /** Sends waiting appends until there are none. */
  const write = Effect.gen(function* () {
    while (backlog.hasWork()) {
      const batch = backlog.take()
      // what is left may be sent by another writer
      if (backlog.waiting() > 0) idle.pop()?.()
      if (batch.length === 0) break
      yield* sendBatch(batch)
      backlog.delivered(batch)
      // if every answered append was followed by a new one, no others are about to join them
      if (backlog.waiting() < batch.length) yield* Effect.yieldNow
    }
  })

  // the layer is closed: no append waits forever
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      answerAll(backlog.removeAll(), unavailable())
    })
  )
  for (let writer = 0; writer < WRITERS; writer++) {
    yield* Effect.forever(Effect.andThen(waitForWork, write)).pipe(
      withoutUnseenSpans,
      Effect.forkScoped({ startImmediately: true })
    )
  }

  const append: GroupAppend = (request) =>
    Effect.callback((resume) => {
      if (closed) return resume(Effect.fail(unavailable()))
      let events = 0
      let size = 0
      for (const part of request.parts) {
        events += part.events.length
        for (const event of part.events) size += sizeOf(event)
      }
      const pending: Pending = { request, events, size, since: calls, answer: resume, state: "waiting" }
      backlog.add(pending)
      if (!isAnswering) idle.pop()?.()
      // check the state and register the waiter in one synchronous step, or an answer arriving in between would be lost
      return Effect.callback<void>((settled) => {
        if (pending.state === "waiting") pending.state = "cancelled"
        // when the interrupted fiber ends, an append that was sent is either recorded or not, and stays so
        if (pending.state !== "sent") return settled(Effect.void)
        pending.answer = () => settled(Effect.void)
      })
    })
  return append
})

/** The error of a call. A defect of the call is a failure of the appends in it. */
const failureOf = (cause: Cause.Cause<RecorderError>): RecorderError => {
  if (Cause.hasInterruptsOnly(cause)) {
    const reason = "the client was closed before the server answered; the append may have been recorded"
    return new RecorderUnavailable({ operation: "append", reason, cause })
  }
  const failure = Cause.squash(cause)
  return isRecorderError(failure)
    ? failure
    : new RecorderFailure({ operation: "append", reason: messageOf(failure), cause: failure })
}
