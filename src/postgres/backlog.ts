import type { Effect } from "effect"
import type { RecorderError, TrackingConflict, WrongExpectedVersion } from "../EventSourcingError.ts"
import type { AppendResult } from "./appends.ts"
import type { Request } from "./parameters.ts"

/** The most that one call contains: this many appends, events, or characters and bytes of payload. */
const MAX_APPENDS = 512
const MAX_EVENTS = 4096
const MAX_SIZE = 8 * 2 ** 20

/** From this many appends on, two calls are better than one. */
const SHARED = 16

/** What an append can fail with. */
export type AppendFailure = WrongExpectedVersion | TrackingConflict | RecorderError

/** An append that waits for a call, or for the outcome of the call that contains it. */
export interface Pending {
  readonly request: Request
  readonly events: number
  readonly size: number
  /** How many calls had begun when it arrived. */
  readonly since: number
  /** Resumes its fiber, whether it waits for the outcome or was interrupted. */
  answer: (outcome: Effect.Effect<AppendResult, AppendFailure>) => void
  state: "waiting" | "cancelled" | "sent" | "answered"
}

/** The appends of this process that have no outcome yet, and which of them the next call contains. */
export interface Backlog {
  readonly add: (append: Pending) => void
  /** How many wait for a call. */
  readonly waiting: () => number
  /** Whether a waiting append may be sent now: no append that arrived before it is to one of its streams. */
  readonly hasWork: () => boolean
  /**
   * Takes the appends of the next call. Of several to one stream, the first is sent and the others wait for its
   * outcome.
   */
  readonly take: () => ReadonlyArray<Pending>
  /** How many appends the last call contained. */
  readonly lastBatch: () => number
  /** A call, or a part of it, has ended: others may append to its streams. */
  readonly end: (part: ReadonlyArray<Pending>) => void
  /** Every append that was taken as one batch has its outcome. */
  readonly delivered: (batch: ReadonlyArray<Pending>) => void
  /** Removes the waiting appends that arrived before a call began. */
  readonly removeBefore: (call: number) => ReadonlyArray<Pending>
  /** Removes all that wait; returns those that have been sent, too. */
  readonly removeAll: () => ReadonlyArray<Pending>
}

/** The backlog of an open log whose writers each run one call at a time. */
export const makeBacklog = (writers: number): Backlog => {
  let pending: Array<Pending> = []
  /**
   * The streams of the running calls. Later appends to them wait, so that they are sent in the order in which they
   * arrived.
   */
  const underWay = new Set<string>()
  /** The batches that the running calls began with, and how many appends they contain. */
  const batches = new Set<ReadonlyArray<Pending>>()
  let appendsUnderWay = 0
  let lastBatch = 1

  const hasWork = (): boolean => {
    if (pending.length === 0) return false
    if (underWay.size === 0) return true
    const streams = new Set(underWay)
    return pending.some(({ request: { parts }, state }) => {
      if (state !== "waiting") return false
      if (!parts.some(({ stream }) => streams.has(stream))) return true
      for (const { stream } of parts) streams.add(stream)
      return false
    })
  }

  const take = (): ReadonlyArray<Pending> => {
    const batch: Array<Pending> = []
    const left: Array<Pending> = []
    const streams = new Set(underWay)
    // the other call gets as many as this one: while one runs on the server, the outcomes of the other are handled here
    const all = pending.length + appendsUnderWay
    const most = all >= SHARED ? Math.ceil(all / writers) : MAX_APPENDS
    let events = 0
    let size = 0
    let full = false
    for (const append of pending) {
      if (append.state === "cancelled") continue
      const { parts, move } = append.request
      full ||=
        batch.length > 0 &&
        (batch.length >= Math.min(most, MAX_APPENDS) ||
          events + append.events > MAX_EVENTS ||
          size + append.size > MAX_SIZE)
      // an append with a tracking move has a call of its own
      const goes =
        !full && (move === undefined || batch.length === 0) && !parts.some(({ stream }) => streams.has(stream))
      for (const { stream } of parts) streams.add(stream)
      if (!goes) {
        left.push(append)
        continue
      }
      append.state = "sent"
      for (const { stream } of parts) underWay.add(stream)
      batch.push(append)
      events += append.events
      size += append.size
      full = move !== undefined
    }
    pending = left
    if (batch.length > 0) {
      lastBatch = batch.length
      appendsUnderWay += batch.length
      batches.add(batch)
    }
    return batch
  }

  return {
    add: (append) => {
      pending.push(append)
    },
    waiting: () => pending.length,
    hasWork,
    take,
    lastBatch: () => lastBatch,
    end: (part) => {
      appendsUnderWay -= part.length
      for (const { request } of part) {
        for (const { stream } of request.parts) underWay.delete(stream)
      }
    },
    delivered: (batch) => {
      batches.delete(batch)
    },
    removeBefore: (call) => {
      const removed = pending.filter(({ since }) => since < call)
      pending = pending.filter(({ since }) => since >= call)
      return removed
    },
    removeAll: () => {
      const removed = [...[...batches].flat(), ...pending]
      pending = []
      return removed
    }
  }
}
