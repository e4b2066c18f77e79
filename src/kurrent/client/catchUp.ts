/** Catch-up subscriptions: first the existing events, then new ones as they arrive, without end. */
import type { Scope, Stream } from "effect"
import { Effect, Stream as Streams } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { CallError } from "../connection/errors.ts"
import { only } from "../connection/errors.ts"
import type { KurrentError, KurrentUnavailable, StreamTombstoned } from "../connection/KurrentError.ts"
import { KurrentFailure } from "../connection/KurrentError.ts"
import type { ReadEvent } from "./events.ts"
import { inPlace, toReadEvent } from "./events.ts"
import type { AllFilter } from "./filters.ts"
import { toClientFilter } from "./filters.ts"
import { commitPosition, lastRevision, positionOf } from "./reads.ts"
import type { Registry } from "./reconnecting.ts"
import { reconnecting } from "./reconnecting.ts"
import type { Checkpoint, Delivery, Subscription } from "./subscription.ts"
import * as Subscriptions from "./subscription.ts"
import * as Values from "./values.ts"

/** An item of a subscription to a stream. */
export type StreamItem =
  | { readonly _tag: "Event"; readonly event: ReadEvent }
  /** It has reached the end. It is repeated after a lost connection, and after the subscriber was slow for a while. */
  | { readonly _tag: "CaughtUp" }

/** An item of a subscription to all events. */
export type AllItem =
  | StreamItem
  /** With a filter: how far the server has searched. To continue after it later, keep both of its numbers. */
  | { readonly _tag: "Checkpoint"; readonly checkpoint: Checkpoint }

/** What a subscription is doing. */
export type SubscriptionState =
  /**
   * It reads existing events; `last` is the place of the last event that it delivered: a revision, or in `$all` a
   * position.
   */
  | { readonly _tag: "CatchingUp"; readonly last: bigint | undefined }
  /** It has reached the end and waits for more. */
  | { readonly _tag: "Live"; readonly last: bigint | undefined }
  /**
   * It has lost the server and retries: since when (in milliseconds since the epoch), and how many attempts have
   * failed.
   */
  | {
      readonly _tag: "Retrying"
      readonly last: bigint | undefined
      readonly since: number
      readonly attempts: number
      readonly error: KurrentUnavailable
    }

/** How events are subscribed to. */
export interface SubscribeOptions {
  /** Whether links (events of type `$>`) are followed. Default: they are not. */
  readonly resolveLinks?: boolean | undefined
  /** Called with each state that the subscription enters (G12): write it to a `SubscriptionRef`, a metric, a log. */
  readonly onState?: ((state: SubscriptionState) => Effect.Effect<void>) | undefined
}

/** How a stream is subscribed to. */
export interface SubscribeToStreamOptions extends SubscribeOptions {
  /** Start after this revision (exclusive), or after the last existing one (`End`). Default: at the start. */
  readonly after?: bigint | "End" | undefined
}

/** How all events are subscribed to. */
export interface SubscribeToAllOptions extends SubscribeOptions {
  /**
   * Start after this position (exclusive; of an event, or a checkpoint), or after the last existing event (`End`).
   * Default: at the start.
   */
  readonly after?: bigint | Checkpoint | "End" | undefined
  /** Runs on the server. Default: everything, including what the server records for itself. */
  readonly filter?: AllFilter | undefined
  /**
   * With a filter, the server sends a checkpoint each time it has searched this many events: at least 1. Default 512.
   */
  readonly checkpointInterval?: number | undefined
}

const CAUGHT_UP: StreamItem = { _tag: "CaughtUp" }

/** What differs between subscriptions to a stream and to all events; `Place` is where they begin. */
interface Kind<Place, Item, E> {
  readonly operation: string
  /** What `End` means now: `undefined` if there are no events. */
  readonly end: Effect.Effect<Place | undefined, KurrentError | E>
  readonly open: (behind: Place | undefined) => Effect.Effect<Subscription, CallError, Scope.Scope>
  readonly toError: (error: CallError) => KurrentError | E
  readonly placeOf: (event: ReadEvent) => Effect.Effect<bigint, KurrentFailure>
  readonly behind: (place: bigint) => Place
  /** How a checkpoint is delivered, and where the next subscription may begin because of it. */
  readonly onCheckpoint: (checkpoint: Checkpoint, behind: Place | undefined) => readonly [Item, Place | undefined]
}

