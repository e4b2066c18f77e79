/** How a persistent subscription works, and what the server says about one. */
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
 * How events are given to consumers: to each in turn (`RoundRobin`), to one as long as it takes more
 * (`DispatchToSingle`), those of a stream to the same one if possible (`Pinned`), or those of a correlation id
 * (`PinnedByCorrelation`, which an update can't choose).
 */
export type ConsumerStrategy = "RoundRobin" | "DispatchToSingle" | "Pinned" | "PinnedByCorrelation"

/** How a persistent subscription works. */
export interface PersistentSubscriptionSettings {
  /**
   * The first event that it gives (inclusive): a revision, or of `$all` the position of an event. `End` is what comes after
   * its creation. Default `End`. Once it has a checkpoint of its own, that counts.
   */
  readonly startFrom?: "Start" | "End" | bigint | undefined
  /** Whether links (events of type `$>`) are followed. Default: they are not. */
  readonly resolveLinks?: boolean | undefined
  /**
   * How long a consumer may take to settle an event, before it is given again (to any of them): whole milliseconds; 0 is
   * without end. Waiting in the consumer's buffer counts. Default 30 seconds.
   */
  readonly messageTimeout?: Duration.Input | undefined
  /** How often an event is given again before it is parked: from 0 on. Default 10. */
  readonly maxRetryCount?: number | undefined
  /** How long the server waits before it writes down how far consumers are: whole milliseconds. Default 2 seconds. */
  readonly checkpointAfter?: Duration.Input | undefined
  /** How many events have to be settled, at the least, before it does. Default 10. */
  readonly checkpointLowerBound?: number | undefined
  /** After how many it does at once. Default 1000. */
  readonly checkpointUpperBound?: number | undefined
  /** How many consumers there may be: from 1 on, or `Unbounded`, which is the default. */
  readonly maxSubscriberCount?: number | "Unbounded" | undefined
  /** How many new events the server keeps in memory for it. Default 500. */
  readonly liveBufferSize?: number | undefined
  /** How many events it reads at once; fewer than each buffer. Default 20. */
  readonly readBatchSize?: number | undefined
  /** How many events that it has read it keeps in memory. Default 500. */
  readonly historyBufferSize?: number | undefined
  /** Default `RoundRobin`. */
  readonly consumerStrategy?: ConsumerStrategy | undefined
  /** Whether the server measures the latencies of its consumers. Default: it does not. */
  readonly extraStatistics?: boolean | undefined
}

/** How a persistent subscription to all events works. */
export interface PersistentSubscriptionToAllSettings extends PersistentSubscriptionSettings {
  /** Runs in the server; it can't be changed later. Default: everything, also what the server records for itself. */
  readonly filter?: AllFilter | undefined
}

/** A consumer, as the server sees it. */
export interface ConsumerInfo {
  /** Its address. */
  readonly from: string
  readonly username: string
  readonly connectionName: string
  /** Events that it settled. */
  readonly totalItems: bigint
  readonly averageItemsPerSecond: number
  /** How many more events it takes before it has to settle some. */
  readonly availableSlots: number
  /** Events that it has not settled. */
  readonly inFlightMessages: number
}

/** What the server says about a persistent subscription. */
export interface PersistentSubscriptionInfo {
  /** `$all` where it is one to all events. */
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
    /** One of {@link ConsumerStrategy}, or of the server's own. */
    readonly consumerStrategy: string
    readonly extraStatistics: boolean
  }
  readonly consumers: ReadonlyArray<ConsumerInfo>
  /** Events that its consumers settled. */
  readonly totalItems: bigint
  readonly averagePerSecond: number
  /** Events that consumers have not settled. */
  readonly inFlightMessages: number
  /** Events that are to be given again. */
  readonly retryBufferCount: number
  readonly readBufferCount: number
  readonly liveBufferCount: bigint
  /** Events that were given up, and wait for {@link PersistentSubscriptions.replayParked}. */
  readonly parkedMessages: bigint
  /** The last event up to which all are settled, as far as the server has written it down: a revision, or a position. */
  readonly lastCheckpoint: bigint | undefined
  /** The last event that it has given, or knows of: a revision, or a position. */
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

/** Settings with what stands in the place of those that are left out. */
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

/** The settings of one that is there, as those that an update leaves out. */
export const settingsOf = ({ settings }: PersistentSubscriptionInfo): Complete => ({
  ...settings,
  consumerStrategy: settings.consumerStrategy as ConsumerStrategy
})

/** Why they can't be, if they can't. */
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
      : "readBatchSize has to be less than historyBufferSize and liveBufferSize")
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
    ? `${name} is a duration of whole milliseconds, up to 24 days, and not "${String(input)}"`
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

/** As the client takes them, for a stream. */
export const toStreamSettings = (settings: Complete): ClientStreamSettings => ({
  ...toBase(settings),
  startFrom: toClientPlace(settings.startFrom, (revision) => revision)
})

/** As the client takes them, for all events. */
export const toAllSettings = (settings: Complete): ClientAllSettings => ({
  ...toBase(settings),
  startFrom: toClientPlace(settings.startFrom, (position) => ({ commit: position, prepare: position }))
})

type ClientInfo = PersistentSubscriptionToAllInfo | PersistentSubscriptionToStreamInfo

/** A revision or a position; before the first event the server says -1. */
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
