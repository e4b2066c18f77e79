/** Event sourcing in a PostgreSQL database. */
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import * as EventSourcing from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import { lockTimeout, optional, read, seconds, withDefaults } from "../internal/backend/settings.ts"
import type * as Projection from "../Projection.ts"
import { connectionConfig, layerClient, withoutPartsOf } from "./connect.ts"
import { lockTimeoutOf } from "./options.ts"
import type { ConnectionOptions, RecorderOptions } from "./PostgresOptions.ts"
import * as PostgresRecorder from "./PostgresRecorder.ts"
import * as PostgresViews from "./PostgresViews.ts"

/** How a log is stored in a database to which a connection exists. */
export interface LogOptions<E = never, R = never> extends RecorderOptions, EventSourcing.Options<E, R> {
  /**
   * Projections that are maintained in the transactions that append. When the layer is built, their views catch up to
   * the end of the log. From then on, anyone who appends to this log without them is refused. Default: none.
   */
  readonly inline?: ReadonlyArray<Projection.Inline> | undefined
  /** The schema of those views: the option `schema` of `PostgresViews`. Default `public`. */
  readonly viewsSchema?: string | undefined
}

/** How to connect to a database, and how the log is stored in it. */
export interface PostgresOptions<E = never, R = never> extends ConnectionOptions, LogOptions<E, R> {}

/** What the PostgreSQL layer provides. */
export type PostgresServices = EventSourcing.EventSourcing | PostgresRecorder.Services

/**
 * The whole library on a PostgreSQL database, shared by any number of processes.
 *
 * **When to use**
 *
 * Use this if several machines share the log, or if views and events should be in one database. Use
 * `PostgresLayer.fromClient` if the program already has a client, and `PostgresLayer.config` to take the options from
 * the configuration.
 *
 * **Details**
 *
 * Guarantees: G1 to G5, G7 to G11. An invalid configuration (password, database, privileges, tables) fails with
 * `RecorderFailure` when the layer is built. A server that can't be reached for about two seconds fails it with
 * `RecorderUnavailable`.
 *
 * **Example** (The position of the last event)
 *
 * ```ts
 * import { Config, Effect, Redacted } from "effect"
 * import { EventStore } from "effect-eventsourcing"
 * import { PostgresLayer } from "effect-eventsourcing/postgres"
 *
 * const program = Effect.gen(function*() {
 *   const url = yield* Config.Redacted("POSTGRES_URL")
 *   return yield* EventStore.EventStore.use((store) => store.head).pipe(
 *     Effect.provide(PostgresLayer({ url, schema: "example" }))
 *   )
 * })
 *
 * Effect.runPromise(program).then((head) => {
 *   console.log(head) // prints: undefined
 * })
 * ```
 */
export const PostgresLayer = <E = never, R = never>(
  options: PostgresOptions<E, R>
): Layer.Layer<PostgresServices, RecorderError | E, R> =>
  Layer.provide(PostgresLayer.fromClient(options), layerClient(options))

/**
 * {@link PostgresLayer} on a client that the program already has (`PgClient.layer` of `@effect/sql-pg`).
 *
 * **When to use**
 *
 * Use this if the program has tables of its own in the database. An append inside `withTransaction` of that client is
 * part of the transaction.
 */
PostgresLayer.fromClient = <E = never, R = never>(
  options: LogOptions<E, R> = {}
): Layer.Layer<PostgresServices, RecorderError | E, R | PgClient.PgClient> =>
  Layer.provideMerge(EventSourcing.layer(options), layerRecorders(options))

const layerRecorders = <E, R>(
  options: LogOptions<E, R>
): Layer.Layer<PostgresRecorder.Services, RecorderError | E, R | PgClient.PgClient> => {
  const recorders = PostgresRecorder.layer(options)
  const { inline = [], schema = "public", viewsSchema = "public" } = options
  if (inline.length === 0) return recorders
  return Layer.unwrap(
    Effect.map(PgClient.PgClient, (client) => {
      const database = Effect.gen(function* () {
        const store = yield* PostgresViews.make(client, { schema: viewsSchema })
        const lockTimeout = yield* lockTimeoutOf(options.lockTimeout)
        return PostgresViews.inlineDatabase(client, { schema, viewsSchema, lockTimeout }, store)
      })
      return EventSourcing.layerInline<PostgresRecorder.Services, E, R, RecorderError>(inline, database, options)
    })
  ).pipe(Layer.provide(recorders))
}

/**
 * {@link PostgresLayer} with options from the configuration.
 *
 * **Details**
 *
 * It reads `POSTGRES_URL`, or `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_DBNAME`, `POSTGRES_USER` and
 * `POSTGRES_PASSWORD`. It also reads these, if they are set: `POSTGRES_SCHEMA`, `POSTGRES_CREATE_TABLE` (a boolean),
 * `POSTGRES_LOCK_TIMEOUT`, `POSTGRES_CONNECT_TIMEOUT`, `POSTGRES_CONN_MAX_AGE`, `POSTGRES_POLL_INTERVAL` (durations
 * such as `5 seconds`; a plain number is seconds), `POSTGRES_POOL_SIZE` and `POSTGRES_LISTEN` (a boolean).
 *
 * A lock timeout of 0 waits indefinitely. Variables that are not set have the value in `defaults`, which may contain
 * all options of the layer, including `inline`.
 */
PostgresLayer.config = <E = never, R = never>(
  defaults: PostgresOptions<E, R> = {}
): Layer.Layer<PostgresServices, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(read(Config.all([connectionConfig, logConfig])), ([connection, log]) =>
      PostgresLayer<E, R>(withDefaults(withoutPartsOf(defaults, connection), { ...connection, ...log }))
    )
  )

const logConfig = Config.all({
  schema: optional(Config.String("POSTGRES_SCHEMA")),
  createTables: optional(Config.Boolean("POSTGRES_CREATE_TABLE")),
  lockTimeout: lockTimeout("POSTGRES_LOCK_TIMEOUT"),
  pollInterval: seconds("POSTGRES_POLL_INTERVAL"),
  listen: optional(Config.Boolean("POSTGRES_LISTEN"))
})
