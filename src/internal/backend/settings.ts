/** Settings from the configuration, read the same way by all backends. */
import { Config, Duration, Option } from "effect"

/** A setting that may be left out. */
export const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/** A duration; a plain number is seconds. */
export const seconds = (name: string): Config.Config<Duration.Duration | undefined> =>
  optional(Config.orElse(Config.map(Config.Finite(name), Duration.seconds), () => Config.Duration(name)))

/** How long a lock is waited for; 0 is without end. */
export const lockTimeout = (name: string): Config.Config<Duration.Duration | undefined> =>
  Config.map(seconds(name), (duration) =>
    duration !== undefined && Duration.isZero(duration) ? Duration.infinity : duration
  )
