/** What a request says about a group, and what the server reports about one. */

import type { ConsumerGroup, FilterSettings, GroupSettings } from "./ConsumerGroup.ts"
import { allStream } from "./ConsumerGroup.ts"
import { streamName } from "./encode.ts"
import type { Persistent } from "./protocol.ts"
import { persistent } from "./protocol.ts"

type Settings = Persistent.CreateReq.Settings | Persistent.UpdateReq.Settings

const strategies = ["DispatchToSingle", "RoundRobin", "Pinned"]

export const settingsOf = (
  settings: Settings,
  startFrom: number,
  filter: FilterSettings | undefined
): GroupSettings => ({
  startFrom,
  filter,
  resolveLinks: settings.getResolveLinks(),
  extraStatistics: settings.getExtraStatistics(),
  maxRetryCount: settings.getMaxRetryCount(),
  minCheckpointCount: settings.getMinCheckpointCount(),
  maxCheckpointCount: settings.getMaxCheckpointCount(),
  maxSubscriberCount: settings.getMaxSubscriberCount(),
  liveBufferSize: settings.getLiveBufferSize(),
  readBatchSize: settings.getReadBatchSize(),
  historyBufferSize: settings.getHistoryBufferSize(),
  messageTimeout: settings.hasMessageTimeoutMs()
    ? settings.getMessageTimeoutMs()
    : Number(settings.getMessageTimeoutTicks()) / 10_000,
  checkpointAfter: settings.hasCheckpointAfterMs()
    ? settings.getCheckpointAfterMs()
    : Number(settings.getCheckpointAfterTicks()) / 10_000,
  strategy:
    "getConsumerStrategy" in settings && settings.getConsumerStrategy() !== ""
      ? settings.getConsumerStrategy()
      : strategies[settings.getNamedConsumerStrategy()]!
})

/** The stream that a group belongs to, and its start: the first revision or position that it wants, or -1. */
export const sourceOf = (
  options: Persistent.CreateReq.Options | Persistent.UpdateReq.Options
): { readonly stream: string; readonly start: number } => {
  const all = options.getAll()
  const stream = options.getStream()
  if (all !== undefined) {
    const position = all.getPosition()
    return { stream: allStream, start: all.hasEnd() ? -1 : Number(position?.getCommitPosition() ?? 0) }
  }
  if (stream !== undefined) {
    const start = stream.hasEnd() ? -1 : stream.hasRevision() ? Number(stream.getRevision()) : 0
    return { stream: streamName(stream.getStreamIdentifier()), start }
  }
  // the form of servers before 21.10, which the client still uses
  const revision = Number(options.getSettings()?.getRevision() ?? 0)
  return { stream: streamName(options.getStreamIdentifier()), start: revision >= 2 ** 63 ? -1 : revision }
}

export const filterSettings = (options: Persistent.CreateReq.AllOptions): FilterSettings | undefined => {
  const filter = options.getFilter()
  if (filter === undefined) return undefined
  const byStream = filter.hasStreamIdentifier()
  const expression = byStream ? filter.getStreamIdentifier() : filter.getEventType()
  return {
    by: byStream ? "stream" : "type",
    regex: expression?.getRegex() ?? "",
    prefixes: expression?.getPrefixList() ?? []
  }
}

export const subscriptionInfo = (group: ConsumerGroup): Persistent.SubscriptionInfo => {
  const { settings } = group
  const place = (at: number | undefined) => {
    if (at === undefined) return ""
    return group.isOfAll ? `C:${at}/P:${at}` : String(at)
  }
  const info = new persistent.SubscriptionInfo()
  info.setEventSource(group.stream)
  info.setGroupName(group.name)
  info.setStatus("Live")
  info.setTotalItems(String(group.processed))
  info.setCountSinceLastMeasurement("0")
  info.setLastCheckpointedEventPosition(place(group.checkpointed))
  info.setLastKnownEventPosition(place(group.known))
  info.setResolveLinkTos(settings.resolveLinks)
  info.setStartFrom(place(settings.startFrom))
  info.setMessageTimeoutMilliseconds(settings.messageTimeout)
  info.setExtraStatistics(settings.extraStatistics)
  info.setMaxRetryCount(settings.maxRetryCount)
  info.setLiveBufferSize(settings.liveBufferSize)
  info.setBufferSize(settings.historyBufferSize)
  info.setReadBatchSize(settings.readBatchSize)
  info.setCheckPointAfterMilliseconds(settings.checkpointAfter)
  info.setMinCheckPointCount(settings.minCheckpointCount)
  info.setMaxCheckPointCount(settings.maxCheckpointCount)
  info.setLiveBufferCount("0")
  info.setRetryBufferCount(group.retries.length)
  info.setTotalInFlightMessages(group.inFlight)
  info.setOutstandingMessagesCount(group.inFlight)
  info.setNamedConsumerStrategy(settings.strategy)
  info.setMaxSubscriberCount(settings.maxSubscriberCount)
  info.setParkedMessageCount(String(group.parkedCount))
  info.setConnectionsList(
    group.consumers.map((consumer) => {
      const connection = new persistent.SubscriptionInfo.ConnectionInfo()
      connection.setFrom("127.0.0.1")
      connection.setUsername("anonymous")
      connection.setConnectionName(consumer.name)
      connection.setTotalItems(String(consumer.processed))
      connection.setCountSinceLastMeasurement("0")
      connection.setAvailableSlots(consumer.bufferSize - consumer.inFlight.size)
      connection.setInFlightMessages(consumer.inFlight.size)
      return connection
    })
  )
  return info
}
