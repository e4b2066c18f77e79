/** Event sourcing on a KurrentDB server. */
import { Config, Effect, Layer, Redacted } from "effect"
import * as EventSourcing from "../../EventSourcing.ts"
import type { RecorderError } from "../../EventSourcingError.ts"
import { optional, read, seconds, withDefault, withDefaults } from "../../internal/backend/settings.ts"
import { Connected, layerConnected } from "../client/Connected.ts"
import type { ConnectionOptions } from "../client/ConnectionOptions.ts"
import * as KurrentRecorder from "./KurrentRecorder.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** How a log is stored on a server to which a connection exists. */
export interface LogOptions<E = never, R = never> extends KurrentRecorder.Options, EventSourcing.Options<E, R> {}

/** How to connect to a server, and how the log is stored on it. */
export interface KurrentOptions<E = never, R = never> extends ConnectionOptions, LogOptions<E, R> {}

/** What the KurrentDB layer provides. */
export type KurrentServices = EventSourcing.EventSourcing | KurrentRecorder.Services

/**
 * The whole library on a KurrentDB server, shared by any number of processes.
 *
 * **When to use**
 *
 * Use this if the events belong on a KurrentDB server. Use `KurrentLayer.multiStream` for transactions over several
 * aggregates, and `KurrentLayer.config` to take the options from the configuration.
 *
 * **Details**
 *
 * Guarantees: G1 to G5, G7 to G11. An invalid configuration (the connection string, a certificate, credentials) fails
 * with `RecorderFailure` when the layer is built. A server that can't be reached for about two seconds fails it with
 * `RecorderUnavailable`.
 *
 * **Gotchas**
 *
 * Inline projections are not available: the log and the views are not in one database.
 *
 * **Example** (The position of the last event)
 *
 * ```ts
 * import { Config, Effect } from "effect"
 * import { EventStore } from "effect-eventsourcing"
 * import { KurrentLayer } from "effect-eventsourcing/kurrent"
 *
 * const program = Effect.gen(function*() {
 *   const connectionString = yield* Config.Redacted("KURRENTDB_URI")
 *   return yield* EventStore.EventStore.use((store) => store.head).pipe(
 *     Effect.provide(KurrentLayer({ connectionString, prefix: "example." }))
 *   )
 * })
 *
 * Effect.runPromise(program).then((head) => {
 *   console.log(head) // prints: undefined
 * })
 * ```
 */
export const KurrentLayer = <E = never, R = never>(
  options: KurrentOptions<E, R>
): Layer.Layer<KurrentServices, RecorderError | E, R> =>
  Layer.provideMerge(EventSourcing.layer(options), Layer.provide(KurrentRecorder.layer(options), connected(options)))

/**
 * {@link KurrentLayer} with options from the configuration.
 *
 * **Details**
 *
 * It reads `KURRENTDB_URI` (or `EVENTSTOREDB_URI`) and, if they are set, `KURRENTDB_ROOT_CERTIFICATES` (or
 * `EVENTSTOREDB_ROOT_CERTIFICATES`; PEM, or a path), `KURRENTDB_USERNAME`, `KURRENTDB_PASSWORD`, `KURRENTDB_PREFIX`,
 * `KURRENTDB_DEADLINE` and `KURRENTDB_CONNECT_TIMEOUT` (durations such as `5 seconds`; a plain number is seconds).
 * Variables that are not set have the value in `defaults`, which may contain all options of the layer.
 */
KurrentLayer.config = <E = never, R = never>(
  defaults: Partial<KurrentOptions<E, R>> = {}
): Layer.Layer<KurrentServices, RecorderError | Config.ConfigError | E, R> => configured(defaults, KurrentLayer<E, R>)

const multiStream = <E = never, R = never>(
  options: KurrentOptions<E, R>
): Layer.Layer<KurrentServices | KurrentRecorder.MultiStreamServices, RecorderError | E, R> =>
  Layer.provideMerge(
    EventSourcing.layer(options),
    Layer.provide(KurrentRecorder.layerMultiStream(options), connected(options))
  )

/** `KurrentLayer.multiStream` with options from the configuration: the same variables and defaults as `KurrentLayer.config`. */
multiStream.config = <E = never, R = never>(
  defaults: Partial<KurrentOptions<E, R>> = {}
): Layer.Layer<KurrentServices | KurrentRecorder.MultiStreamServices, RecorderError | Config.ConfigError | E, R> =>
  configured(defaults, multiStream<E, R>)

/**
 * {@link KurrentLayer} with appends to several streams at once, for `Repository.transaction`, `MultiStreamAppend` and
 * `TrackedAppend`. `KurrentLayer.multiStream.config` takes the options from the configuration.
 *
 * **Gotchas**
 *
 * KurrentDB supports these from 25.1 on; with an older server, building the layer fails with `RecorderFailure`.
 * Checking streams that are not appended to requires 26.1; with an older server, such an append fails with
 * `RecorderFailure`.
 */
KurrentLayer.multiStream = multiStream

/** The layer with options from the configuration. */
const configured = <Services, E, R>(
  defaults: Partial<KurrentOptions<E, R>>,
  layer: (options: KurrentOptions<E, R>) => Layer.Layer<Services, RecorderError | E, R>
): Layer.Layer<Services, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(read(kurrentConfig(defaults)), ({ connectionString, ...others }) => {
      const own = connectionString !== defaults.connectionString && hasLogin(connectionString)
      // otherwise the user given in code would override the one in the variable
      const login = own ? { username: undefined, password: undefined } : {}
      return layer({
        ...withDefaults<Partial<KurrentOptions<E, R>>>({ ...defaults, ...login }, others),
        connectionString
      })
    })
  )

/** Whether a connection string has a user in it. */
const hasLogin = (connectionString: Redacted.Redacted | string): boolean =>
  /^[^:/]+:\/\/[^/?]*@/.test(typeof connectionString === "string" ? connectionString : Redacted.value(connectionString))

const connected = (options: ConnectionOptions): Layer.Layer<Connected, RecorderError> =>
  Layer.unwrap(
    Effect.succeed(
      Layer.catch(layerConnected(options), (error) =>
        Layer.effect(Connected, Effect.fail(toRecorderError(error.operation, error)))
      )
    )
  )

const kurrentConfig = ({ connectionString }: Partial<ConnectionOptions>) =>
  Config.all({
    connectionString: withDefault<Redacted.Redacted | string>(
      // if neither is set, the error names the newer variable
      Config.Redacted("KURRENTDB_URI").pipe(
        Config.orElse(() => Config.Redacted("EVENTSTOREDB_URI")),
        Config.orElse(() => Config.Redacted("KURRENTDB_URI"))
      ),
      connectionString
    ),
    rootCertificate: optional(
      Config.orElse(Config.String("KURRENTDB_ROOT_CERTIFICATES"), () => Config.String("EVENTSTOREDB_ROOT_CERTIFICATES"))
    ),
    username: optional(Config.String("KURRENTDB_USERNAME")),
    password: optional(Config.Redacted("KURRENTDB_PASSWORD")),
    prefix: optional(Config.String("KURRENTDB_PREFIX")),
    deadline: seconds("KURRENTDB_DEADLINE"),
    connectTimeout: seconds("KURRENTDB_CONNECT_TIMEOUT")
  })
