/** A consumer of a persistent subscription. */
import type {
  PersistentSubscriptionToAll,
  PersistentSubscriptionToStream,
  PersistentSubscriptionToStreamResolvedEvent
} from "@kurrent/kurrentdb-client"
import type { Stream } from "effect"
import { Effect, Stream as Streams } from "effect"
import type { Connection } from "../connection/connection.ts"
import type { CallError, GroupError } from "../connection/errors.ts"
import { only, toGroupError } from "../connection/errors.ts"
import type {
  ConsumeError,
  KurrentError,
  MaximumSubscribersReached,
  PersistentSubscriptionDropped,
  PersistentSubscriptionNotFound
} from "../connection/KurrentError.ts"
import { KurrentFailure, KurrentUnavailable } from "../connection/KurrentError.ts"
import type { ReadEvent } from "./events.ts"
import { fromResolved, toReadEvent } from "./events.ts"
import type { Registry, Retry } from "./reconnecting.ts"
import { reconnecting } from "./reconnecting.ts"
import type { Delivery, Subscription } from "./subscription.ts"
import * as Subscriptions from "./subscription.ts"
import * as Values from "./values.ts"

/**
 * What happens to an event that could not be handled: it is redelivered (`Retry`), put aside until it is replayed
 * (`Park`), or dropped (`Skip`). An event that is redelivered too often (`maxRetryCount`) is parked.
 */
export type NackAction = "Retry" | "Park" | "Skip"

/** An event that a persistent subscription delivers to a consumer, which has to settle it with `ack` or `nack`. */
export interface Consumed {
  readonly event: ReadEvent
  /** How often it was delivered before without being settled. */
  readonly retryCount: number
  /**
   * Reports that the event was handled. It is sent without an answer: if it gets lost, the event is redelivered, so
   * handling it twice must do no harm. Fails with `KurrentUnavailable` if the connection on which the event arrived is
   * lost or closed.
   */
  readonly ack: Effect.Effect<void, KurrentError>
  /** Reports that the event was not handled, what happens to it, and why. The reason is kept with a parked event. */
  readonly nack: (action: NackAction, reason: string) => Effect.Effect<void, KurrentError>
}

/** How a persistent subscription is consumed. */
export interface ConsumeOptions {
  /** How many events the server delivers before it waits for some to be settled: at least 1. Default 10. */
  readonly bufferSize?: number | undefined
  /**
   * Whether it reconnects on its own when the connection is lost, or when the server ends it
   * (`PersistentSubscriptionDropped`: the subscription was changed, or the server is stopping). Default: it does.
   */
  readonly reconnect?: boolean | undefined
  /** Called before each further attempt. */
  readonly onRetry?:
    | ((retry: Retry<KurrentUnavailable | PersistentSubscriptionDropped>) => Effect.Effect<void>)
    | undefined
}

const OPERATION = "consume a persistent subscription"

type ClientSubscription = PersistentSubscriptionToAll | PersistentSubscriptionToStream

/** What the client delivers. It is the same for both kinds of subscriptions. */
type Raw = PersistentSubscriptionToStreamResolvedEvent

interface Session {
  readonly subscription: Subscription<Raw>
  /** Sends something on the connection on which the events arrived. */
  readonly send: (send: (source: PersistentSubscriptionToStream) => Promise<void>) => Promise<void>
}

/**
 * How long the last acknowledgements are given to leave, in milliseconds: the client does not report when they have.
 */
const FLUSH = 250

/** Ends a call once everything has been sent. Cancelling it at once would withdraw what is on its way. */
const flushAndClose = (source: ClientSubscription, call: NodeJS.WritableStream | undefined): Effect.Effect<void> => {
  // `unsubscribe` settles only once the call is made, which may take long if the server is gone
  const cancel = Effect.sync(() => void source.unsubscribe().catch(() => {}))
  if (call === undefined || !call.writable) return cancel
  const flushed = Effect.callback<void>((resume) => {
    const done = () => resume(Effect.void)
    // a server may answer the end of the requests with an end of its own, which shows that it has received all of them
    call.on("status", done).on("error", done).on("close", done)
    call.end()
  })
  return Effect.andThen(Effect.timeoutOption(flushed, FLUSH), cancel)
}

const toError = (stream: string, group: string) => {
  const narrow = only(OPERATION)
  const toGroup = toGroupError(stream, group)
  return (error: CallError): ConsumeError => {
    const found = toGroup(error)
    return isGroupError(found) ? found : narrow(error)
  }
}

