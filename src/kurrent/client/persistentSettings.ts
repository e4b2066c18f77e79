/** The settings of a persistent subscription, and what the server reports about one. */
import type {
  PersistentSubscriptionToAllSettings as ClientAllSettings,
  PersistentSubscriptionToStreamSettings as ClientStreamSettings,
  PersistentSubscriptionToAllInfo,
  PersistentSubscriptionToStreamInfo
} from "@kurrent/kurrentdb-client"
import { Duration } from "effect"
import type { AllFilter } from "./filters.ts"
import * as Values from "./values.ts"

/**
 * How events are distributed among consumers: to each in turn (`RoundRobin`), to one as long as it accepts more
 * (`DispatchToSingle`), those of a stream to the same one if possible (`Pinned`), or those of a correlation id
 * (`PinnedByCorrelation`, which an update can't choose).
 */
export type ConsumerStrategy = "RoundRobin" | "DispatchToSingle" | "Pinned" | "PinnedByCorrelation"

/** The settings of a persistent subscription. */
export interface PersistentSubscriptionSettings {
  /**
   * The first event that it delivers (inclusive): a revision, or for `$all` the position of an event. `End` means only
   * events after its creation. Default `End`. Once it has a checkpoint of its own, the checkpoint takes precedence.
   */
  readonly startFrom?: "Start" | "End" | bigint | undefined
  /** Whether links (events of type `$>`) are followed. Default: they are not. */
  readonly resolveLinks?: boolean | undefined
  /**
   * How long a consumer may take to settle an event before it is redelivered (to any of them): whole milliseconds; 0
   * means without limit. Time in the consumer's buffer counts. Default 30 seconds.
   */
  readonly messageTimeout?: Duration.Input | undefined
  /** How often an event is redelivered before it is parked: at least 0. Default 10. */
  readonly maxRetryCount?: number | undefined
  /**
   * How long the server waits before it stores the progress of the consumers: whole milliseconds. Default 2 seconds.
   */
  readonly checkpointAfter?: Duration.Input | undefined
  /** How many events have to be settled, at least, before it does. Default 10. */
  readonly checkpointLowerBound?: number | undefined
  /** After how many settled events it does so at once. Default 1000. */
  readonly checkpointUpperBound?: number | undefined
  /** How many consumers there may be: at least 1, or `Unbounded`, which is the default. */
  readonly maxSubscriberCount?: number | "Unbounded" | undefined
  /** How many new events the server keeps in memory for it. Default 500. */
  readonly liveBufferSize?: number | undefined
  /** How many events the server reads at once; fewer than each buffer holds. Default 20. */
  readonly readBatchSize?: number | undefined
  /** How many of the events that it has read the server keeps in memory. Default 500. */
  readonly historyBufferSize?: number | undefined
  /** Default `RoundRobin`. */
  readonly consumerStrategy?: ConsumerStrategy | undefined
  /** Whether the server measures the latencies of its consumers. Default: it does not. */
  readonly extraStatistics?: boolean | undefined
}

/** The settings of a persistent subscription to all events. */
export interface PersistentSubscriptionToAllSettings extends PersistentSubscriptionSettings {
  /**
   * Runs on the server and can't be changed later. Default: everything, including what the server records for itself.
   */
  readonly filter?: AllFilter | undefined
}

/** A consumer, as the server sees it. */
export interface ConsumerInfo {
  /** Its address. */
  readonly from: string
  readonly username: string
  readonly connectionName: string
  /** How many events it has settled. */
  readonly totalItems: bigint
  readonly averageItemsPerSecond: number
  /** How many more events it accepts before it has to settle some. */
  readonly availableSlots: number
  /** How many events it has not settled. */
  readonly inFlightMessages: number
}

/** What the server reports about a persistent subscription. */
export interface PersistentSubscriptionInfo {
  /** `$all` for a subscription to all events. */
  readonly stream: string
  readonly group: string
  /** The server's own word, such as `Live`. */
  readonly status: string
  readonly settings: {
    readonly startFrom: "Start" | "End" | bigint
    readonly resolveLinks: boolean
    readonly messageTimeout: Duration.Duration
    readonly maxRetryCount: number
    readonly checkpointAfter: Duration.Duration
    readonly checkpointLowerBound: number
    readonly checkpointUpperBound: number
    readonly maxSubscriberCount: number | "Unbounded"
    readonly liveBufferSize: number
    readonly readBatchSize: number
    readonly historyBufferSize: number
    /** A {@link ConsumerStrategy}, or another one of the server. */
    readonly consumerStrategy: string
    readonly extraStatistics: boolean
  }
  readonly consumers: ReadonlyArray<ConsumerInfo>
  /** How many events its consumers have settled. */
  readonly totalItems: bigint
  readonly averagePerSecond: number
  /** How many events its consumers have not settled. */
  readonly inFlightMessages: number
  /** How many events are to be redelivered. */
  readonly retryBufferCount: number
  readonly readBufferCount: number
  readonly liveBufferCount: bigint
  /** How many events are parked and wait for {@link PersistentSubscriptions.replayParked}. */
  readonly parkedMessages: bigint
  /** The last event up to which all are settled, as far as the server has stored it: a revision, or a position. */
  readonly lastCheckpoint: bigint | undefined
  /** The last event that it has delivered or knows of: a revision, or a position. */
  readonly lastKnown: bigint | undefined
}

