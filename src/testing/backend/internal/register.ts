import { it } from "@effect/vitest"
import type { Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import type { Backend } from "../Backend.ts"

/**
 * The limit of one test, in milliseconds: far more than a slow machine needs, so that only a test that hangs reaches
 * it.
 */
export const TIMEOUT = 120_000

/** The log of one test. */
export interface Log<S> {
  /** Opens another connection, which is closed with the scope. */
  readonly connect: Effect.Effect<Context.Context<S>, unknown, Scope.Scope>
}

const logOf = <S>(layer: Layer.Layer<S, unknown>): Log<S> => ({
  // fresh: a build within the scope of another one would share what that one built
  connect: Layer.build(Layer.fresh(layer))
})

const withServices = <A, E, S>(
  self: Effect.Effect<A, E, S | Scope.Scope>,
  services: Context.Context<S>
): Effect.Effect<A, E, Scope.Scope> =>
  Effect.updateContext(self, (scope: Context.Context<Scope.Scope>) => Context.merge(services, scope))

/** Runs on a new log, with the services of one connection to it. */
export const onNewLog = <S, A, E>(
  backend: Backend<S>,
  body: (log: Log<S>) => Effect.Effect<A, E, S | Scope.Scope>
): Effect.Effect<A, unknown, Scope.Scope> =>
  Effect.gen(function* () {
    const log = logOf(yield* backend.makeLog)
    return yield* withServices(body(log), yield* log.connect)
  })

/**
 * Registers tests that have a new log each.
 *
 * They use the real clock: a backend may have connections with timeouts and logs to poll.
 */
export const testsOn =
  <S>(backend: Backend<S>) =>
  <A, E>(name: string, body: (log: Log<S>) => Effect.Effect<A, E, S | Scope.Scope>): void =>
    it.live(name, () => onNewLog(backend, body), TIMEOUT)

/** Registers tests that close the log, for durable backends: all connections are closed between `before` and `after`. */
export const reopeningTestsOn =
  <S>(backend: Backend<S>) =>
  <A, B, E1, E2>(
    name: string,
    before: Effect.Effect<A, E1, S | Scope.Scope>,
    after: (a: A) => Effect.Effect<B, E2, S | Scope.Scope>
  ): void => {
    if (!backend.durable) return
    it.live(
      name,
      () =>
        Effect.gen(function* () {
          const { connect } = logOf(yield* backend.makeLog)
          const onConnection = <C, E>(self: Effect.Effect<C, E, S | Scope.Scope>) =>
            Effect.scoped(Effect.flatMap(connect, (services) => withServices(self, services)))
          const a = yield* onConnection(before)
          return yield* onConnection(after(a))
        }),
      TIMEOUT
    )
  }
