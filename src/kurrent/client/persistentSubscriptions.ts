/**
 * Persistent subscriptions: the server stores the progress of a group of consumers and distributes events among them.
 */
import type { Stream } from "effect"
import { Effect } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { CallError, GroupError } from "../connection/errors.ts"
import { only, toGroupError } from "../connection/errors.ts"
import type {
  ConsumeError,
  KurrentError,
  PersistentSubscriptionExists,
  PersistentSubscriptionNotFound
} from "../connection/KurrentError.ts"
import type { Consumed, ConsumeOptions } from "./consume.ts"
import { consume, groupProblem } from "./consume.ts"
import { toClientFilter } from "./filters.ts"
import type {
  PersistentSubscriptionInfo,
  PersistentSubscriptionSettings,
  PersistentSubscriptionToAllSettings
} from "./persistentSettings.ts"
import * as Settings from "./persistentSettings.ts"
import type { Registry } from "./reconnecting.ts"
import * as Values from "./values.ts"

/**
 * Persistent subscriptions. Each is identified by what it subscribes to (a stream, or `$all`) and by a group.
 *
 * They deliver each event at least once, and not always in order. For a single subscriber that stores its position
 * together with its work, use {@link KurrentClient.subscribeToAll} instead.
 */
export interface PersistentSubscriptions {
  /** Creates one. */
  readonly create: {
    (
      stream: "$all",
      group: string,
      settings?: PersistentSubscriptionToAllSettings
    ): Effect.Effect<void, KurrentError | PersistentSubscriptionExists>
    (
      stream: string,
      group: string,
      settings?: PersistentSubscriptionSettings
    ): Effect.Effect<void, KurrentError | PersistentSubscriptionExists>
  }
  /** Changes one. Settings that are left out stay as they are. Its consumers are dropped and reconnect. */
  readonly update: (
    stream: string,
    group: string,
    settings: PersistentSubscriptionSettings
  ) => Effect.Effect<void, KurrentError | PersistentSubscriptionNotFound>
  /** Deletes one, together with its parked events. */
  readonly delete: (stream: string, group: string) => Effect.Effect<void, KurrentError | PersistentSubscriptionNotFound>
  readonly info: (
    stream: string,
    group: string
  ) => Effect.Effect<PersistentSubscriptionInfo, KurrentError | PersistentSubscriptionNotFound>
  /** All persistent subscriptions, or those to a stream or to `$all`; empty if there are none. */
  readonly list: (stream?: string) => Effect.Effect<ReadonlyArray<PersistentSubscriptionInfo>, KurrentError>
  /**
   * Redelivers the parked events. It returns once the server has begun to.
   *
   * `stopAt` ends the replay before that revision (at least 1) of the stream of parked events,
   * `$persistentsubscription-<stream>::<group>-parked`, whose revisions never start over. Default: all.
   */
  readonly replayParked: (
    stream: string,
    group: string,
    options?: { readonly stopAt?: number | undefined }
  ) => Effect.Effect<void, KurrentError | PersistentSubscriptionNotFound>
  /** Restarts this part of the server. All consumers are dropped and reconnect. */
  readonly restartSubsystem: Effect.Effect<void, KurrentError>
  /**
   * Consumes one, alongside any number of other consumers. Events that are not settled when the stream ends are
   * delivered to others.
   *
   * Reconnects on its own, with pauses of up to five seconds, when the connection is lost. Events of the previous
   * connection may then be redelivered, and the first delivery can no longer be settled. Fails when the layer of the
   * client is closed.
   */
  readonly consume: (stream: string, group: string, options?: ConsumeOptions) => Stream.Stream<Consumed, ConsumeError>
}

const ALL = "$all"

/** The error of a call that can fail in this way. */
const narrow =
  <Tag extends GroupError["_tag"]>(operation: string, stream: string, group: string, tag: Tag) =>
  (error: CallError): KurrentError | Extract<GroupError, { readonly _tag: Tag }> => {
    const found = toGroupError(stream, group)(error)
    return found._tag === tag ? (found as Extract<GroupError, { readonly _tag: Tag }>) : only(operation)(error)
  }

