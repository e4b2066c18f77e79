/** Catch-up subscriptions: existing events, then "caught up", then new events. */
import * as Crypto from "node:crypto"
import type { Context } from "./context.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import type { Filter } from "./filter.ts"
import { everything } from "./filter.ts"
import type { LogEvent } from "./Log.ts"
import * as Log from "./Log.ts"
import type { Streams } from "./protocol.ts"
import { googleTimestamp, streams } from "./protocol.ts"
import type { Position, Request } from "./reads.ts"
import { resolved } from "./reads.ts"
import type { Sender } from "./Sender.ts"

/** How many events the server reads at once, and how many live ones it keeps for a reader. */
const pageSize = 32
const liveBuffer = 32

/** The parameters of a subscription to $all. */
export interface Wanted {
  readonly filter: Filter
  /** How many events are looked at in one page. */
  readonly window: number
  /** After how many searched events the client is notified of the progress. */
  readonly interval: number
}

/** How a subscription communicates with its client. */
export interface Channel {
  readonly sender: Sender<Streams.ReadResp>
  /** Called for each event that was sent. */
  readonly sent: () => void
  /** Settles with the reason if the subscription is ended from the outside. */
  readonly ended: Promise<Errors.Refusal | undefined>
  readonly isOver: () => boolean
}

export const subscribeToStream = async (
  context: Context,
  channel: Channel,
  request: Request,
  stream: string,
  from: "start" | "end" | number
): Promise<Errors.Refusal | undefined> => {
  const { log } = context
  if (stream === "") return Errors.thrown
  const confirmedAt = log.lastRevision(stream)
  if (confirmedAt === Log.lastRevision) return Errors.streamDeleted(stream)
  await confirm(channel)
  /** The last event that was sent. */
  let checkpoint = from === "start" ? -1 : from === "end" ? confirmedAt : from
  /** The last event that was looked at; a live subscription delivers those after it. */
  let cursor = checkpoint

  const send = async (event: LogEvent) => {
    await sendEvent(context, channel, request, event)
    checkpoint = event.revision
    cursor = event.revision
    return event.type === "$streamDeleted" ? Errors.streamDeleted(stream) : undefined
  }
  const next = (): LogEvent | undefined =>
    cursor < log.lastRevision(stream)
      ? (log.eventAt(stream, cursor + 1) ?? log.eventAt(stream, Log.lastRevision))
      : undefined

  const catchUp = async (): Promise<Errors.Refusal | undefined> => {
    for (;;) {
      const found = log.find(stream)
      if (found === "deleted") return Errors.streamDeleted(stream)
      const hidden = found === "notFound" ? Number.POSITIVE_INFINITY : log.firstRevision(stream) - 1
      cursor = Math.max(cursor, Math.min(hidden, log.lastRevision(stream)))
      const event = next()
      if (event === undefined || channel.isOver()) return undefined
      const gone = await send(event)
      if (gone !== undefined) return gone
    }
  }

  let live = checkpoint >= confirmedAt
  while (!channel.isOver()) {
    if (!live) {
      const gone = await catchUp()
      if (gone !== undefined) return gone
      if (channel.isOver()) break
    }
    await channel.sender.send(
      caughtUp(context, (response) => {
        if (checkpoint >= 0) response.setStreamRevision(String(checkpoint))
      })
    )
    live = true
    while (live && !channel.isOver()) {
      const event = next()
      if (event === undefined) {
        await appended(context, channel)
        continue
      }
      const gone = await send(event)
      if (gone !== undefined) return gone
      // more than the server keeps for a reader: it reads from the log again
      const last = log.lastRevision(stream)
      live = last - cursor <= liveBuffer || last === Log.lastRevision
    }
  }
  return channel.ended
}

/** A place in the log: commit, then prepare; -1 before its start. */
interface Place {
  readonly commit: number
  readonly prepare: number
}

const beforeStart: Place = { commit: -1, prepare: -1 }
/** The same, as an unsigned number. */
const unsignedBeforeStart: Place = { commit: 2 ** 64, prepare: 2 ** 64 }
const placeText = (place: number) => (place >= 2 ** 64 ? "18446744073709551615" : String(place))
const start: Place = { commit: 0, prepare: 0 }
const at = (position: number): Place => ({ commit: position, prepare: position })
const isBefore = (a: Place, b: Place) => a.commit < b.commit || (a.commit === b.commit && a.prepare < b.prepare)
const isAfter = (a: Place, b: Place) => isBefore(b, a)

