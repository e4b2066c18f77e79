/** Event sourcing on the backend that the configuration names. */
import { Config, ConfigProvider, Effect, Layer } from "effect"
import type { Options as SharedOptions } from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import { optional, read } from "../internal/backend/settings.ts"
import type * as Mapper from "../Mapper.ts"
import type { BackendOptions, Capability, LogServices, Provided } from "./backends.ts"
import { chooseBackend, loadLog } from "./backends.ts"
import type { MapperOptions } from "./ConfigMapper.ts"
import { encodingVariables, makeMapper } from "./ConfigMapper.ts"
import { nameProblems } from "./checkNames.ts"
import { problem, reported } from "./problem.ts"
import { prefixOf, variable, withVariables } from "./provider.ts"
import type { BackendName } from "./variables.ts"
import { synonyms } from "./variables.ts"

/**
 * What the program needs, and the defaults of its configuration. Variables that are set override the defaults.
 */
export interface ConfigOptions<Requires extends ReadonlyArray<Capability> = [], E = never, R = never>
  extends SharedOptions<E, R>,
    MapperOptions<E, R>,
    BackendOptions {
  /** `PERSISTENCE`. Default: none, so that the variable has to be set. */
  readonly persistence?: BackendName | undefined
  /**
   * The capabilities that the backend must have in addition to those of every backend: `MultiStreamAppend`,
   * `TrackedAppend`, `TransactionalAppend`, `StreamCatalog`. The layer then provides them, and a backend that lacks one
   * is refused. Default: none.
   */
  readonly requires?: Requires | undefined
  /**
   * How payloads are encoded. Default: as the configuration says; the variables for this can't be set together with
   * this option.
   */
  readonly mapper?: Layer.Layer<Mapper.Mapper, E, R>
}

/** What the configured layer provides: what any backend provides, and what the program requires. */
export type ConfigServices<Requires extends ReadonlyArray<Capability> = []> = LogServices | Provided<Requires[number]>

/**
 * The whole library on the backend that the configuration names.
 *
 * **When to use**
 *
 * Use this if the operator of the program chooses the backend. Use the layer of a backend (`SqliteLayer.config`, for
 * instance) if the program does.
 *
 * **Details**
 *
 * `PERSISTENCE` is `memory`, `sqlite`, `postgres` or `kurrent`. The variables of that backend are those of its `config`
 * layer. Besides, it reads those of {@link ConfigMapper}, and `CACHE_CAPACITY`, `SNAPSHOT_EVERY`, `PAGE_BYTES` and
 * `TAIL_BYTES`. docs/configuration.md describes all of them.
 *
 * With `application: "orders"` each variable is read as `ORDERS_…` first, then without that prefix.
 *
 * The layer provides what all backends provide. A program that needs more names it in `requires`.
 *
 * Misspelt variables, contradictory ones, and settings of the Python library `eventsourcing` fail with a `ConfigError`
 * that says what to use instead. The drivers of PostgreSQL and KurrentDB are loaded only if they are chosen.
 *
 * **Gotchas**
 *
 * Layers from two calls are two logs if the backend is `memory`: call it once, and share the layer. Inline projections
 * need a layer that is chosen in code.
 *
 * **Example** (Transactions on any backend that has them)
 *
 * ```ts
 * import { ConfigProvider, Effect, Layer } from "effect"
 * import { MultiStreamAppend, Repository } from "effect-eventsourcing"
 * import { ConfigLayer } from "effect-eventsourcing/config"
 *
 * const Live = ConfigLayer({
 *   application: "orders",
 *   persistence: "sqlite",
 *   sqlite: { filename: "orders.db" },
 *   requires: [MultiStreamAppend.MultiStreamAppend]
 * })
 *
 * const Test = ConfigProvider.layer(ConfigProvider.fromUnknown({ ORDERS_PERSISTENCE: "memory" }))
 *
 * const program = Repository.Repository.useSync(() => console.log("ready")) // prints: ready
 * Effect.runPromise(Effect.provide(program, Layer.provide(Live, Test)))
 * ```
 */
