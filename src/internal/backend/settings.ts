/** Settings from the configuration, read the same way by all backends. */
import { Config, Duration, Effect, Option, Schema } from "effect"

/** A setting that may be left out. */
export const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/** A duration; a plain number is seconds. */
export const seconds = (name: string): Config.Config<Duration.Duration | undefined> =>
  optional(Config.orElse(Config.map(Config.Finite(name), Duration.seconds), () => Config.Duration(name)))

/** How long to wait for a lock; 0 means without limit. */
export const lockTimeout = (name: string): Config.Config<Duration.Duration | undefined> =>
  Config.map(seconds(name), (duration) =>
    duration !== undefined && Duration.isZero(duration) ? Duration.infinity : duration
  )

/** A setting with a default, if there is one. */
export const withDefault = <A>(config: Config.Config<A>, value: A | undefined): Config.Config<A> =>
  value === undefined ? config : Config.withDefault(config, value)

/** Options with the values that are set in the configuration; the defaults apply to the others. */
export const withDefaults = <Options extends object>(
  defaults: Options,
  configured: { readonly [K in keyof Options]?: Options[K] | undefined }
): Options => {
  const set = Object.entries(configured).filter(([, value]) => value !== undefined)
  return { ...defaults, ...Object.fromEntries(set) }
}

/** Effect's `ConfigError` is not an `Error`, so a promise that rejects with it is reported as `[object Object]`. */
export class ConfigError extends Error implements Config.ConfigError {
  readonly _tag = "ConfigError"
  declare readonly cause: Config.ConfigError["cause"]

  constructor({ cause }: Pick<Config.ConfigError, "cause">, message = messageOf(cause)) {
    super(message, { cause })
    this.name = "ConfigError"
  }
}

const messageOf = (cause: Config.ConfigError["cause"]): string => {
  const problem = Schema.isSchemaError(cause) ? cause.message.replaceAll(/\s*\n\s*/g, " ") : String(cause)
  return `a configuration variable is missing or invalid: ${problem}`
}

/** Reads settings. A missing or wrong one is named by an error that is readable wherever it is reported. */
export const read = <A>(config: Config.Config<A>): Effect.Effect<A, Config.ConfigError> =>
  Effect.mapError(config, (error) => new ConfigError(error))
