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

/** How a SQLite file is opened and what is kept in it. */
export interface SqliteOptions<E = never, R = never> extends SqliteRecorder.Options, EventSourcing.Options<E, R> {
  /**
   * Projections that are kept up in the transactions that append. When the layer is built, their views are brought to the end
   * of the log; from then on whoever appends to this file without them is refused. Default: none.
   *
   * With `:memory:` the layer provides the place of their views, too: nothing else can open it.
   */
  readonly inline?: ReadonlyArray<Projection.Inline> | undefined
}

/** What the SQLite layer provides. */
export type SqliteServices = EventSourcing.EventSourcing | SqliteRecorder.Services

/**
 * The whole library on a SQLite file (`node:sqlite`, nothing to install), shared with other processes if need be.
 *
 * Guarantees: G1 to G5, G7 to G11. Fails when it is built if the file can't be used, and says why.
 *
 * @example
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
 * {@link SqliteLayer} from the configuration: `SQLITE_FILENAME`, and where they are set `SQLITE_SYNCHRONOUS` (`full`,
 * `normal`), `SQLITE_LOCK_TIMEOUT` and `SQLITE_POLL_INTERVAL` (durations such as `5 seconds`; a plain number is seconds). A
 * lock timeout of 0 waits without end. What is not set is as in `defaults`, which are all options of the layer, `inline` too.
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
 * In one process it shares connection and queue with whatever else has the file open, {@link SqliteLayer} included, so
 * that a transaction which waits holds up the others' writes but never locks them out.
 */
export const layerSqlClient = (options: SqliteDatabase.Options): Layer.Layer<SqlClient.SqlClient, RecorderError> =>
  Layer.effect(
    SqlClient.SqlClient,
    Effect.map(SqliteDatabase.open(options), ({ sql }) => sql)
  )