export const ConfigLayer = <const Requires extends ReadonlyArray<Capability> = [], E = never, R = never>(
  options: ConfigOptions<Requires, E, R> = {}
): Layer.Layer<ConfigServices<Requires>, RecorderError | Config.ConfigError | E, R> => {
  const prefix = prefixOf(options.application)
  const make = Effect.gen(function* () {
    const outer = yield* ConfigProvider.ConfigProvider
    const required = options.requires ?? []
    const backend = yield* chooseBackend("PERSISTENCE", options.persistence, required)
    yield* checkVariables(prefix, [backend])
    const shared = yield* sharedOptions(options)
    const log = yield* loadLog(backend, options, shared, required)
    // the backend reads its own variables when it is built
    return Layer.provide(log, ConfigProvider.layer(outer))
  })
  return reported(Layer.unwrap(withVariables(make, prefix)), prefix)
}

/** Fails if variables are set that have no effect or contradict each other. */
export const checkVariables = (
  prefix: string,
  used: ReadonlyArray<BackendName>
): Effect.Effect<void, Config.ConfigError> =>
  Effect.gen(function* () {
    const provider = yield* ConfigProvider.ConfigProvider
    const problems = [
      ...(yield* Effect.mapError(nameProblems(provider, prefix, used), ({ message, cause }) => problem(message, cause)))
    ]
    for (const [name, older] of used.includes("kurrent") ? synonyms : []) {
      const values = [yield* variable(name), yield* variable(older)]
      if (values.includes(undefined) || values[0] === values[1]) continue
      problems.push(`${name} and its older name ${older} are both set, and differ; remove ${older}`)
    }
    if (problems.length > 0) return yield* Effect.fail(problem(problems.join("\n")))
  })

/** The options of all backends, with the values that are set in the configuration. */
const sharedOptions = <E, R>(
  options: SharedOptions<E, R> & MapperOptions<E, R>
): Effect.Effect<SharedOptions<E | Config.ConfigError, R>, Config.ConfigError> =>
  Effect.gen(function* () {
    const { cacheCapacity, conflictRetry, pageBytes, snapshotEvery, tailBytes } = options
    const set = {
      cacheCapacity: yield* wholeNumber("CACHE_CAPACITY", 0),
      snapshotEvery: yield* wholeNumber("SNAPSHOT_EVERY", 0),
      pageBytes: yield* wholeNumber("PAGE_BYTES", 1),
      tailBytes: yield* wholeNumber("TAIL_BYTES", 0)
    }
    const every = set.snapshotEvery ?? snapshotEvery
    return {
      cacheCapacity: set.cacheCapacity ?? cacheCapacity,
      snapshotEvery: every === 0 ? undefined : every,
      pageBytes: set.pageBytes ?? pageBytes,
      tailBytes: set.tailBytes ?? tailBytes,
      ...(conflictRetry === undefined ? {} : { conflictRetry }),
      mapper: yield* chooseMapper(options)
    }
  })

const chooseMapper = <E, R>(
  options: SharedOptions<E, R> & MapperOptions<E, R>
): Effect.Effect<Layer.Layer<Mapper.Mapper, E | Config.ConfigError, R>, Config.ConfigError> =>
  Effect.gen(function* () {
    const { mapper } = options
    if (mapper === undefined) return yield* makeMapper(options)
    for (const name of encodingVariables) {
      if ((yield* variable(name)) === undefined) continue
      return yield* Effect.fail(
        problem(`${name} is set, but this program chooses its mapper in code (the option mapper); remove ${name}`)
      )
    }
    return mapper
  })

const wholeNumber = (name: string, least: number): Effect.Effect<number | undefined, Config.ConfigError> =>
  Effect.gen(function* () {
    const number = yield* read(optional(Config.Int(name)))
    if (number === undefined || number >= least) return number
    return yield* Effect.fail(problem(`${name} must be a whole number of at least ${least}, got ${number}`))
  })
