/** What inline projections require of the database of their log. */
import type { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import type { RecorderError } from "../../EventSourcingError.ts"
import type * as Tracking from "../../Tracking.ts"
import type { SqlView } from "../../View.ts"
import type { ViewStore } from "../../ViewStore.ts"

/** The operations of a database for the inline projections of its log. */
export interface InlineDatabase {
  readonly store: ViewStore<SqlView, SqlClient.SqlClient>
  /**
   * Switches a projection from catching up to being updated inline, in a transaction in which nobody appends. If the
   * effect returns true, the database refuses, once the transaction has ended, every append to these categories that
   * does not update the projection; if it returns false, another process has already switched.
   */
  readonly switchOver: <E>(
    key: Tracking.Key,
    categories: ReadonlyArray<string>,
    self: Effect.Effect<boolean, E>
  ) => Effect.Effect<boolean, E | RecorderError>
  /** Declares, within the transaction, which projections the next append has updated. */
  readonly declare: (keys: ReadonlyArray<Tracking.Key>) => Effect.Effect<void, RecorderError>
}

/** The message of the database's error for an append that does not update an inline projection; without quotes, for SQL. */
export const inlineGuardMessage = ({ projection, version }: Tracking.Key): string =>
  `version ${version} of projection ${projection} is maintained inline, but this writer does not maintain it; pass the projection in the option inline of the layer of the log`
