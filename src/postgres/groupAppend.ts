import { Cause, Effect } from "effect"
import type { RecorderError, TrackingConflict, WrongExpectedVersion } from "../EventSourcingError.ts"
import { isRecorderError, RecorderFailure, RecorderUnavailable } from "../EventSourcingError.ts"
import { sizeOf } from "../internal/backend/pageSize.ts"
import { resumeSafely } from "../internal/concurrency/resumeSafely.ts"
import { messageOf } from "../internal/errors/messageOf.ts"
import { withoutUnseenSpans } from "../internal/observability/tracing.ts"
import type { Answer, Sent } from "./appends.ts"
import type { Request } from "./parameters.ts"

/** The most that one call contains: this many appends, events, or characters and bytes of payload. */
const MAX_APPENDS = 512
const MAX_EVENTS = 4096
const MAX_SIZE = 8 * 2 ** 20

/** How many calls run at once. They take turns on the server, by the position lock. */
const WRITERS = 2

/** From this many appends on, two calls are better than one. */
const SHARED = 16

/** What an append can fail with. */
export type Failure = WrongExpectedVersion | TrackingConflict | RecorderError

interface Pending {
  readonly request: Request
  readonly events: number
  readonly size: number
  /** How many calls had begun when it arrived. */
  readonly since: number
  /** Resumes its fiber, whether it waits for the outcome or was interrupted. */
  answer: (outcome: Effect.Effect<Sent, Failure>) => void
  state: "waiting" | "cancelled" | "sent" | "answered"
}

/** Coalesces concurrent appends of this process into shared calls, with an outcome for each of them. */
export type GroupAppend = (request: Request) => Effect.Effect<Sent, Failure>