const subscribe = <Place, Item, E extends { readonly _tag: string; readonly message: string }>(
  { behind, end, onCheckpoint, open, operation, placeOf, toError }: Kind<Place, Item, E>,
  registry: Registry,
  after: Place | "End" | undefined,
  lastOf: (place: Place) => bigint | undefined,
  { onState }: SubscribeOptions
): Stream.Stream<Item | StreamItem, KurrentError | E> =>
  Streams.suspend(() => {
    /** Where the next subscription begins. */
    let from = after
    /** The place of the last event that was delivered, or after which the subscription was to begin. */
    let last = from === undefined || from === "End" ? undefined : lastOf(from)
    let isLive = false
    const told = (state: SubscriptionState) => onState?.(state) ?? Effect.void

    const start = Effect.gen(function* () {
      isLive = false
      if (from === "End") {
        // the server's own end would have moved after a lost connection
        from = yield* end
        last = from === undefined ? undefined : lastOf(from)
      }
      const place = from
      return yield* Effect.mapError(registry.open(operation, open(place)), toError)
    })

    const take = Effect.fnUntraced(function* (deliveries: ReadonlyArray<Delivery>) {
      const items: Array<Item | StreamItem> = []
      for (const { events, checkpoint, caughtUp } of deliveries) {
        for (const resolved of events) {
          const event = toReadEvent(resolved)
          const place = yield* placeOf(event)
          if (last !== undefined && place <= last) continue
          items.push({ _tag: "Event", event })
          last = place
          from = behind(place)
        }
        if (checkpoint !== undefined) {
          const [item, place] = onCheckpoint(checkpoint, from === "End" ? undefined : from)
          items.push(item)
          from = place
        }
        if (caughtUp) {
          items.push(CAUGHT_UP)
          isLive = true
        }
      }
      if (items.length > 0) yield* told({ _tag: isLive ? "Live" : "CatchingUp", last })
      return items
    })

    const items = reconnecting<Subscription, Delivery["events"][number], Item | StreamItem, KurrentError | E>({
      open: start,
      subscriptionOf: (subscription) => subscription,
      toError,
      take,
      isTransient: (error) => error._tag === "KurrentUnavailable",
      onRetry: ({ since, attempts, error }) =>
        Effect.andThen(
          Effect.logWarning(`a subscription is waiting for the server: ${error.message}`),
          told({ _tag: "Retrying", last, since, attempts, error: error as KurrentUnavailable })
        )
    })
    return Streams.unwrap(Effect.as(told({ _tag: "CatchingUp", last }), items))
  })

export const subscribeToStream = (
  connection: Connection,
  registry: Registry,
  stream: string,
  options: SubscribeToStreamOptions = {}
): Stream.Stream<StreamItem, KurrentError | StreamTombstoned> => {
  const operation = "subscribe to a stream"
  const { after, resolveLinks = false } = options
  const reason =
    Values.streamProblem(stream) ?? (typeof after === "bigint" ? Values.placeProblem("after", after) : undefined)
  if (reason !== undefined) return Streams.fail(new KurrentFailure({ operation, reason }))
  const kind: Kind<bigint, StreamItem, StreamTombstoned> = {
    operation,
    // in a stream without visible events, the next one will come after the start
    end: Effect.map(lastRevision(connection, stream), (last) => (typeof last === "bigint" ? last : undefined)),
    open: (behind) =>
      Effect.flatMap(connection.subscriber, (client) =>
        Subscriptions.open(operation, stream, connection.deadline, () =>
          client.subscribeToStream(
            stream,
            { fromRevision: behind ?? "start", resolveLinkTos: resolveLinks },
            Subscriptions.readableOptions
          )
        )
      ),
    toError: only(operation, "StreamTombstoned"),
    placeOf: (event) => Effect.succeed(inPlace(event).revision),
    behind: (revision) => revision,
    // there are no checkpoints without a filter
    onCheckpoint: (_checkpoint, behind) => [CAUGHT_UP, behind]
  }
  return subscribe(kind, registry, after, (revision) => revision, options)
}

export const subscribeToAll = (
  connection: Connection,
  registry: Registry,
  options: SubscribeToAllOptions = {}
): Stream.Stream<AllItem, KurrentError> => {
  const operation = "subscribe to $all"
  const { after, checkpointInterval = 512, filter, resolveLinks = false } = options
  const reason =
    Values.countProblem("checkpointInterval", checkpointInterval, 1) ??
    (after === undefined || after === "End"
      ? undefined
      : typeof after === "bigint"
        ? Values.placeProblem("after", after)
        : (Values.placeProblem("after.commit", after.commit) ?? Values.placeProblem("after.prepare", after.prepare)))
  if (reason !== undefined) return Streams.fail(new KurrentFailure({ operation, reason }))
  const at = (position: bigint): Checkpoint => ({ commit: position, prepare: position })
  const kind: Kind<Checkpoint, AllItem, never> = {
    operation,
    end: Effect.map(commitPosition(connection), (position) => (position === undefined ? undefined : at(position))),
    open: (behind) =>
      Effect.flatMap(connection.subscriber, (client) =>
        Subscriptions.open(operation, "$all", connection.deadline, (checkpointReached) => {
          const clientFilter =
            filter === undefined
              ? undefined
              : toClientFilter(filter, {
                  checkpointReached,
                  checkpointInterval: 1,
                  maxSearchWindow: checkpointInterval
                })
          return client.subscribeToAll(
            {
              fromPosition: behind ?? "start",
              resolveLinkTos: resolveLinks,
              ...(clientFilter === undefined ? {} : { filter: clientFilter })
            },
            Subscriptions.readableOptions
          )
        })
      ),
    toError: only(operation),
    placeOf: (event) => positionOf(operation, inPlace(event).position),
    behind: at,
    onCheckpoint: (checkpoint, behind) => [
      { _tag: "Checkpoint", checkpoint },
      behind === undefined || checkpoint.commit > behind.commit ? checkpoint : behind
    ]
  }
  // a checkpoint whose numbers differ stands before an event
  const lastOf = ({ commit, prepare }: Checkpoint) => (commit === prepare ? commit : undefined)
  return subscribe(kind, registry, typeof after === "bigint" ? at(after) : after, lastOf, options)
}
