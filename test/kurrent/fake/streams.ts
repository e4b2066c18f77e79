/** The older streams service. `Read` does reads and subscriptions; the rest is elsewhere. */
import { append, batchAppend } from "./appends.ts"
import type { Context, Subscription } from "./context.ts"
import { deleteStream, tombstone } from "./deletes.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import type { Filter } from "./filter.ts"
import { filterOf } from "./filter.ts"
import type { Streams } from "./protocol.ts"
import type { Position, ReadCall, Request } from "./reads.ts"
import { readAll, readStream } from "./reads.ts"
import { Sender } from "./Sender.ts"
import type { Channel, Wanted } from "./subscriptions.ts"
import { subscribeToAll, subscribeToStream } from "./subscriptions.ts"

export const streamsHandlers = (context: Context) => ({
  append: append(context),
  batchAppend: batchAppend(context),
  delete: deleteStream(context),
  tombstone: tombstone(context),
  read: read(context)
})

type Answer = Promise<Errors.Refusal | undefined> | Errors.Refusal

const read = (context: Context) => (call: ReadCall) => {
  const end = (refusal: Errors.Refusal | undefined) => {
    if (refusal === undefined) call.end()
    else call.emit("error", Errors.serviceError(refusal))
  }
  const denied = context.denies(call)
  if (denied !== undefined) return end(denied)
  const options = call.request.getOptions()
  if (options === undefined) return end(Errors.thrown)
  const deniedAll = options.hasAll() ? context.deniesAll(call) : undefined
  if (deniedAll !== undefined) return end(deniedAll)
  context.faults.enter(
    options.hasSubscription() ? "subscriptions" : "reads",
    async () => end(await answer(context, call, options)),
    end
  )
}

const answer = (context: Context, call: ReadCall, options: Streams.ReadReq.Options): Answer => {
  const stream = options.getStream()
  const all = options.getAll()
  const backward = options.getReadDirection() === 1
  const filtered = options.hasFilter()
  const uuidOption = options.getUuidOption()
  if (uuidOption === undefined) return Errors.invalidArgument("'uuidOption' is a required argument")
  if (
    (stream === undefined) === (all === undefined) ||
    options.hasFilter() === options.hasNoFilter() ||
    (stream !== undefined && filtered) ||
    (options.hasSubscription() && backward) ||
    !(options.hasSubscription() || options.hasCount())
  ) {
    return Errors.invalidArgument("The combination of options is invalid.")
  }
  const request: Request = {
    backward,
    resolveLinks: options.getResolveLinks(),
    ids: uuidOption.hasString() ? "text" : "numbers",
    compatibility: options.getControlOption()?.getCompatibility() ?? 0
  }
  let filter: Filter | undefined
  try {
    filter = filtered ? filterOf(options.getFilter()!) : undefined
  } catch {
    return Errors.thrown
  }
  const count = Number(options.getCount())
  const sender = new Sender(call)
  const name = Encode.streamName(stream?.getStreamIdentifier())
  const revision = stream === undefined ? "start" : revisionOf(stream)
  const position = all === undefined ? "start" : positionOf(all)
  if (!options.hasSubscription()) {
    return stream === undefined
      ? readAll(context, sender, request, filter, position, count)
      : readStream(context, sender, request, name, revision, count)
  }
  return withChannel(context, call, sender, (channel) =>
    stream === undefined
      ? subscribeToAll(context, channel, request, wantedOf(filter, options.getFilter()), position)
      : subscribeToStream(context, channel, request, name, revision)
  )
}

/** Runs a subscription so that it can be ended from the outside. */
const withChannel = async (
  context: Context,
  call: ReadCall,
  sender: Sender<Streams.ReadResp>,
  run: (channel: Channel) => Promise<Errors.Refusal | undefined>
): Promise<Errors.Refusal | undefined> => {
  let over = false
  let finish = (_: Errors.Refusal | undefined) => {}
  const ended = new Promise<Errors.Refusal | undefined>((resolve) => {
    finish = (refusal) => {
      over = true
      resolve(refusal)
    }
  })
  const dropAfter = context.faults.takeSubscriptionDrop()
  let sent = 0
  const channel: Channel = {
    sender,
    ended,
    isOver: () => over || sender.closed,
    sent: () => {
      sent += 1
      // the last event is sent before the connection is reset
      if (sent === dropAfter) setTimeout(() => context.dropConnection(call), 5)
    }
  }
  const subscription: Subscription = { end: finish }
  context.subscriptions.add(subscription)
  sender.cancelled.then(finish)
  try {
    return await run(channel)
  } finally {
    context.subscriptions.delete(subscription)
  }
}

const wantedOf = (filter: Filter | undefined, options: Streams.ReadReq.Options.FilterOptions | undefined) => {
  if (filter === undefined || options === undefined) return undefined
  const window = options.hasMax() ? options.getMax() : 32
  const wanted: Wanted = { filter, window, interval: window * options.getCheckpointintervalmultiplier() }
  return wanted
}

const revisionOf = (options: Streams.ReadReq.Options.StreamOptions): "start" | "end" | number => {
  if (options.hasStart()) return "start"
  return options.hasEnd() ? "end" : Number(options.getRevision())
}

const positionOf = (options: Streams.ReadReq.Options.AllOptions): Position => {
  const position = options.getPosition()
  if (position === undefined) return options.hasEnd() ? "end" : "start"
  const commit = Number(position.getCommitPosition())
  const prepare = Number(position.getPreparePosition())
  // the largest number stands for the end
  return commit >= 2 ** 64 ? "end" : { commit, prepare }
}
