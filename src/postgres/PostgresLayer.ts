/** Event sourcing in a PostgreSQL database. */
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer } from "effect"
import * as EventSourcing from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import { lockTimeout, optional, read, seconds, withDefaults } from "../internal/backend/settings.ts"
import type * as Projection from "../Projection.ts"
import type { ConnectionOptions } from "./connect.ts"
import { connectionConfig, layerClient } from "./connect.ts"
import { milliseconds } from "./options.ts"
import * as PostgresRecorder from "./PostgresRecorder.ts"
import * as PostgresViews from "./PostgresViews.ts"

/** How a log is kept in a database that is connected to already. */
export interface LogOptions<E = never, R = never> extends PostgresRecorder.Options, EventSourcing.Options<E, R> {
  /**
   * Projections that are kept up in the transactions that append. When the layer is built, their views are brought to the end
   * of the log; from then on whoever appends to this log without them is refused. Default: none.
   */
  readonly inline?: ReadonlyArray<Projection.Inline> | undefined
  /** Where those views are: the option `schema` of `PostgresViews`. Default `public`. */
  readonly viewsSchema?: string | undefined
}

/** How a database is connected to, and what is kept in it. */
export interface PostgresOptions<E = never, R = never> extends ConnectionOptions, LogOptions<E, R> {}

/** What the PostgreSQL layer provides. */
export type PostgresServices = EventSourcing.EventSourcing | PostgresRecorder.Services

/**
 * The whole library on a PostgreSQL database, shared by any number of processes.
 *
 * Guarantees: G1 to G5, G7 to G11. What is wrong with the configuration (password, database, rights, tables) is a
 * `RecorderFailure` when the layer is built; a server that can't be reached for about two seconds is `RecorderUnavailable`.
 *
 * @example
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
 * {@link PostgresLayer} on a client that the program has already (`PgClient.layer` of `@effect/sql-pg`), for its own tables
 * too. An append inside `withTransaction` of that client is part of the transaction.
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
        const waits = yield* milliseconds("lockTimeout", options.lockTimeout ?? "5 seconds", {
          least: 1,
          endless: true
        })
        const lockTimeout = Number.isFinite(waits) ? Math.floor(waits) : 0
        return PostgresViews.inlineDatabase(client, { schema, viewsSchema, lockTimeout }, store)
      })
      return EventSourcing.layerInline<PostgresRecorder.Services, E, R, RecorderError>(inline, database, options)
    })
  ).pipe(Layer.provide(recorders))
}

/**
 * {@link PostgresLayer} from the configuration: `POSTGRES_URL`, or `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_DBNAME`,
 * `POSTGRES_USER`, `POSTGRES_PASSWORD`; and where they are set `POSTGRES_SCHEMA`, `POSTGRES_CREATE_TABLE` (a boolean),
 * `POSTGRES_LOCK_TIMEOUT`, `POSTGRES_CONNECT_TIMEOUT`, `POSTGRES_CONN_MAX_AGE`, `POSTGRES_POLL_INTERVAL` (durations such as
 * `5 seconds`; a plain number is seconds), `POSTGRES_POOL_SIZE`, `POSTGRES_LISTEN` (a boolean). A lock timeout of 0 waits
 * without end. What is not set is as in `defaults`, which are all options of the layer, `inline` too.
 */
PostgresLayer.config = <E = never, R = never>(
  defaults: PostgresOptions<E, R> = {}
): Layer.Layer<PostgresServices, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(read(Config.all([connectionConfig, logConfig])), ([connection, log]) =>
      PostgresLayer<E, R>(withDefaults(defaults, { ...connection, ...log }))
    )
  )

const logConfig = Config.all({
  schema: optional(Config.String("POSTGRES_SCHEMA")),
  createTables: optional(Config.Boolean("POSTGRES_CREATE_TABLE")),
  lockTimeout: lockTimeout("POSTGRES_LOCK_TIMEOUT"),
  pollInterval: seconds("POSTGRES_POLL_INTERVAL"),
  listen: optional(Config.Boolean("POSTGRES_LISTEN"))
})