export const make = (connection: Connection, registry: Registry): PersistentSubscriptions => {
  const options = { deadline: connection.deadline }

  const create = (
    stream: string,
    group: string,
    given: PersistentSubscriptionToAllSettings = {}
  ): Effect.Effect<void, KurrentError | PersistentSubscriptionExists> => {
    const operation = "create a persistent subscription"
    const settings = Settings.complete(given)
    const filter = given.filter === undefined ? undefined : toClientFilter(given.filter)
    const call = connection.write(operation, stream, (client) =>
      stream === ALL
        ? client.createPersistentSubscriptionToAll(group, Settings.toAllSettings(settings), {
            ...options,
            ...(filter === undefined ? {} : { filter })
          })
        : client.createPersistentSubscriptionToStream(stream, group, Settings.toStreamSettings(settings), options)
    )
    return Effect.andThen(
      Values.check(operation, groupProblem(stream, group) ?? Settings.settingsProblem(settings)),
      Effect.mapError(call, narrow(operation, stream, group, "PersistentSubscriptionExists"))
    )
  }

  const info: PersistentSubscriptions["info"] = (stream, group) => {
    const operation = "get a persistent subscription"
    const call = connection.ask(operation, stream, async (client) =>
      Settings.fromClientInfo(
        stream === ALL
          ? await client.getPersistentSubscriptionToAllInfo(group, options)
          : await client.getPersistentSubscriptionToStreamInfo(stream, group, options)
      )
    )
    return Effect.andThen(
      Values.check(operation, groupProblem(stream, group)),
      Effect.mapError(call, narrow(operation, stream, group, "PersistentSubscriptionNotFound"))
    )
  }

  const update: PersistentSubscriptions["update"] = (stream, group, given) => {
    const operation = "update a persistent subscription"
    return Effect.gen(function* () {
      const settings = Settings.complete(given, Settings.settingsOf(yield* info(stream, group)))
      yield* Values.check(operation, Settings.settingsProblem(settings))
      yield* Values.check(operation, strategyProblem(settings.consumerStrategy))
      const call = connection.write(operation, stream, (client) =>
        stream === ALL
          ? client.updatePersistentSubscriptionToAll(group, Settings.toAllSettings(settings), options)
          : client.updatePersistentSubscriptionToStream(stream, group, Settings.toStreamSettings(settings), options)
      )
      yield* Effect.mapError(call, narrow(operation, stream, group, "PersistentSubscriptionNotFound"))
    })
  }

  const remove: PersistentSubscriptions["delete"] = (stream, group) => {
    const operation = "delete a persistent subscription"
    const call = connection.write(operation, stream, (client) =>
      stream === ALL
        ? client.deletePersistentSubscriptionToAll(group, options)
        : client.deletePersistentSubscriptionToStream(stream, group, options)
    )
    return Effect.andThen(
      Values.check(operation, groupProblem(stream, group)),
      Effect.mapError(call, narrow(operation, stream, group, "PersistentSubscriptionNotFound"))
    )
  }

  const list: PersistentSubscriptions["list"] = (stream) => {
    const operation = "list persistent subscriptions"
    const call = connection.ask(operation, stream ?? "", async (client) => {
      const found =
        stream === undefined
          ? await client.listAllPersistentSubscriptions(options)
          : stream === ALL
            ? await client.listPersistentSubscriptionsToAll(options)
            : await client.listPersistentSubscriptionsToStream(stream, options)
      return found.map(Settings.fromClientInfo)
    })
    return Effect.andThen(
      Values.check(operation, stream === undefined ? undefined : groupProblem(stream, "any")),
      call.pipe(
        Effect.mapError(narrow(operation, stream ?? "", "", "PersistentSubscriptionNotFound")),
        Effect.catchTag("PersistentSubscriptionNotFound", () => Effect.succeed([]))
      )
    )
  }

  const replayParked: PersistentSubscriptions["replayParked"] = (stream, group, { stopAt } = {}) => {
    const operation = "replay parked events"
    const limited = stopAt === undefined ? options : { ...options, stopAt }
    const call = connection.write(operation, stream, (client) =>
      stream === ALL
        ? client.replayParkedMessagesToAll(group, limited)
        : client.replayParkedMessagesToStream(stream, group, limited)
    )
    return Effect.andThen(
      Values.check(
        operation,
        groupProblem(stream, group) ?? Values.countProblem("stopAt", stopAt, 1, Number.MAX_SAFE_INTEGER)
      ),
      Effect.mapError(call, narrow(operation, stream, group, "PersistentSubscriptionNotFound"))
    )
  }

  const restart = "restart the persistent subscriptions"
  return {
    create,
    update,
    delete: remove,
    info,
    list,
    replayParked,
    restartSubsystem: Effect.mapError(
      connection.write(restart, "", (client) => client.restartPersistentSubscriptionSubsystem(options)),
      only(restart)
    ),
    consume: (stream, group, options) => consume(connection, registry, stream, group, options)
  }
}

/** An update supports fewer strategies than a creation. */
const strategyProblem = (strategy: string): string | undefined =>
  strategy === "RoundRobin" || strategy === "DispatchToSingle" || strategy === "Pinned"
    ? undefined
    : `the server can't change consumerStrategy to "${strategy}" in an update; choose another, or delete the subscription and create it again`