export const subscribeToAll = async (
  context: Context,
  channel: Channel,
  request: Request,
  wanted: Wanted | undefined,
  from: Position
): Promise<Errors.Refusal | undefined> => {
  const { log } = context
  if (from !== "start" && from !== "end" && from.prepare > from.commit) return Errors.thrown
  const confirmed = at(log.lastPosition)
  const confirmedIndex = log.events.length
  await confirm(channel)

  const filter = wanted?.filter ?? everything
  /** The last event or checkpoint that was sent. */
  let checkpoint: Place = from === "start" ? beforeStart : from === "end" ? confirmed : from
  /** The first event that was not looked at. */
  let index: number

  let lastSentCheckpoint = beforeStart
  const isOld = context.settings.checkpointsBeforeStart
  const sendCheckpoint = async () => {
    // an older server compares unsigned numbers, so that no event comes after a place before the start
    const place = isOld && isBefore(checkpoint, start) ? unsignedBeforeStart : checkpoint
    if (wanted === undefined || !isAfter(place, lastSentCheckpoint)) return
    lastSentCheckpoint = place
    const message = new streams.ReadResp.Checkpoint()
    message.setCommitPosition(placeText(place.commit))
    message.setPreparePosition(placeText(place.prepare))
    message.setTimestamp(now())
    const response = new streams.ReadResp()
    response.setCheckpoint(message)
    await channel.sender.send(response)
  }

  const catchUp = async (): Promise<Errors.Refusal | undefined> => {
    let considered = 0
    let page = isBefore(checkpoint, start) ? start : checkpoint
    if (page.commit <= log.lastPosition && !log.isRecordStart(page.commit)) {
      return Errors.invalidArgument("Trying to read from an invalid position.")
    }
    index = log.indexFrom(page.commit)
    for (;;) {
      let next = page
      let looked = 0
      let found = 0
      let atEnd = false
      while (found < pageSize && looked < (wanted?.window ?? Number.POSITIVE_INFINITY)) {
        // one that was ended has not reached the end: it reports nothing more
        if (channel.isOver()) return undefined
        const event = log.events[index]
        if (event === undefined) {
          atEnd = true
          break
        }
        index += 1
        looked += 1
        next = { commit: event.end, prepare: 0 }
        if (wanted !== undefined) {
          const looks = context.faults.look()
          if (looks !== undefined) await looks
        }
        if (!filter(event)) continue
        found += 1
        if (!isAfter(at(event.position), checkpoint)) continue
        await sendEvent(context, channel, request, event)
        checkpoint = at(event.position)
      }
      if (!isOld && isBefore(checkpoint, page) && isBefore(page, next)) checkpoint = page
      considered += looked
      if (atEnd) {
        if (!isOld && isBefore(checkpoint, start) && isBefore(start, next)) checkpoint = start
        await sendCheckpoint()
        return undefined
      }
      if (wanted !== undefined && considered >= wanted.interval) {
        considered %= wanted.interval
        if (isBefore(checkpoint, page)) checkpoint = page
        await sendCheckpoint()
      }
      page = next
    }
  }

  let live = !isBefore(checkpoint, confirmed)
  index = confirmedIndex
  while (!channel.isOver()) {
    if (!live) {
      const invalid = await catchUp()
      if (invalid !== undefined) return invalid
      if (channel.isOver()) break
    }
    await channel.sender.send(
      caughtUp(context, (response) => {
        if (checkpoint.commit < 0) return
        const position = new streams.ReadResp.Position()
        position.setCommitPosition(String(checkpoint.commit))
        position.setPreparePosition(String(checkpoint.prepare))
        response.setPosition(position)
      })
    )
    live = true
    while (live && !channel.isOver()) {
      const event = log.events[index]
      if (event === undefined) {
        await appended(context, channel)
        continue
      }
      index += 1
      const place = at(event.position)
      if (isAfter(place, checkpoint) && filter(event)) {
        await sendEvent(context, channel, request, event)
        checkpoint = place
        // more than the server keeps for a reader: it reports where it is and reads from the log again
        if (log.events.length - index > liveBuffer) {
          live = false
          await sendCheckpoint()
          continue
        }
      }
      if (wanted !== undefined && (index - confirmedIndex) % wanted.interval === 0 && !isBefore(place, checkpoint)) {
        checkpoint = place
        await sendCheckpoint()
      }
    }
  }
  return channel.ended
}

const sendEvent = async (
  context: Context,
  { sender, sent }: Channel,
  request: Request,
  event: LogEvent
): Promise<void> => {
  const waits = sender.send(Encode.readEvent(resolved(context.log, event, request.resolveLinks), request.ids))
  sent()
  await waits
}

const confirm = async ({ sender }: Channel) => {
  const confirmation = new streams.ReadResp.SubscriptionConfirmation()
  confirmation.setSubscriptionId(Crypto.randomUUID())
  const response = new streams.ReadResp()
  response.setConfirmation(confirmation)
  await sender.send(response)
}

/** The message of an older server, without a time and a place. */
const caughtUp = (context: Context, where: (caughtUp: Streams.ReadResp.CaughtUp) => void): Streams.ReadResp => {
  const message = new streams.ReadResp.CaughtUp()
  if (context.settings.caughtUpSaysWhere) {
    message.setTimestamp(now())
    where(message)
  }
  const response = new streams.ReadResp()
  response.setCaughtUp(message)
  return response
}

const now = () => {
  const timestamp = new googleTimestamp.Timestamp()
  timestamp.fromDate(new Date())
  return timestamp
}

/** Waits for an append, or for the end of the subscription. */
const appended = async ({ writer }: Context, { ended, sender }: Channel) => {
  let stop = () => {}
  const next = new Promise<void>((resolve) => {
    stop = writer.next(resolve)
  })
  await Promise.race([next, ended, sender.cancelled])
  stop()
}
