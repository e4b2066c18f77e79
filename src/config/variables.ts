/** The names of the variables, and the errors for others that look as if they were read. */

/** A backend, as `PERSISTENCE` names it. */
export type BackendName = "memory" | "sqlite" | "postgres" | "kurrent"

/** The variables of each backend, and those of every log. */
export const variables = {
  log: [
    "PERSISTENCE",
    "CIPHER_KEYS",
    "CIPHER_ENCRYPT_WITH",
    "CIPHER_PLAINTEXT",
    "COMPRESSOR",
    "CACHE_CAPACITY",
    "SNAPSHOT_EVERY",
    "PAGE_BYTES",
    "TAIL_BYTES"
  ],
  views: ["VIEWS_PERSISTENCE"],
  memory: [],
  sqlite: [
    "SQLITE_FILENAME",
    "SQLITE_VIEWS_FILENAME",
    "SQLITE_SYNCHRONOUS",
    "SQLITE_LOCK_TIMEOUT",
    "SQLITE_POLL_INTERVAL"
  ],
  postgres: [
    "POSTGRES_URL",
    "POSTGRES_HOST",
    "POSTGRES_PORT",
    "POSTGRES_DBNAME",
    "POSTGRES_USER",
    "POSTGRES_PASSWORD",
    "POSTGRES_CONNECT_TIMEOUT",
    "POSTGRES_CONN_MAX_AGE",
    "POSTGRES_POOL_SIZE",
    "POSTGRES_SCHEMA",
    "POSTGRES_VIEWS_SCHEMA",
    "POSTGRES_CREATE_TABLE",
    "POSTGRES_LOCK_TIMEOUT",
    "POSTGRES_POLL_INTERVAL",
    "POSTGRES_LISTEN"
  ],
  kurrent: [
    "KURRENTDB_URI",
    "EVENTSTOREDB_URI",
    "KURRENTDB_ROOT_CERTIFICATES",
    "EVENTSTOREDB_ROOT_CERTIFICATES",
    "KURRENTDB_USERNAME",
    "KURRENTDB_PASSWORD",
    "KURRENTDB_PREFIX",
    "KURRENTDB_DEADLINE",
    "KURRENTDB_CONNECT_TIMEOUT"
  ]
} as const satisfies Readonly<Record<BackendName | "log" | "views", ReadonlyArray<string>>>

export const all: ReadonlySet<string> = new Set(Object.values(variables).flat())

/** The prefixes of each backend's variables. */
export const families: Readonly<Record<BackendName, ReadonlyArray<string>>> = {
  memory: [],
  sqlite: ["SQLITE"],
  postgres: ["POSTGRES"],
  kurrent: ["KURRENTDB", "EVENTSTOREDB"]
}

/**
 * Each variable also determines what these other variables set. If it is set for one application, those that are set
 * for all must not change it: the password of another server, for instance, or the older name of the same setting.
 */
export const overrides: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  ["POSTGRES_URL", ["POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DBNAME", "POSTGRES_USER", "POSTGRES_PASSWORD"]],
  ["KURRENTDB_URI", ["EVENTSTOREDB_URI", "KURRENTDB_USERNAME", "KURRENTDB_PASSWORD"]],
  ["EVENTSTOREDB_URI", ["KURRENTDB_URI", "KURRENTDB_USERNAME", "KURRENTDB_PASSWORD"]],
  ["KURRENTDB_ROOT_CERTIFICATES", ["EVENTSTOREDB_ROOT_CERTIFICATES"]],
  ["EVENTSTOREDB_ROOT_CERTIFICATES", ["KURRENTDB_ROOT_CERTIFICATES"]],
  ["CIPHER_KEYS", ["CIPHER_ENCRYPT_WITH"]]
])

/** Two names of one setting. */
export const synonyms: ReadonlyArray<readonly [name: string, older: string]> = [
  ["KURRENTDB_URI", "EVENTSTOREDB_URI"],
  ["KURRENTDB_ROOT_CERTIFICATES", "EVENTSTOREDB_ROOT_CERTIFICATES"]
]

const inCode = "which implementation is used is decided in code"
const pool = "POSTGRES_POOL_SIZE is the most connections"

/**
 * Settings of the Python library `eventsourcing` and its extensions that have no effect here, or a different one, and
 * what to use instead; those of a backend matter only if it is used.
 */
export const foreign: Readonly<Record<"log" | BackendName, Readonly<Record<string, string>>>> = {
  log: {
    PERSISTENCE_MODULE: "set PERSISTENCE to memory, sqlite, postgres or kurrent",
    COMPRESSOR_TOPIC: "set COMPRESSOR to zstd, zlib or none",
    CIPHER_TOPIC: "remove it; CIPHER_KEYS implies AES-GCM",
    CIPHER_KEY: "set CIPHER_KEYS to <id>:<key>; the id is recorded with each event, so that keys can be replaced",
    IS_SNAPSHOTTING_ENABLED: "set SNAPSHOT_EVERY to the number of events between two snapshots",
    AGGREGATE_CACHE_MAXSIZE: "set CACHE_CAPACITY to the number of aggregates, or to 0 for no cache",
    AGGREGATE_CACHE_FASTFORWARD: "remove it; cached states are always brought up to date",
    AGGREGATE_CACHE_FASTFORWARD_SKIPPING: "remove it; cached states are always brought up to date",
    DEEPCOPY_FROM_AGGREGATE_CACHE: "remove it; states are copied before a caller can change them",
    MAPPER_TOPIC: `remove it; ${inCode} (the option mapper)`,
    TRANSCODER_TOPIC: `remove it; ${inCode} (the option transcoder)`,
    AGGREGATE_RECORDER_TOPIC: `remove it; ${inCode}`,
    APPLICATION_RECORDER_TOPIC: `remove it; ${inCode}`,
    TRACKING_RECORDER_TOPIC: `remove it; ${inCode}`,
    PROCESS_RECORDER_TOPIC: `remove it; ${inCode}`,
    ORIGINATOR_ID_TYPE: "remove it; the ids of aggregates are text"
  },
  memory: {},
  sqlite: {
    SQLITE_DBNAME: "set SQLITE_FILENAME"
  },
  postgres: {
    POSTGRES_MAX_OVERFLOW: `remove it; ${pool}`,
    POSTGRES_POOL_MAX_OVERFLOW: `remove it; ${pool}`,
    POSTGRES_POOL_TIMEOUT: `remove it; ${pool}`,
    POSTGRES_MAX_WAITING: `remove it; ${pool}`,
    POSTGRES_PRE_PING: "remove it; work on a broken connection is retried on another one",
    POSTGRES_IDLE_IN_TRANSACTION_SESSION_TIMEOUT:
      "set it on the server, or in POSTGRES_URL (?options=-c%20idle_in_transaction_session_timeout=5s)",
    POSTGRES_GET_PASSWORD_TOPIC: "give the option postgres.password an Effect that returns the password",
    POSTGRES_ORIGINATOR_ID_TYPE: "remove it; the ids of aggregates are text",
    POSTGRES_SINGLE_ROW_TRACKING: "remove it; each projection has one row",
    POSTGRES_ENABLE_DB_FUNCTIONS: "remove it; appends use functions of the database where that is faster"
  },
  kurrent: {}
}
