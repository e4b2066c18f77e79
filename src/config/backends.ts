/** The backends' layers, each loaded only if it is chosen: not every program has their drivers installed. */
import type { Config, Context, Layer } from "effect"
import { Effect } from "effect"
import type { EventSourcing, Options as SharedOptions } from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import type { ConnectionOptions as KurrentConnection } from "../kurrent/client/ConnectionOptions.ts"
import { MultiStreamAppend } from "../MultiStreamAppend.ts"
import type { ConnectionOptions, RecorderOptions, ViewsOptions } from "../postgres/PostgresOptions.ts"
import type { Recorder } from "../Recorder.ts"
import type { SnapshotRecorder } from "../SnapshotRecorder.ts"
import { StreamCatalog } from "../StreamCatalog.ts"
import type { FileOptions, RecorderOptions as SqliteRecorderOptions } from "../sqlite/index.ts"
import { TrackedAppend } from "../TrackedAppend.ts"
import { TransactionalAppend } from "../TransactionalAppend.ts"
import type { SqlViewStore } from "../ViewStore.ts"
import { choice, problem } from "./problem.ts"
import { variable } from "./provider.ts"
import type { BackendName } from "./variables.ts"

/** A service that some backends lack. */
export type Capability =
  | typeof MultiStreamAppend
  | typeof TrackedAppend
  | typeof TransactionalAppend
  | typeof StreamCatalog

/** The service of a tag. */
export type Provided<C extends Capability> = Context.Service.Identifier<C>

/** The services that a log on any backend provides. */
export type LogServices = EventSourcing | Recorder | SnapshotRecorder

/** The options of single backends. Variables that are set override them. */
export interface BackendOptions {
  readonly sqlite?: Partial<SqliteRecorderOptions> | undefined
  readonly postgres?: (ConnectionOptions & RecorderOptions) | undefined
  readonly kurrent?: (Partial<KurrentConnection> & { readonly prefix?: string | undefined }) | undefined
}

/** The options of views in single backends. Variables that are set override them. */
export interface ViewsBackendOptions {
  readonly sqlite?: Partial<FileOptions> | undefined
  readonly postgres?: (ConnectionOptions & ViewsOptions) | undefined
}

/** What each backend provides besides {@link LogServices}. */
export const capabilities = {
  memory: [MultiStreamAppend, TrackedAppend, StreamCatalog],
  sqlite: [MultiStreamAppend, TrackedAppend, TransactionalAppend, StreamCatalog],
  postgres: [MultiStreamAppend, TrackedAppend, TransactionalAppend, StreamCatalog],
  kurrent: [MultiStreamAppend, TrackedAppend]
} as const satisfies Readonly<Record<BackendName, ReadonlyArray<Capability>>>

/** The backends that have all of these capabilities. */
const backendsWith = (required: ReadonlyArray<Capability>): ReadonlyArray<BackendName> =>
  (["memory", "sqlite", "postgres", "kurrent"] as const).filter((name) =>
    required.every((one) => (capabilities[name] as ReadonlyArray<Capability>).includes(one))
  )

/** Other names that people use for the backends. */
const otherNames: Readonly<Record<string, BackendName>> = {
  ":memory:": "memory",
  popo: "memory",
  sqlite3: "sqlite",
  pg: "postgres",
  postgresql: "postgres",
  kurrentdb: "kurrent",
  eventstoredb: "kurrent"
}

