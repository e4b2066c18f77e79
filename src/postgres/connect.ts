/** How to connect to a PostgreSQL database: options, configuration, client. */
import { PgClient } from "@effect/sql-pg"
import { Config, Effect, Layer, Redacted } from "effect"
import type { RecorderError } from "../EventSourcingError.ts"
import { RecorderFailure } from "../EventSourcingError.ts"
import { optional, seconds } from "../internal/backend/settings.ts"
import { toOpeningError } from "./errors.ts"
import { checkCount, milliseconds } from "./options.ts"
import type { ConnectionOptions } from "./PostgresOptions.ts"

/** The configuration variables for connecting. */
export const connectionConfig = Config.all({
  url: optional(Config.Redacted("POSTGRES_URL")),
  host: optional(Config.String("POSTGRES_HOST")),
  port: optional(Config.Port("POSTGRES_PORT")),
  database: optional(Config.String("POSTGRES_DBNAME")),
  username: optional(Config.String("POSTGRES_USER")),
  password: optional(Config.Redacted("POSTGRES_PASSWORD")),
  connectTimeout: seconds("POSTGRES_CONNECT_TIMEOUT"),
  connectionTTL: seconds("POSTGRES_CONN_MAX_AGE"),
  maxConnections: optional(Config.Int("POSTGRES_POOL_SIZE"))
})

/** Which options in a URL correspond to an option, besides the parameters with these names. */
const partsOf = (url: URL): { readonly [K in keyof ConnectionOptions]?: boolean } => {
  const has = (...names: ReadonlyArray<string>) => names.some((name) => url.searchParams.has(name))
  const host = url.hostname !== "" || has("host")
  return {
    host,
    // a port belongs to a host
    port: host || url.port !== "" || has("port"),
    database: url.pathname.length > 1 || has("dbname"),
    username: url.username !== "" || has("user"),
    password: url.password !== "" || has("password"),
    applicationName: has("application_name"),
    connectTimeout: has("connect_timeout"),
    ssl: has("sslmode")
  }
}

/** The defaults without those that a configured URL decides: otherwise they would override it. */
export const withoutPartsOf = <Options extends ConnectionOptions>(
  defaults: Options,
  { url }: { readonly url?: Redacted.Redacted | undefined }
): Options => {
  const text = url === undefined ? "" : Redacted.value(url)
  if (!isPostgresUrl(text)) return defaults
  const decided = Object.entries(partsOf(new URL(text))).filter(([, isDecided]) => isDecided)
  return { ...defaults, ...Object.fromEntries(decided.map(([name]) => [name, undefined])) }
}

/** The largest row that PostgreSQL sends. */
const MAX_MESSAGE = 2 ** 30

/** The client of a database. */
export const layerClient = ({
  url,
  applicationName,
  ...rest
}: ConnectionOptions): Layer.Layer<PgClient.PgClient, RecorderError> =>
  Layer.unwrap(
    Effect.suspend(() => {
      const text = typeof url === "string" ? url : url === undefined ? undefined : Redacted.value(url)
      if (text !== undefined && !isPostgresUrl(text)) {
        // without its text, since it contains a password
        const reason = "the option url must be of the form postgresql://user:password@host:port/database"
        return Effect.fail(new RecorderFailure({ operation: "connect to PostgreSQL", reason }))
      }
      const refused = text === undefined ? undefined : refusedParameter(new URL(text))
      if (refused !== undefined) {
        return Effect.fail(new RecorderFailure({ operation: "connect to PostgreSQL", reason: refused }))
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
            (error) => toOpeningError("connect to PostgreSQL", error)
          )
        )
      )
    })
  )

/** Whether the URL names the connections. */
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

/** The parameters of a URL that the client uses. */
const PARAMETERS: ReadonlySet<string> = new Set([
  ...["host", "port", "user", "password", "dbname", "application_name", "options", "connect_timeout", "sslmode"]
])

/** What to use instead of a parameter that other clients support. */
const instead: ReadonlyArray<readonly [name: RegExp, advice: string]> = [
  [/^(schema|currentschema|search_path)$/, "use the option schema (POSTGRES_SCHEMA)"],
  [/^(target_session_attrs|targetservertype|load_balance_hosts)$/, "name the host itself: the primary, to append"],
  [/^hostaddr$/, "write the address as the host"],
  [/^(database|db)$/, "use dbname, or the path of the URL"],
  [/^username$/, "use user, or write the user name before the @ of the URL"],
  [
    /^(ssl|sslrootcert|sslcert|sslkey|sslpassword|sslcrl|sslsni|uselibpqcompat)/,
    "use sslmode, or the option ssl (the options of node:tls)"
  ],
  [/^channel_binding$/, "omit it: passwords are sent as SCRAM without it, and sslmode=require verifies the server"],
  [/^(keepalives|keepalives_\w+|tcp_user_timeout)$/, "use the option keepAlive"],
  [
    /^(max|pool_?size|pool_?max|pool_max_conns|connection_limit|max_?connections)$/,
    "use the option maxConnections (POSTGRES_POOL_SIZE)"
  ],
  [
    /^(connecttimeout|connection_timeout|pool_timeout)$/,
    "use connect_timeout, or the option connectTimeout (POSTGRES_CONNECT_TIMEOUT)"
  ],
  [/^(pgbouncer|prepared_?statements|prepare\w*|statement_cache_size)$/, "use the option prepare: false"],
  [
    /_timeout$|^(timezone|datestyle|synchronous_commit|role|client_encoding|work_mem)$/,
    "use options=-c%20NAME%3DVALUE, which sets it for the session"
  ]
]

/** Why a URL is refused, or `undefined` if it is not: an ignored parameter would be noticed much later, or never. */
const refusedParameter = (url: URL): string | undefined => {
  for (const [name, value] of url.searchParams) {
    const lower = name.toLowerCase()
    if (name === "host" && value.includes(",")) {
      return "the option url has several hosts in its parameter host; name only the primary"
    }
    if (PARAMETERS.has(name)) continue
    const advice = instead.find(([which]) => which.test(lower))?.[1].replace("NAME", lower)
    const known = PARAMETERS.has(lower)
      ? `it is written "${lower}"`
      : `the known parameters are ${[...PARAMETERS].join(", ")}`
    return `the option url has the parameter "${name}", which would have no effect; ${advice ?? known}`
  }
  return undefined
}

/** Only the options of the connection: those of the log are not passed to the client. */
const connectionOf = (options: Omit<ConnectionOptions, "url" | "applicationName">): PgClient.PgPoolConfig => {
  const { host, port, database, username, password, ssl, connectTimeout, keepAlive } = options
  const { maxConnections, minConnections, idleTimeout, connectionTTL, prepare } = options
  return {
    ...{ host, port, database, username, password, ssl, connectTimeout, keepAlive },
    ...{ maxConnections, minConnections, idleTimeout, connectionTTL, prepare }
  }
}
