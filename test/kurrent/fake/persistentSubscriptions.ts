/** The service of persistent subscriptions. Groups and their progress are events of system streams, so they survive. */
import * as Grpc from "@grpc/grpc-js"
import type { Consumer, GroupSettings, Message } from "./ConsumerGroup.ts"
import { allStream, ConsumerGroup, record } from "./ConsumerGroup.ts"
import type { Caller, Context, Subscription } from "./context.ts"
import * as Encode from "./encode.ts"
import * as Errors from "./errors.ts"
import { filterSettings, settingsOf, sourceOf, subscriptionInfo } from "./groupSettings.ts"
import type { Persistent, Shared } from "./protocol.ts"
import { persistent, shared } from "./protocol.ts"

const configStream = "$persistentSubscriptionConfig"

interface Stored {
  readonly stream: string
  readonly name: string
  readonly settings: GroupSettings
}

/** The fields of every request that names a group. */
interface Named {
  getGroupName(): string
}

export const persistentHandlers = (context: Context) => {
  const groups = new Map<string, ConsumerGroup>()
  const drops = new Map<ConsumerGroup, Set<(refusal: Errors.Refusal) => void>>()

  const keyOf = (stream: string, name: string) => `${stream}::${name}`
  const load = () => {
    for (const { name, settings, stream } of storedGroups(context)) {
      groups.set(keyOf(stream, name), new ConsumerGroup(context, stream, name, settings))
    }
  }
  const store = () => {
    const stored: ReadonlyArray<Stored> = [...groups.values()].map(({ name, settings, stream }) => ({
      stream,
      name,
      settings
    }))
    record(context, configStream, "$PersistentConfig1", { groups: stored })
  }
  const drop = (group: ConsumerGroup) => {
    for (const end of drops.get(group) ?? []) end(Errors.persistentSubscription.dropped(group.stream, group.name))
    drops.delete(group)
    group.stop()
  }
  load()

  /** A call with a single response. */
  const unary =
    <Request, Response extends object>(run: (request: Request) => Response | Errors.Refusal) =>
    (call: Grpc.ServerUnaryCall<Request, Response>, callback: Grpc.sendUnaryData<Response>) => {
      const refuse = (refusal: Errors.Refusal) => callback(Errors.serviceError(refusal))
      const denied = context.denies(call)
      if (denied !== undefined) return refuse(denied)
      context.faults.enter(
        "persistent",
        () => {
          const result = run(call.request)
          if (isRefusal(result)) refuse(result)
          else callback(null, result)
        },
        refuse
      )
    }

  const find = (stream: string, options: Named): ConsumerGroup | Errors.Refusal =>
    groups.get(keyOf(stream, options.getGroupName())) ??
    Errors.persistentSubscription.doesNotExist(stream, options.getGroupName())

  return {
    create: unary<Persistent.CreateReq, Persistent.CreateResp>((request) => {
      const options = request.getOptions()!
      const { start, stream } = sourceOf(options)
      const name = options.getGroupName()
      if (groups.has(keyOf(stream, name))) return Errors.persistentSubscription.exists(stream, name)
      const all = options.getAll()
      const filter = all === undefined ? undefined : filterSettings(all)
      const settings = settingsOf(options.getSettings()!, start, filter)
      groups.set(keyOf(stream, name), new ConsumerGroup(context, stream, name, settings))
      store()
      return new persistent.CreateResp()
    }),

    update: unary<Persistent.UpdateReq, Persistent.UpdateResp>((request) => {
      const options = request.getOptions()!
      const { start, stream } = sourceOf(options)
      const group = find(stream, options)
      if (isRefusal(group)) return group
      const settings = settingsOf(options.getSettings()!, start, group.settings.filter)
      drop(group)
      groups.set(keyOf(stream, group.name), new ConsumerGroup(context, stream, group.name, settings))
      store()
      return new persistent.UpdateResp()
    }),

    delete: unary<Persistent.DeleteReq, Persistent.DeleteResp>((request) => {
      const options = request.getOptions()!
      const stream = options.hasAll() ? allStream : Encode.streamName(options.getStreamIdentifier())
      const group = find(stream, options)
      if (isRefusal(group)) return group
      drop(group)
      groups.delete(keyOf(stream, group.name))
      for (const kind of ["checkpoint", "parked"]) {
        const its = `$persistentsubscription-${keyOf(stream, group.name)}-${kind}`
        context.writer.submit((log) => ({ groups: log.delete(its, -2, false).groups, answer: () => {} }))
      }
      store()
      return new persistent.DeleteResp()
    }),

    getInfo: unary<Persistent.GetInfoReq, Persistent.GetInfoResp>((request) => {
      const options = request.getOptions()!
      const group = find(options.hasAll() ? allStream : Encode.streamName(options.getStreamIdentifier()), options)
      if (isRefusal(group)) return group
      const response = new persistent.GetInfoResp()
      response.setSubscriptionInfo(subscriptionInfo(group))
      return response
    }),

    list: unary<Persistent.ListReq, Persistent.ListResp>((request) => {
      const only = request.getOptions()?.getListForStream()
      const stream = only?.hasAll() ? allStream : Encode.streamName(only?.getStream())
      const found = [...groups.values()].filter((group) => only === undefined || group.stream === stream)
      if (found.length === 0 && only !== undefined) return Errors.persistentSubscription.doesNotExist(stream, "")
      const response = new persistent.ListResp()
      response.setSubscriptionsList(found.map(subscriptionInfo))
      return response
    }),

    replayParked: unary<Persistent.ReplayParkedReq, Persistent.ReplayParkedResp>((request) => {
      const options = request.getOptions()!
      const group = find(options.hasAll() ? allStream : Encode.streamName(options.getStreamIdentifier()), options)
      if (isRefusal(group)) return group
      group.replayParked(options.hasStopAt() ? Number(options.getStopAt()) : Number.POSITIVE_INFINITY)
      return new persistent.ReplayParkedResp()
    }),

    restartSubsystem: unary<Shared.Empty, Shared.Empty>(() => {
      for (const group of groups.values()) drop(group)
      groups.clear()
      load()
      return new shared.Empty()
    }),

    read: (call: Grpc.ServerDuplexStream<Persistent.ReadReq, Persistent.ReadResp>) => {
      let ended = false
      const end = (refusal: Errors.Refusal) => {
        if (!ended) call.emit("error", Errors.serviceError(refusal))
        ended = true
      }
      const denied = context.denies(call)
      if (denied !== undefined) return end(denied)
      let leave = () => {}
      let member: { readonly group: ConsumerGroup; readonly consumer: Consumer } | undefined

      const join = (options: Persistent.ReadReq.Options) => {
        const group = find(options.hasAll() ? allStream : Encode.streamName(options.getStreamIdentifier()), options)
        if (isRefusal(group)) return end(group)
        const { maxSubscriberCount } = group.settings
        if (maxSubscriberCount > 0 && group.consumers.length >= maxSubscriberCount) {
          return end(Errors.persistentSubscription.maximumSubscribers(group.stream, group.name))
        }
        const ids = options.getUuidOption()?.hasStructured() ? "numbers" : "text"
        const consumer: Consumer = {
          name: connectionName(call),
          bufferSize: options.getBufferSize(),
          inFlight: new Map(),
          processed: 0,
          deliver: (message) => {
            if (!call.cancelled && !ended) call.write(readResponse(message, ids))
          }
        }
        const subscription: Subscription = {
          end: (refusal) =>
            finish(
              refusal.code === Grpc.status.UNAVAILABLE
                ? Errors.persistentSubscription.dropped(group.stream, group.name)
                : refusal
            )
        }
        const finish = (refusal: Errors.Refusal) => {
          end(refusal)
          leave()
        }
        const itsDrops = drops.get(group) ?? new Set()
        drops.set(group, itsDrops.add(finish))
        context.subscriptions.add(subscription)
        leave = () => {
          itsDrops.delete(finish)
          context.subscriptions.delete(subscription)
          group.leave(consumer)
        }
        member = { group, consumer }
        call.write(confirmation(`${group.stream}::${group.name}`))
        group.join(consumer)
      }

      call.on("data", (request: Persistent.ReadReq) => {
        if (ended) return
        const options = request.getOptions()
        if (options !== undefined) return context.faults.enter("persistent", () => join(options), end)
        if (member === undefined) return end(Errors.invalidArgument("The first message must have options"))
        const { consumer, group } = member
        const ack = request.getAck()
        const nack = request.getNack()
        if (ack !== undefined) {
          const ids = idsOf(ack.getIdsList())
          consumer.processed += ids.length
          group.acknowledge(consumer, ids)
        }
        if (nack !== undefined) {
          group.refuse(consumer, idsOf(nack.getIdsList()), actions[nack.getAction()] ?? "skip", nack.getReason())
        }
      })
      call.on("end", () => {
        leave()
        if (!ended) call.end()
        ended = true
      })
      call.on("cancelled", () => leave())
      call.on("error", () => leave())
    }
  }
}