const DEFAULTS = {
  startFrom: "End",
  resolveLinks: false,
  messageTimeout: "30 seconds",
  maxRetryCount: 10,
  checkpointAfter: "2 seconds",
  checkpointLowerBound: 10,
  checkpointUpperBound: 1000,
  maxSubscriberCount: "Unbounded",
  liveBufferSize: 500,
  readBatchSize: 20,
  historyBufferSize: 500,
  consumerStrategy: "RoundRobin",
  extraStatistics: false
} as const satisfies PersistentSubscriptionSettings

/** Settings of which none is left out. */
export type Complete = { readonly [K in keyof typeof DEFAULTS]-?: NonNullable<PersistentSubscriptionSettings[K]> }

/** Settings, with defaults for those that are left out. */
export const complete = (settings: PersistentSubscriptionSettings, rest: Complete = DEFAULTS): Complete => ({
  startFrom: settings.startFrom ?? rest.startFrom,
  resolveLinks: settings.resolveLinks ?? rest.resolveLinks,
  messageTimeout: settings.messageTimeout ?? rest.messageTimeout,
  maxRetryCount: settings.maxRetryCount ?? rest.maxRetryCount,
  checkpointAfter: settings.checkpointAfter ?? rest.checkpointAfter,
  checkpointLowerBound: settings.checkpointLowerBound ?? rest.checkpointLowerBound,
  checkpointUpperBound: settings.checkpointUpperBound ?? rest.checkpointUpperBound,
  maxSubscriberCount: settings.maxSubscriberCount ?? rest.maxSubscriberCount,
  liveBufferSize: settings.liveBufferSize ?? rest.liveBufferSize,
  readBatchSize: settings.readBatchSize ?? rest.readBatchSize,
  historyBufferSize: settings.historyBufferSize ?? rest.historyBufferSize,
  consumerStrategy: settings.consumerStrategy ?? rest.consumerStrategy,
  extraStatistics: settings.extraStatistics ?? rest.extraStatistics
})

/** The settings of an existing subscription, which apply to what an update leaves out. */
export const settingsOf = ({ settings }: PersistentSubscriptionInfo): Complete => ({
  ...settings,
  consumerStrategy: settings.consumerStrategy as ConsumerStrategy
})

/** Why the settings are invalid, or `undefined` if they are valid. */
export const settingsProblem = (settings: Complete): string | undefined => {
  const { startFrom, maxSubscriberCount } = settings
  return (
    (typeof startFrom === "bigint" ? Values.placeProblem("startFrom", startFrom) : undefined) ??
    millisecondsProblem("messageTimeout", settings.messageTimeout) ??
    millisecondsProblem("checkpointAfter", settings.checkpointAfter) ??
    Values.countProblem("maxRetryCount", settings.maxRetryCount, 0) ??
    Values.countProblem("checkpointLowerBound", settings.checkpointLowerBound, 0) ??
    Values.countProblem("checkpointUpperBound", settings.checkpointUpperBound, 1) ??
    (maxSubscriberCount === "Unbounded"
      ? undefined
      : Values.countProblem("maxSubscriberCount", maxSubscriberCount, 1)) ??
    Values.countProblem("liveBufferSize", settings.liveBufferSize, 1) ??
    Values.countProblem("readBatchSize", settings.readBatchSize, 1) ??
    Values.countProblem("historyBufferSize", settings.historyBufferSize, 1) ??
    (settings.readBatchSize < Math.min(settings.historyBufferSize, settings.liveBufferSize)
      ? undefined
      : "readBatchSize must be less than historyBufferSize and liveBufferSize")
  )
}

const toMilliseconds = (input: Duration.Input): number | undefined => {
  try {
    return Duration.toMillis(Duration.fromInputUnsafe(input))
  } catch {
    return undefined
  }
}