const isGroupError = (
  error: GroupError
): error is PersistentSubscriptionNotFound | MaximumSubscribersReached | PersistentSubscriptionDropped =>
  error._tag === "PersistentSubscriptionNotFound" ||
  error._tag === "MaximumSubscribersReached" ||
  error._tag === "PersistentSubscriptionDropped"

const isTransient = (error: ConsumeError): error is KurrentUnavailable | PersistentSubscriptionDropped =>
  error._tag === "KurrentUnavailable" || error._tag === "PersistentSubscriptionDropped"

const ACTIONS = { Retry: "retry", Park: "park", Skip: "skip" } as const

export const consume = (
  connection: Connection,
  registry: Registry,
  stream: string,
  group: string,
  { bufferSize = 10, onRetry, reconnect = true }: ConsumeOptions = {}
): Stream.Stream<Consumed, ConsumeError> => {
  const reason = groupProblem(stream, group) ?? Values.countProblem("bufferSize", bufferSize, 1)
  if (reason !== undefined) return Streams.fail(new KurrentFailure({ operation: OPERATION, reason }))
  const narrow = toError(stream, group)

  const open = Effect.gen(function* () {
    const client = yield* connection.subscriber
    let call: NodeJS.WritableStream | undefined
    let source: PersistentSubscriptionToStream | undefined
    let lastSent = Number.NEGATIVE_INFINITY
    const subscription = Subscriptions.openSource({
      ...{ operation: OPERATION, stream, deadline: connection.deadline },
      start: () => {
        const options = { bufferSize }
        const buffers = { readableHighWaterMark: bufferSize, writableHighWaterMark: bufferSize }
        const started =
          stream === "$all"
            ? client.subscribeToPersistentSubscriptionToAll(group, options, buffers)
            : client.subscribeToPersistentSubscriptionToStream(stream, group, options, buffers)
        source = started as PersistentSubscriptionToStream
        // the underlying call: the client does not expose it, but pipes its events from it
        source.on("pipe", (from: unknown) => {
          call = from as NodeJS.WritableStream
        })
        return source
      },
      convert: (raw: Raw) => raw,
      close: (source, isLost) =>
        Effect.suspend(() => {
          const isSending = !isLost && performance.now() - lastSent < FLUSH
          return flushAndClose(source, isSending ? call : undefined)
        })
    })
    const session: Session = {
      subscription: yield* Effect.mapError(registry.open(OPERATION, subscription), narrow),
      send: (send) => {
        lastSent = performance.now()
        return send(source as PersistentSubscriptionToStream)
      }
    }
    return session
  })

  const settle = (
    { send, subscription }: Session,
    how: (source: PersistentSubscriptionToStream) => Promise<void>
  ): Effect.Effect<void, KurrentError> =>
    Effect.suspend(() =>
      subscription.isOver()
        ? Effect.fail(
            new KurrentUnavailable({
              operation: "settle an event",
              reason: "the connection that delivered the event is closed; the event will be delivered again"
            })
          )
        : Effect.mapError(
            connection.write("settle an event", stream, () => send(how)),
            only("settle an event")
          )
    )

  const toConsumed = (raw: Raw, session: Session): Consumed => ({
    event: toReadEvent(fromResolved(raw)),
    retryCount: raw.retryCount,
    ack: settle(session, (source) => source.ack(raw)),
    nack: (action, reason) => settle(session, (source) => source.nack(ACTIONS[action], reason, raw))
  })

  return Streams.suspend(() =>
    reconnecting<Session, Raw, Consumed, ConsumeError>({
      open,
      subscriptionOf: ({ subscription }) => subscription,
      toError: narrow,
      take: (deliveries: ReadonlyArray<Delivery<Raw>>, session) =>
        Effect.succeed(deliveries.flatMap(({ events }) => events.map((raw) => toConsumed(raw, session)))),
      isTransient: (error) => reconnect && isTransient(error),
      onRetry: ({ error, ...retry }) =>
        isTransient(error)
          ? Effect.andThen(
              Effect.logWarning(`a consumer is waiting for the server: ${error.message}`),
              onRetry?.({ ...retry, error }) ?? Effect.void
            )
          : Effect.void
    })
  )
}

/** Why there can't be such a persistent subscription, or `undefined` if there can. */
export const groupProblem = (stream: string, group: string): string | undefined =>
  (stream === "$all" ? undefined : Values.streamProblem(stream)) ??
  (group === "" || !group.isWellFormed() ? `"${group}" is not a valid name of a persistent subscription` : undefined)