/** The backend that a variable names, or else the default; it must have the capabilities. */
export const chooseBackend = (
  name: string,
  byDefault: BackendName | undefined,
  required: ReadonlyArray<Capability>
): Effect.Effect<BackendName, Config.ConfigError> =>
  Effect.gen(function* () {
    const possible = backendsWith(required)
    const text = (yield* variable(name)) ?? byDefault
    if (text === undefined) return yield* Effect.fail(problem(`${name} is not set; set it to ${choice(possible)}`))
    const chosen = possible.find((one) => one === text)
    if (chosen !== undefined) return chosen
    const known = text in capabilities ? (text as BackendName) : undefined
    const missing = required.filter((one) => known && !(capabilities[known] as ReadonlyArray<Capability>).includes(one))
    const meant = otherNames[text.toLowerCase()] ?? otherNames[text]
    const reason =
      known === undefined
        ? `${name} must be ${choice(possible)}, got "${text}"${meant === undefined ? "" : `; use ${meant}`}`
        : `${name} is ${text}, which has no ${choice(missing.map(nameOf))}, and this program requires it; use ${choice(possible)}`
    return yield* Effect.fail(problem(reason))
  })

const nameOf = ({ key }: Capability): string => key.slice(key.indexOf("/") + 1)

/** Loads a backend. */
const load = <A>(
  name: BackendName,
  driver: string | undefined,
  module: () => Promise<A>
): Effect.Effect<A, Config.ConfigError> =>
  Effect.tryPromise({
    try: module,
    catch: (cause) => {
      const isMissing = cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND"
      return driver !== undefined && isMissing
        ? problem(`the backend ${name} needs a package that is not installed; run: npm install ${driver}`, cause)
        : problem(`the backend ${name} can't be loaded: ${cause}`, cause)
    }
  })

const loadSqlite = load("sqlite", undefined, () => import("../sqlite/index.ts"))
const loadPostgres = load("postgres", "@effect/sql-pg", () => import("../postgres/index.ts"))

type LogLayer<E, R> = Layer.Layer<LogServices | Provided<Capability>, RecorderError | Config.ConfigError | E, R>

/** A backend's layer; the compiler checks that it provides the capabilities in the table. */
const providing = <const C extends ReadonlyArray<Capability>, E, R>(
  _: C,
  layer: Layer.Layer<LogServices | Provided<C[number]>, E, R>
) => layer as Layer.Layer<LogServices | Provided<Capability>, E, R>

/** The log of a backend, with its own variables. Only capabilities that are in the table are in it. */
export const loadLog = <E, R>(
  name: BackendName,
  options: BackendOptions,
  shared: SharedOptions<E, R>,
  required: ReadonlyArray<Capability>
): Effect.Effect<LogLayer<E, R>, Config.ConfigError> =>
  Effect.gen(function* () {
    switch (name) {
      case "memory": {
        const { MemoryLayer } = yield* load(name, undefined, () => import("../memory/index.ts"))
        return providing(capabilities.memory, MemoryLayer(shared))
      }
      case "sqlite": {
        const { SqliteLayer } = yield* loadSqlite
        return providing(capabilities.sqlite, SqliteLayer.config({ ...options.sqlite, ...shared }))
      }
      case "postgres": {
        const { PostgresLayer } = yield* loadPostgres
        return providing(capabilities.postgres, PostgresLayer.config({ ...options.postgres, ...shared }))
      }
      case "kurrent": {
        const driver = "@kurrent/kurrentdb-client"
        const { KurrentLayer } = yield* load(name, driver, () => import("../kurrent/index.ts"))
        const defaults = { ...options.kurrent, ...shared }
        return required.length === 0
          ? providing([], KurrentLayer.config(defaults))
          : providing(capabilities.kurrent, KurrentLayer.multiStream.config(defaults))
      }
    }
  })

/** A place for views in tables, with its own variables. */
export const loadViews = (
  name: "memory" | "sqlite" | "postgres",
  options: ViewsBackendOptions
): Effect.Effect<Layer.Layer<SqlViewStore, RecorderError | Config.ConfigError>, Config.ConfigError> =>
  name === "postgres"
    ? Effect.map(loadPostgres, ({ PostgresViews }) => PostgresViews.config(options.postgres))
    : Effect.map(loadSqlite, ({ SqliteViews }) =>
        name === "memory" ? SqliteViews({ filename: ":memory:" }) : SqliteViews.config(options.sqlite)
      )
