/** A place for views on the backend that the configuration names. */
import type { Config } from "effect"
import { ConfigProvider, Effect, Layer } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import type { SqlViewStore } from "../ViewStore.ts"
import type { ViewsBackendOptions } from "./backends.ts"
import { chooseBackend, loadViews } from "./backends.ts"
import { checkVariables } from "./ConfigLayer.ts"
import { problem, reported } from "./problem.ts"
import { prefixOf, variable, withVariables } from "./provider.ts"

/** The defaults of the configuration. Variables that are set override them. */
export interface ConfigViewsOptions extends ViewsBackendOptions {
  /** The name of the application, in capitals the prefix of its variables. Default: none. */
  readonly application?: string | undefined
  /** `VIEWS_PERSISTENCE`. Default: that of the log (`PERSISTENCE`). */
  readonly persistence?: "memory" | "sqlite" | "postgres" | undefined
}

/**
 * Views as tables in the backend that the configuration names.
 *
 * **When to use**
 *
 * Use this beside `ConfigLayer`, for projections with `Projection.sql`.
 *
 * **Details**
 *
 * `VIEWS_PERSISTENCE` is `sqlite`, `postgres`, or `memory`: a SQLite database in memory, which is gone when the process
 * ends. If it is not set, the views are on the backend that `PERSISTENCE` names. The variables of the backend are those
 * of `SqliteViews.config` and `PostgresViews.config`.
 *
 * **Gotchas**
 *
 * KurrentDB has no place for views: with `PERSISTENCE=kurrent`, `VIEWS_PERSISTENCE` has to be set.
 *
 * **Example** (A log and its views)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { ConfigLayer, ConfigViews } from "effect-eventsourcing/config"
 *
 * const options = { persistence: "sqlite", sqlite: { filename: "school.db" } } as const
 * export const Live = Layer.merge(ConfigLayer(options), ConfigViews(options))
 * ```
 */
export const ConfigViews = (
  options: ConfigViewsOptions = {}
): Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError> => {
  const prefix = prefixOf(options.application)
  const make = Effect.gen(function* () {
    const provider = yield* ConfigProvider.ConfigProvider
    const own = yield* variable("VIEWS_PERSISTENCE")
    const backend = yield* chooseBackend(
      own === undefined ? "PERSISTENCE" : "VIEWS_PERSISTENCE",
      options.persistence,
      []
    )
    if (backend === "kurrent") {
      return yield* Effect.fail(
        problem("KurrentDB has no place for views; set VIEWS_PERSISTENCE to sqlite, postgres or memory")
      )
    }
    yield* checkVariables(prefix, [backend])
    return Layer.provide(yield* loadViews(backend, options), ConfigProvider.layer(provider))
  })
  return reported(Layer.unwrap(withVariables(make, prefix)), prefix)
}
