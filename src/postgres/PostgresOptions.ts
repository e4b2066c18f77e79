/** The options of a PostgreSQL log and of views. Their types do not need the driver, which may not be installed. */
import type * as Tls from "node:tls"
import type { Duration, Effect, Redacted } from "effect"

/** How to connect to a database. Separate options take precedence over the URL. */
export interface ConnectionOptions {
  /**
   * A URL like those of libpq: `postgresql://user:password@host:port/database?sslmode=require`. Supported parameters:
   * `host`, `port`, `user`, `password`, `dbname`, `application_name`, `options`, `connect_timeout` (seconds),
   * `sslmode`. Any other is refused by name.
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
  /** The password, or an effect that runs for each new connection, for passwords that change. Default: none. */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted> | undefined
  /**
   * TLS: whether to use it, or how (like in `node:tls`). Certificates are verified. Default: `sslmode` in the URL,
   * otherwise no TLS.
   */
  readonly ssl?: boolean | Tls.ConnectionOptions | undefined
  /** How long connecting may take. Default 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * After how long without traffic TCP probes whether the other side is still there; at least 1 second. Default: never.
   */
  readonly keepAlive?: Duration.Input | undefined
  /** The most connections of the pool, not counting the listening one. Default 10. */
  readonly maxConnections?: number | undefined
  /** How many connections are kept while the pool is idle. Default 0. */
  readonly minConnections?: number | undefined
  /** After how long an unused connection is closed. Default 60 seconds. */
  readonly idleTimeout?: Duration.Input | undefined
  /** After how long a connection is replaced when it is next used. Default: never. */
  readonly connectionTTL?: Duration.Input | undefined
  /** The name of the connections in the server's views. Default: that of the URL, otherwise `effect-eventsourcing`. */
  readonly applicationName?: string | undefined
  /** Whether each connection prepares statements once. Default true; see docs/postgres.md for poolers. */
  readonly prepare?: boolean | undefined
}

/** How a log is stored in a database. */
export interface DatabaseOptions {
  /** The schema of the log. Logs in different schemas are independent of each other. Default `public`. */
  readonly schema?: string | undefined
  /**
   * Whether building the layer creates what is missing: the schema, its tables and functions. Default true. If it is
   * false, run the SQL that `schemaSql` returns yourself.
   */
  readonly createTables?: boolean | undefined
  /**
   * How long an append waits for the position lock, which a transaction of your own holds from its append to its end.
   * After that it fails with `RecorderUnavailable`, which names the holder of the lock. Default 5 seconds; at least 1
   * ms, or `Infinity`.
   */
  readonly lockTimeout?: Duration.Input | undefined
}

/** How a PostgreSQL log is stored and followed. */
export interface RecorderOptions extends DatabaseOptions {
  /**
   * Whether followers are woken by `LISTEN`, on one connection of its own for each process that follows. Default true.
   * Set it to false if there is a pooler in transaction mode in between, through which no notification arrives.
   */
  readonly listen?: boolean | undefined
  /** How often a process with followers looks for events of which it was not notified. Default 1 second. */
  readonly pollInterval?: Duration.Input | undefined
}

/** Where views are in a database. */
export interface ViewsOptions {
  /**
   * The schema of the library's own tables (`projection_tracking`, `projection_leases`, `projection_dead_letters`),
   * created if it does not exist. Default `public`. The tables of each version of a projection are in a schema of their
   * own, named `<projection>_v<version>`, or `<schema>_<projection>_v<version>` if this schema is not `public`.
   */
  readonly schema?: string | undefined
  /**
   * How long a transaction on a view waits for a lock, on the library's rows or on yours, before it is abandoned and
   * retried. Default 10 seconds; at least 1 ms, or `Infinity`.
   */
  readonly lockTimeout?: Duration.Input | undefined
}