const actions = ["skip", "park", "retry", "skip", "stop"] as const

const isRefusal = (value: object): value is Errors.Refusal => "code" in value && "details" in value

const idsOf = (ids: ReadonlyArray<Shared.UUID>) => ids.flatMap((id) => Encode.uuidText(id) ?? [])

const connectionName = ({ metadata }: Caller) => String(metadata.get("connection-name")[0] ?? "")

const storedGroups = ({ log }: Context): ReadonlyArray<Stored> => {
  const newest = log.eventAt(configStream, log.lastRevision(configStream))
  return newest === undefined ? [] : JSON.parse(Buffer.from(newest.data).toString()).groups
}

const confirmation = (id: string): Persistent.ReadResp => {
  const message = new persistent.ReadResp.SubscriptionConfirmation()
  message.setSubscriptionId(id)
  const response = new persistent.ReadResp()
  response.setSubscriptionConfirmation(message)
  return response
}

const readResponse = ({ resolved: { event, link }, retries }: Message, ids: Encode.Ids): Persistent.ReadResp => {
  const recorded = () => new persistent.ReadResp.ReadEvent.RecordedEvent()
  const read = new persistent.ReadResp.ReadEvent()
  if (event !== undefined) read.setEvent(Encode.fill(recorded(), event, ids))
  if (link !== undefined) read.setLink(Encode.fill(recorded(), link, ids))
  read.setCommitPosition(String((link ?? event)!.position))
  read.setRetryCount(retries)
  const response = new persistent.ReadResp()
  response.setEvent(read)
  return response
}