const millisecondsProblem = (name: string, input: Duration.Input): string | undefined => {
  const found = toMilliseconds(input)
  return found === undefined || Values.countProblem(name, found, 0) !== undefined
    ? `${name} must be a duration of whole milliseconds, up to 24 days, got "${String(input)}"`
    : undefined
}

type Base = Omit<ClientStreamSettings, "startFrom">

const toBase = (settings: Complete): Base => ({
  resolveLinkTos: settings.resolveLinks,
  extraStatistics: settings.extraStatistics,
  messageTimeout: toMilliseconds(settings.messageTimeout) ?? 0,
  maxRetryCount: settings.maxRetryCount,
  checkPointAfter: toMilliseconds(settings.checkpointAfter) ?? 0,
  checkPointLowerBound: settings.checkpointLowerBound,
  checkPointUpperBound: settings.checkpointUpperBound,
  maxSubscriberCount: settings.maxSubscriberCount === "Unbounded" ? "unbounded" : settings.maxSubscriberCount,
  liveBufferSize: settings.liveBufferSize,
  readBatchSize: settings.readBatchSize,
  historyBufferSize: settings.historyBufferSize,
  consumerStrategyName: settings.consumerStrategy
})

const toClientPlace = <A>(place: "Start" | "End" | bigint, at: (place: bigint) => A) =>
  place === "Start" ? ("start" as const) : place === "End" ? ("end" as const) : at(place)

/** The settings in the client's form, for a stream. */
export const toStreamSettings = (settings: Complete): ClientStreamSettings => ({
  ...toBase(settings),
  startFrom: toClientPlace(settings.startFrom, (revision) => revision)
})

/** The settings in the client's form, for all events. */
export const toAllSettings = (settings: Complete): ClientAllSettings => ({
  ...toBase(settings),
  startFrom: toClientPlace(settings.startFrom, (position) => ({ commit: position, prepare: position }))
})

type ClientInfo = PersistentSubscriptionToAllInfo | PersistentSubscriptionToStreamInfo

/** A revision or a position. The server reports -1 for a place before the first event. */
const placeOf = (place: bigint | { readonly commit: bigint } | undefined): bigint | undefined => {
  const found = typeof place === "object" ? place.commit : place
  return found === undefined || found < 0n ? undefined : found
}

export const fromClientInfo = (info: ClientInfo): PersistentSubscriptionInfo => {
  const { eventSource, groupName, status, settings, connections, stats } = info
  const { startFrom } = settings
  return {
    stream: eventSource,
    group: groupName,
    status,
    settings: {
      startFrom: startFrom === "start" ? "Start" : startFrom === "end" ? "End" : (placeOf(startFrom) ?? "End"),
      resolveLinks: settings.resolveLinkTos,
      messageTimeout: Duration.millis(settings.messageTimeout),
      maxRetryCount: settings.maxRetryCount,
      checkpointAfter: Duration.millis(settings.checkPointAfter),
      checkpointLowerBound: settings.checkPointLowerBound,
      checkpointUpperBound: settings.checkPointUpperBound,
      maxSubscriberCount: settings.maxSubscriberCount === "unbounded" ? "Unbounded" : settings.maxSubscriberCount,
      liveBufferSize: settings.liveBufferSize,
      readBatchSize: settings.readBatchSize,
      historyBufferSize: settings.historyBufferSize,
      consumerStrategy: settings.consumerStrategyName,
      extraStatistics: settings.extraStatistics
    },
    consumers: connections.map(
      ({ from, username, connectionName, totalItems, averageItemsPerSecond, availableSlots, inFlightMessages }) => ({
        ...{ from, username, connectionName, totalItems, averageItemsPerSecond, availableSlots, inFlightMessages }
      })
    ),
    totalItems: stats.totalItems,
    averagePerSecond: stats.averagePerSecond,
    inFlightMessages: stats.totalInFlightMessages,
    retryBufferCount: stats.retryBufferCount,
    readBufferCount: stats.readBufferCount,
    liveBufferCount: stats.liveBufferCount,
    parkedMessages: stats.parkedMessageCount,
    lastCheckpoint: placeOf(
      "lastCheckpointedEventRevision" in stats
        ? stats.lastCheckpointedEventRevision
        : "lastCheckpointedEventPosition" in stats
          ? stats.lastCheckpointedEventPosition
          : undefined
    ),
    lastKnown: placeOf(
      "lastKnownEventRevision" in stats
        ? stats.lastKnownEventRevision
        : "lastKnownEventPosition" in stats
          ? stats.lastKnownEventPosition
          : undefined
    )
  }
}
