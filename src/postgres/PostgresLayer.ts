/** Event sourcing in a PostgreSQL database. */
import { PgClient } from "@effect/sql-pg"
import { Config, Duration, Effect, Layer, Option, Redacted } from "effect"
import * as EventSourcing from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { toRecorderError } from "./errors.ts"
import { checkCount, milliseconds } from "./options.ts"
import * as PostgresRecorder from "./PostgresRecorder.ts"

/** How a database is connected to. What is given by itself takes precedence over what is in the URL. */
export interface ConnectionOptions {
  /**
   * A URL as of libpq: `postgresql://user:password@host:port/database?sslmode=require`. Parameters that are understood:
   * `host`, `port`, `user`, `password`, `dbname`, `application_name`, `options`, `connect_timeout` (seconds), `sslmode`.
   */
  readonly url?: Redacted.Redacted | string | undefined
  /** A host name, an address, or the directory of a Unix socket (`/run/postgresql`). Default `localhost`. */
  readonly host?: string | undefined
  /** Default 5432. */
  readonly port?: number | undefined
  /** Default: the name of the user. */
  readonly database?: string | undefined
  /** Default: the user of the operating system. */
  readonly username?: string | undefined
  /** The password, or an effect that is run for each new connection, for passwords that change. Default: none. */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted> | undefined
  /** TLS: whether, or how (as of `node:tls`). Certificates are verified. Default: as `sslmode` in the URL says, else not. */
  readonly ssl?: PgClient.PgClientConfig["ssl"]
  /** How long connecting may take. Default 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** After how long without traffic TCP asks whether the other side is there; from 1 second. Default: not at all. */
  readonly keepAlive?: Duration.Input | undefined
  /** The most connections of the pool, the listening one not counted. Default 10. */
  readonly maxConnections?: number | undefined
  /** How many connections are kept when there is nothing to do. Default 0. */
  readonly minConnections?: number | undefined
  /** After how long without use a connection is closed. Default 60 seconds. */
  readonly idleTimeout?: Duration.Input | undefined
  /** After how long a connection is replaced, when it is next used. Default: never. */
  readonly connectionTTL?: Duration.Input | undefined
  /** What the server's views call the connections. Default: as the URL says, else `effect-eventsourcing`. */
  readonly applicationName?: string | undefined
  /** Whether statements are prepared once for each connection. Default true; see docs/postgres.md for poolers. */
  readonly prepare?: boolean | undefined
}

/** How a log is kept in a database that is connected to already. */
export interface LogOptions<E = never, R = never> extends PostgresRecorder.Options, EventSourcing.Options<E, R> {}

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
  Layer.provideMerge(EventSourcing.layer(options), PostgresRecorder.layer(options))

/**
 * {@link PostgresLayer} from the configuration: `POSTGRES_URL`, or `POSTGRES_HOST`, `POSTGRES_PORT`, `POSTGRES_DBNAME`,
 * `POSTGRES_USER`, `POSTGRES_PASSWORD`; and where they are set `POSTGRES_SCHEMA`, `POSTGRES_CREATE_TABLE` (a boolean),
 * `POSTGRES_LOCK_TIMEOUT`, `POSTGRES_CONNECT_TIMEOUT`, `POSTGRES_CONN_MAX_AGE`, `POSTGRES_POLL_INTERVAL` (durations such as
 * `5 seconds`; a plain number is seconds), `POSTGRES_POOL_SIZE`, `POSTGRES_LISTEN` (a boolean). A lock timeout of 0 waits
 * without end.
 */
PostgresLayer.config = <E = never, R = never>(
  options: EventSourcing.Options<E, R> = {}
): Layer.Layer<PostgresServices, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(postgresConfig, ({ lockTimeout, ...configured }) =>
      PostgresLayer({
        ...options,
        ...configured,
        lockTimeout: lockTimeout !== undefined && Duration.isZero(lockTimeout) ? Duration.infinity : lockTimeout
      })
    )
  )

