/** Event sourcing in a SQLite file. */
import { Config, Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import * as EventSourcing from "../EventSourcing.ts"
import type { RecorderError } from "../EventSourcingError.ts"
import { read, seconds, withDefault, withDefaults } from "../internal/backend/settings.ts"
import type * as Projection from "../Projection.ts"
import { SqlViewStore } from "../ViewStore.ts"
import * as SqliteDatabase from "./SqliteDatabase.ts"
import * as SqliteRecorder from "./SqliteRecorder.ts"
import * as SqliteViews from "./SqliteViews.ts"

/** How a SQLite file is opened, and how the log is stored in it. */
export interface SqliteOptions<E = never, R = never> extends SqliteRecorder.Options, EventSourcing.Options<E, R> {
  /**
   * Projections that are maintained in the transactions that append. When the layer is built, their views catch up to
   * the end of the log. From then on, anyone who appends to this file without them is refused. Default: none.
   *
   * With `:memory:` the layer also provides the store of their views, because nothing else can open it.
   */
  readonly inline?: ReadonlyArray<Projection.Inline> | undefined
}

/** What the SQLite layer provides. */
export type SqliteServices = EventSourcing.EventSourcing | SqliteRecorder.Services

/**
 * The whole library on a SQLite file.
 *
 * **When to use**
 *
 * Use this for programs on one machine. It uses `node:sqlite`, so there is nothing to install. Use `SqliteLayer.config`
 * to take the options from the configuration.
 *
 * **Details**
 *
 * Guarantees: G1 to G5, G7 to G11. Several processes can share the file. If the file can't be used, building the layer
 * fails and the error says why.
 *
 * **Example** (The position of the last event)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "effect-eventsourcing"
 * import { SqliteLayer } from "effect-eventsourcing/sqlite"
 *
 * const program = EventStore.EventStore.use((store) => store.head)
 *
 * Effect.runPromise(program.pipe(Effect.provide(SqliteLayer({ filename: "school.db" })))).then((head) => {
 *   console.log(head) // prints: undefined
 * })
 * ```
 */
export function SqliteLayer<E = never, R = never>(
  options: SqliteOptions<E, R> & {
    readonly filename: ":memory:"
    readonly inline: ReadonlyArray<Projection.Inline>
  }
): Layer.Layer<SqliteServices | SqlViewStore, RecorderError | E, R>
export function SqliteLayer<E = never, R = never>(
  options: SqliteOptions<E, R>
): Layer.Layer<SqliteServices, RecorderError | E, R>
export function SqliteLayer<E, R>(options: SqliteOptions<E, R>): Layer.Layer<SqliteServices, RecorderError | E, R> {
  return Layer.provideMerge(EventSourcing.layer(options), layerRecorders(options))
}

const layerRecorders = <E, R>(
  options: SqliteOptions<E, R>
): Layer.Layer<SqliteRecorder.Services, RecorderError | E, R> => {
  const { filename, inline } = options
  const isMemory = filename === ":memory:"
  if (inline === undefined || (inline.length === 0 && !isMemory)) return SqliteRecorder.layer(options)
  return Layer.unwrap(
    Effect.map(SqliteDatabase.open(options), (opened) => {
      const recorders = EventSourcing.layerInline<SqliteRecorder.Services, E, R, RecorderError>(
        inline,
        Effect.map(SqliteViews.make(opened), (store) => SqliteViews.inlineDatabase(opened, store)),
        options
      ).pipe(Layer.provide(Layer.effectContext(SqliteRecorder.make(opened, options))))
      return isMemory ? Layer.merge(recorders, Layer.effect(SqlViewStore, SqliteViews.make(opened))) : recorders
    })
  )
}

/**
 * {@link SqliteLayer} with options from the configuration.
 *
 * **Details**
 *
 * It reads `SQLITE_FILENAME` and, if they are set, `SQLITE_SYNCHRONOUS` (`full`, `normal`), `SQLITE_LOCK_TIMEOUT` and
 * `SQLITE_POLL_INTERVAL` (durations such as `5 seconds`; a plain number is seconds). A lock timeout of 0 waits
 * indefinitely. Variables that are not set have the value in `defaults`, which may contain all options of the layer,
 * including `inline`.
 */
SqliteLayer.config = <E = never, R = never>(
  defaults: Partial<SqliteOptions<E, R>> = {}
): Layer.Layer<SqliteServices, RecorderError | Config.ConfigError | E, R> =>
  Layer.unwrap(
    Effect.map(read(sqliteConfig(defaults)), ({ filename, file, pollInterval }) =>
      SqliteLayer<E, R>({ ...withDefaults(defaults, { ...file, pollInterval }), filename })
    )
  )

const sqliteConfig = ({ filename }: { readonly filename?: string }) =>
  Config.all({
    filename: withDefault(Config.String("SQLITE_FILENAME"), filename),
    file: SqliteDatabase.config,
    pollInterval: seconds("SQLITE_POLL_INTERVAL")
  })

/**
 * The `SqlClient` of `effect/sql` on a SQLite file, for the user's own tables.
 *
 * Within one process it shares its connection and queue with everything else that has the file open, {@link
 * SqliteLayer} included. A transaction that waits therefore delays the writes of others, but never locks them out.
 */
export const layerSqlClient = (options: SqliteDatabase.Options): Layer.Layer<SqlClient.SqlClient, RecorderError> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.map(SqliteDatabase.open(options), ({ sql }) => sql)
  )
