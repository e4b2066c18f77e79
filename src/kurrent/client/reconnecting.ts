/** Runs one subscription after another: when the server is lost, the next continues from where the last one ended. */
import { Clock, Effect, Exit, Option, Scope, Stream } from "effect"
import { reconnect } from "../../internal/following/reconnect.ts"
import type { CallError } from "../connection/errors.ts"
import { KurrentFailure } from "../connection/KurrentError.ts"
import type { Delivery, Subscription } from "./subscription.ts"

/** An attempt that failed and is followed by another. */
export interface Retry<E> {
  /** Since when nothing has arrived, in milliseconds since the epoch. */
  readonly since: number
  /** How many attempts have failed since then. */
  readonly attempts: number
  readonly error: E
}

/** How one subscription follows another. */
export interface Reconnecting<S, Raw, A, E> {
  /** Opens the next subscription, after everything that was taken so far. It is closed with the scope. */
  readonly open: Effect.Effect<S, E, Scope.Scope>
  readonly subscriptionOf: (session: S) => Subscription<Raw>
  readonly toError: (error: CallError) => E
  /** Converts deliveries, and records where the next subscription has to begin. */
  readonly take: (deliveries: ReadonlyArray<Delivery<Raw>>, session: S) => Effect.Effect<ReadonlyArray<A>, E>
  /** Whether another attempt may help. */
  readonly isTransient: (error: E) => boolean
  readonly onRetry: (retry: Retry<E>) => Effect.Effect<void>
  /**
   * For how many milliseconds to wait for deliveries, at most, before `take` is called with none. Default: without end.
   */
  readonly pace?: number | undefined
}

/** The items of all subscriptions. Each is opened when the one before it is lost, with pauses of up to five seconds. */
export const reconnecting = <S, Raw, A, E>(options: Reconnecting<S, Raw, A, E>): Stream.Stream<A, E> => {
  const { isTransient, onRetry, open, pace, subscriptionOf, take, toError } = options
  const stream = Effect.fnUntraced(function* (parent: Scope.Scope) {
    let current: { readonly session: S; readonly scope: Scope.Closeable } | undefined
    let since: number | undefined
    let attempts = 0

    const start = Effect.gen(function* () {
      const scope = yield* Scope.fork(parent)
      const session = yield* open.pipe(
        Scope.provide(scope),
        Effect.tapError(() => Scope.close(scope, Exit.void))
      )
      return { session, scope }
    })

    const next = Effect.gen(function* () {
      current ??= yield* start
      const { session } = current
      const subscription = subscriptionOf(session)
      if (pace === undefined) yield* subscription.wait
      else yield* Effect.timeoutOption(subscription.wait, pace)
      const deliveries = yield* Effect.mapError(subscription.take, toError)
      if (deliveries.length > 0) {
        since = undefined
        attempts = 0
      }
      return yield* take(deliveries, session)
    })

    const failed = Effect.fnUntraced(function* (error: E) {
      if (current !== undefined) yield* Scope.close(current.scope, Exit.void)
      current = undefined
      if (!isTransient(error)) return
      since ??= yield* Clock.currentTimeMillis
      attempts++
      yield* onRetry({ since, attempts, error })
    })
    const patient = next.pipe(Effect.tapError(failed), Effect.retry({ schedule: reconnect, while: isTransient }))
    return Stream.paginate(undefined, () => Effect.map(patient, (items) => [items, Option.some(undefined)] as const))
  })
  return Stream.unwrap(Effect.flatMap(Effect.scope, stream))
}

/** The open subscriptions of one owner. They end with an error when the owner is closed. */
export interface Registry {
  /** Opens a subscription, unless the registry is closed. */
  readonly open: <S extends Subscription<unknown>>(
    operation: string,
    subscription: Effect.Effect<S, CallError, Scope.Scope>
  ) => Effect.Effect<S, CallError, Scope.Scope>
}

/** A registry that is closed with the scope. */
export const makeRegistry = (what: string): Effect.Effect<Registry, never, Scope.Scope> =>
  Effect.gen(function* () {
    let isClosed = false
    const open = new Map<Subscription<unknown>, string>()
    const closed = (operation: string) => new KurrentFailure({ operation, reason: `${what} was closed` })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        isClosed = true
        for (const [subscription, operation] of open) subscription.end(closed(operation))
      })
    )
    return {
      open: (operation, subscription) =>
        Effect.suspend(() =>
          isClosed
            ? Effect.fail(closed(operation))
            : Effect.tap(
                Effect.acquireRelease(subscription, (opened) => Effect.sync(() => open.delete(opened)), {
                  interruptible: true
                }),
                (opened) => Effect.sync(() => open.set(opened, operation))
              )
        )
    }
  })