const optional = <A>(config: Config.Config<A>): Config.Config<A | undefined> =>
  Config.map(Config.option(config), Option.getOrUndefined)

/** A duration; a plain number is seconds. */
const seconds = (name: string): Config.Config<Duration.Duration | undefined> =>
  optional(Config.orElse(Config.map(Config.Finite(name), Duration.seconds), () => Config.Duration(name)))

const postgresConfig = Config.all({
  url: optional(Config.Redacted("POSTGRES_URL")),
  host: optional(Config.String("POSTGRES_HOST")),
  port: optional(Config.Port("POSTGRES_PORT")),
  database: optional(Config.String("POSTGRES_DBNAME")),
  username: optional(Config.String("POSTGRES_USER")),
  password: optional(Config.Redacted("POSTGRES_PASSWORD")),
  schema: optional(Config.String("POSTGRES_SCHEMA")),
  createTables: optional(Config.Boolean("POSTGRES_CREATE_TABLE")),
  lockTimeout: seconds("POSTGRES_LOCK_TIMEOUT"),
  connectTimeout: seconds("POSTGRES_CONNECT_TIMEOUT"),
  connectionTTL: seconds("POSTGRES_CONN_MAX_AGE"),
  pollInterval: seconds("POSTGRES_POLL_INTERVAL"),
  maxConnections: optional(Config.Int("POSTGRES_POOL_SIZE")),
  listen: optional(Config.Boolean("POSTGRES_LISTEN"))
})

/** The largest row of PostgreSQL. */
const MAX_MESSAGE = 2 ** 30

const layerClient = ({
  url,
  applicationName,
  ...rest
}: ConnectionOptions): Layer.Layer<PgClient.PgClient, RecorderError> =>
  Layer.unwrap(
    Effect.suspend(() => {
      const text = typeof url === "string" ? url : url === undefined ? undefined : Redacted.value(url)
      if (text !== undefined && !isPostgresUrl(text)) {
        // without its text: there is a password in it
        const reason = "the option url is no URL of the form postgresql://user:password@host:port/database"
        return Effect.fail(new RecorderFailure({ operation: "connect to PostgreSQL", reason }))
      }
      return Effect.as(
        checkConnection(rest),
        PgClient.layerFrom(
          Effect.mapError(
            PgClient.make({
              ...connectionOf(rest),
              url: text === undefined ? undefined : Redacted.make(text),
              applicationName: applicationName ?? (isNamed(text) ? undefined : "effect-eventsourcing"),
              maxMessageSize: MAX_MESSAGE
            }),
            (error) => toRecorderError("connect to PostgreSQL", error)
          )
        )
      )
    })
  )

/** Whether the URL says what the connections are called. */
const isNamed = (url: string | undefined): boolean =>
  url !== undefined && new URL(url).searchParams.has("application_name")

const checkConnection = (options: ConnectionOptions) =>
  Effect.all([
    checkCount("port", options.port, 1),
    checkCount("maxConnections", options.maxConnections, 1),
    checkCount("minConnections", options.minConnections, 0),
    milliseconds("connectTimeout", options.connectTimeout, { least: 1, endless: true }),
    milliseconds("keepAlive", options.keepAlive, { least: 1000 }),
    milliseconds("idleTimeout", options.idleTimeout, { least: 0, endless: true }),
    milliseconds("connectionTTL", options.connectionTTL, { least: 0, endless: true })
  ])

const isPostgresUrl = (text: string): boolean => /^postgres(ql)?:\/\//.test(text) && URL.canParse(text)

/** Only what is of the connection: the options of the log are none of the client's business. */
const connectionOf = (options: Omit<ConnectionOptions, "url" | "applicationName">): PgClient.PgPoolConfig => {
  const { host, port, database, username, password, ssl, connectTimeout, keepAlive } = options
  const { maxConnections, minConnections, idleTimeout, connectionTTL, prepare } = options
  return {
    ...{ host, port, database, username, password, ssl, connectTimeout, keepAlive },
    ...{ maxConnections, minConnections, idleTimeout, connectionTTL, prepare }
  }
}
