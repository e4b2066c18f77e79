/** A transaction whose BEGIN has to be answered in time. */
import { Effect } from "effect"
import type { SqlConnection } from "effect/sql"
import { SqlError } from "effect/sql"
import type { RecorderError } from "../EventSourcingError.ts"

/** Runs statements on a connection that is given up if they have no answer in time. */
export type InTime = <A, E, R>(work: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RecorderError, R>

/**
 * A connection for one transaction whose BEGIN must be answered in time. The client sends its BEGIN in an
 * uninterruptible region, so it would wait for an answer indefinitely.
 */
export class BeginningInTime implements SqlConnection.Connection {
  readonly connection: SqlConnection.Connection
  readonly inTime: InTime
  hasBegun = false
  constructor(connection: SqlConnection.Connection, inTime: InTime) {
    this.connection = connection
    this.inTime = inTime
  }
  execute(...statement: Parameters<SqlConnection.Connection["execute"]>) {
    const run = this.connection.execute(...statement)
    return this.hasBegun ? run : this.begin(run)
  }
  executeRaw(...statement: Parameters<SqlConnection.Connection["executeRaw"]>) {
    return this.connection.executeRaw(...statement)
  }
  executeStream(...statement: Parameters<SqlConnection.Connection["executeStream"]>) {
    return this.connection.executeStream(...statement)
  }
  executeValues(...statement: Parameters<SqlConnection.Connection["executeValues"]>) {
    return this.connection.executeValues(...statement)
  }
  executeValuesUnprepared(...statement: Parameters<SqlConnection.Connection["executeValuesUnprepared"]>) {
    return this.connection.executeValuesUnprepared(...statement)
  }
  executeUnprepared(...statement: Parameters<SqlConnection.Connection["executeUnprepared"]>) {
    // the client does not prepare a BEGIN option, because it may differ each time; this one never differs
    return this.hasBegun ? this.connection.executeUnprepared(...statement) : this.execute(...statement)
  }
  private begin<A>(statement: Effect.Effect<A, SqlError.SqlError>): Effect.Effect<A, SqlError.SqlError> {
    this.hasBegun = true
    return Effect.mapError(this.inTime(statement), (error) =>
      SqlError.isSqlError(error)
        ? error
        : new SqlError.SqlError({ reason: new SqlError.ConnectionError({ cause: error, message: error.message }) })
    )
  }
}
