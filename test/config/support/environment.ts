/** Layers with an environment of their own. */
import { ConfigProvider, Effect, Layer } from "effect"

export type Environment = Readonly<Record<string, string>>

/** A layer that reads this environment. */
export const withEnvironment = <A, E, R>(layer: Layer.Layer<A, E, R>, env: Environment): Layer.Layer<A, E, R> =>
  Layer.provide(layer, ConfigProvider.layer(ConfigProvider.fromEnvRecord(env)))

/** The error of building a layer in this environment. */
export const problemOf = <A, E>(layer: Layer.Layer<A, E>, env: Environment): Effect.Effect<string, unknown> =>
  Effect.map(Effect.flip(Effect.scoped(Layer.build(withEnvironment(layer, env)))), (error) =>
    error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  )