/** Starts the writers, which stop with the scope. */
export const make = Effect.fnUntraced(function* (
  send: (requests: ReadonlyArray<Request>) => Effect.Effect<ReadonlyArray<Answer>, RecorderError>
) {
  let pending: Array<Pending> = []
  /** The writers that have nothing to do. */
  const idle: Array<() => void> = []
  /**
   * The streams of the running calls. Later appends to them wait, so that they are sent in the order in which they
   * arrived.
   */
  const underWay = new Set<string>()
  let calls = 0
  /** The batches that the running calls began with, and how many appends they contain. */
  const batches = new Set<ReadonlyArray<Pending>>()
  let appendsUnderWay = 0
  /** A writer is delivering outcomes; it will also send the appends that follow from them. */
  let isAnswering = false
  let closed = false

  const unavailable = () => new RecorderUnavailable({ operation: "append", reason: "the log was closed" })

  /** Whether a waiting append may be sent now: no append that arrived before it is to one of its streams. */
  const isWorkThere = (): boolean => {
    if (underWay.size === 0) return pending.length > 0
    const streams = new Set(underWay)
    return pending.some(({ request: { parts }, state }) => {
      if (state !== "waiting") return false
      if (!parts.some(({ stream }) => streams.has(stream))) return true
      for (const { stream } of parts) streams.add(stream)
      return false
    })
  }

  /** How many appends the last call contained. */
  let together = 1

  /**
   * Waits for work, and then one turn more, so that fibers that are ready to run can join. An append that was alone
   * last time is usually alone again and need not wait.
   */
  const waitForWork = Effect.callback<void>((resume) => {
    if (pending.length > 0 && isWorkThere()) return resume(Effect.void)
    const wake = () => resume(together === 1 ? Effect.void : Effect.yieldNow)
    idle.push(wake)
    return Effect.sync(() => {
      const at = idle.indexOf(wake)
      if (at >= 0) idle.splice(at, 1)
    })
  })

  /**
   * Takes the appends of the next call. Of several to one stream, the first is sent and the others wait for its
   * outcome.
   */
  const takeBatch = (): ReadonlyArray<Pending> => {
    const batch: Array<Pending> = []
    const left: Array<Pending> = []
    const streams = new Set(underWay)
    // the other call gets as many as this one: while one runs on the server, the outcomes of the other are handled here
    const all = pending.length + appendsUnderWay
    const most = all >= SHARED ? Math.ceil(all / WRITERS) : MAX_APPENDS
    let events = 0
    let size = 0
    let full = false
    for (const one of pending) {
      if (one.state === "cancelled") continue
      const { parts, move } = one.request
      full ||=
        batch.length > 0 &&
        (batch.length >= Math.min(most, MAX_APPENDS) || events + one.events > MAX_EVENTS || size + one.size > MAX_SIZE)
      // an append with a tracking move has a call of its own
      const goes =
        !full && (move === undefined || batch.length === 0) && !parts.some(({ stream }) => streams.has(stream))
      for (const { stream } of parts) streams.add(stream)
      if (!goes) {
        left.push(one)
        continue
      }
      one.state = "sent"
      for (const { stream } of parts) underWay.add(stream)
      batch.push(one)
      events += one.events
      size += one.size
      full = move !== undefined
    }
    pending = left
    if (batch.length > 0) {
      together = batch.length
      appendsUnderWay += batch.length
      batches.add(batch)
    }
    if (left.length > 0) idle.pop()?.()
    return batch
  }

  const answer = (one: Pending, outcome: Effect.Effect<Sent, Failure>): void => {
    if (one.state === "answered") return
    one.state = "answered"
    resumeSafely(() => one.answer(outcome))
  }
  const answerAll = (some: ReadonlyArray<Pending>, error: RecorderError): void => {
    for (const one of some) answer(one, Effect.fail(error))
  }
  const end = (batch: ReadonlyArray<Pending>): void => {
    appendsUnderWay -= batch.length
    for (const { request } of batch) {
      for (const { stream } of request.parts) underWay.delete(stream)
    }
  }

  /**
   * Fails a batch. If it waited for the lock in vain, appends queued before the call began fail too: they have waited
   * as long as that call did.
   */
  const fail = (batch: ReadonlyArray<Pending>, error: RecorderError, call: number): void => {
    answerAll(batch, error)
    if (error._tag !== "RecorderUnavailable" || error.waited === undefined) return
    const waited = pending.filter(({ since }) => since < call)
    pending = pending.filter(({ since }) => since >= call)
    answerAll(waited, error)
  }

  /** Sends a batch. If the server refuses it, its halves are sent, down to the one append that is at fault. */
  const sendBatch = (batch: ReadonlyArray<Pending>): Effect.Effect<void> => {
    const call = ++calls
    return Effect.matchCauseEffect(send(batch.map(({ request }) => request)), {
      onSuccess: (answers) => {
        end(batch)
        isAnswering = true
        batch.forEach((one, i) => {
          answer(one, answers[i] as Answer)
        })
        isAnswering = false
        return Effect.void
      },
      onFailure: (cause) => {
        const error = failureOf(cause)
        if (error._tag === "RecorderUnavailable" || batch.length === 1) {
          end(batch)
          fail(batch, error, call)
          return Effect.void
        }
        const half = batch.length >> 1
        return Effect.andThen(
          sendBatch(batch.slice(0, half)),
          Effect.suspend(() => {
            // appends that arrived in the meantime need not wait for the other half
            if (pending.length > 0) idle.pop()?.()
            return sendBatch(batch.slice(half))
          })
        )
      }
    })
  }

  /** Sends waiting appends until there are none. */
  const write = Effect.gen(function* () {
    while (pending.length > 0 && isWorkThere()) {
      const batch = takeBatch()
      if (batch.length === 0) break
      yield* sendBatch(batch)
      batches.delete(batch)
      // if every answered append was followed by a new one, no others are about to join them
      if (pending.length < batch.length) yield* Effect.yieldNow
    }
  })

  // the layer is closed: no append waits forever
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      closed = true
      for (const batch of batches) answerAll(batch, unavailable())
      answerAll(pending, unavailable())
      pending = []
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
      const one: Pending = { request, events, size, since: calls, answer: resume, state: "waiting" }
      pending.push(one)
      if (!isAnswering) idle.pop()?.()
      // check the state and register the waiter in one synchronous step, or an answer arriving in between would be lost
      return Effect.callback<void>((settled) => {
        if (one.state === "waiting") one.state = "cancelled"
        // when the interrupted fiber ends, an append that was sent is either recorded or not, and stays so
        if (one.state !== "sent") return settled(Effect.void)
        one.answer = () => settled(Effect.void)
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
