/** Event sourcing on a KurrentDB server. */
import type { Redacted } from "effect"
import { Config, Effect, Layer } from "effect"
import * as EventSourcing from "../../EventSourcing.ts"
import type { RecorderError } from "../../EventSourcingError.ts"
import { optional, read, seconds, withDefault, withDefaults } from "../../internal/backend/settings.ts"
import type { MultiStreamAppend } from "../../MultiStreamAppend.ts"
import { Connected, layerConnected } from "../client/Connected.ts"
import type { ConnectionOptions } from "../client/connect.ts"
import * as KurrentRecorder from "./KurrentRecorder.ts"
import { toRecorderError } from "./recorderErrors.ts"

/** How a log is kept on a server that is connected to already. */
export interface LogOptions<E = never, R = never> extends KurrentRecorder.Options, EventSourcing.Options<E, R> {}

/** How a server is connected to, and what is kept on it. */
export interface KurrentOptions<E = never, R = never> extends ConnectionOptions, LogOptions<E, R> {}

/** What the KurrentDB layer provides. */
export type KurrentServices = EventSourcing.EventSourcing | KurrentRecorder.Services

/**
 * The whole library on a KurrentDB server, shared by any number of processes.
 *
 * Guarantees: G1 to G5, G7 to G11. What is wrong with the configuration (the connection string, a certificate, credentials)
 * is a `RecorderFailure` when the layer is built; a server that can't be reached for about two seconds is
 * `RecorderUnavailable`.
 *
 * @example
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
 * {@link KurrentLayer} with appends to several streams at once (`Repository.transact`, `MultiStreamAppend`), which KurrentDB
 * has from 25.1 on; an older server is a `RecorderFailure` when the layer is built. To check streams that are not appended
 * to it has to be 26.1; before, such an append is a `RecorderFailure`.
 */
KurrentLayer.multiStream = <E = never, R = never>(
  options: KurrentOptions<E, R>
): Layer.Layer<KurrentServices | MultiStreamAppend, RecorderError | E, R> =>
  Layer.provideMerge(
    EventSourcing.layer(options),
    Layer.provide(KurrentRecorder.layerMultiStream(options), connected(options))
  )

/**
 * {@link KurrentLayer} from the configuration: `KURRENTDB_URI` (or `EVENTSTOREDB_URI`), and where they are set
 * `KURRENTDB_ROOT_CERTIFICATES` (or `EVENTSTOREDB_ROOT_CERTIFICATES`; PEM, or a path), `KURRENTDB_USERNAME`,
 * `KURRENTDB_PASSWORD`, `KURRENTDB_PREFIX`, `KURRENTDB_DEADLINE` and `KURRENTDB_CONNECT_TIMEOUT` (durations such as
 * `5 seconds`; a plain number is seconds). What is not set is as in `defaults`, which are all options of the layer.
 */
KurrentLayer.config = <E = never, R = never>(
  defaults: Partial<KurrentOptions<E, R>> = {}
): Layer.Layer<KurrentServices, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(read(kurrentConfig(defaults)), ({ connectionString, ...others }) =>
      KurrentLayer<E, R>({ ...withDefaults(defaults, others), connectionString })
    )
  )

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
      // without either, the error is that of the newer name
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
