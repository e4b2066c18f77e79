/** The SQL of a log: what makes its tables and functions, and what brings an older log up. */
import { appendEvent } from "./sql/appendEvent.ts"
import { appendEvents } from "./sql/appendEvents.ts"
import { literal, quote } from "./sql/identifiers.ts"
import { lockPositions } from "./sql/lockPositions.ts"
import { tables } from "./sql/tables.ts"

/** The steps that bring a schema up, one for each version; what has been released is never changed. */
const migrations: ReadonlyArray<(schema: string) => ReadonlyArray<string>> = [
  (schema) => [...tables(schema), lockPositions(schema), appendEvents(schema), appendEvent(schema)]
]

/** The version of the schema that this version of the library works with. */
export const SCHEMA_VERSION = migrations.length

/** What the schema is, in a table of one row. */
const createLog = (schema: string): string => `CREATE TABLE IF NOT EXISTS ${quote(schema)}.stored_log (
  only_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  log_id         text    NOT NULL,
  schema_version integer NOT NULL
)`

const setVersion = (schema: string): string => `INSERT INTO ${quote(schema)}.stored_log (log_id, schema_version)
VALUES (gen_random_uuid()::text, ${SCHEMA_VERSION})
ON CONFLICT (only_row) DO UPDATE SET schema_version = excluded.schema_version`

/** The statements that bring a schema from a version (0: there is nothing yet) to the newest. */
export const migrationsFrom = (schema: string, version: number): ReadonlyArray<string> =>
  version >= SCHEMA_VERSION
    ? []
    : [
        ...(version === 0 ? [createLog(schema)] : []),
        ...migrations.slice(version).flatMap((migration) => migration(schema)),
        setVersion(schema)
      ]

/** Held while a schema is brought up, by the name that it has or will have. */
export const lockSchema = (schema: string): string =>
  `SELECT pg_advisory_xact_lock(hashtextextended('effect-eventsourcing migrations of ' || ${literal(schema)}, 0))`

/** What a schema may be named: as PostgreSQL has it, a text of 1 to 63 bytes without NUL. */
export const invalidSchema = (schema: string): string | undefined => {
  if (schema.length === 0 || schema.includes("\0") || !schema.isWellFormed()) {
    return "it is empty, contains NUL, or is no well-formed Unicode"
  }
  if (new TextEncoder().encode(schema).length > 63) return "it has more than 63 bytes"
  return schema.includes("$function$") ? 'it contains "$function$"' : undefined
}

/**
 * The SQL that makes a log's schema, tables and functions, for those who run it themselves (with `createTables: false`).
 *
 * Run it as the role that is to own them, in one transaction: where there is a log already, it fails and changes nothing.
 *
 * @param schema - Default `public`. Made if it isn't there.
 * @param fromVersion - The version that the schema has (`SELECT schema_version FROM stored_log`). Default 0: none yet. There is nothing to run from the newest ({@link SCHEMA_VERSION}).
 *
 * @example
 * ```ts
 * import { schemaSql } from "effect-eventsourcing/postgres"
 *
 * console.log(schemaSql("accounting").includes("CREATE TABLE \"accounting\".stored_events")) // prints: true
 * ```
 */
export const schemaSql = (schema = "public", fromVersion = 0): string => {
  const invalid = invalidSchema(schema)
  if (invalid !== undefined) throw new Error(`"${schema}" can't be the name of a schema: ${invalid}`)
  const statements = migrationsFrom(schema, fromVersion)
  const all = fromVersion === 0 ? [`CREATE SCHEMA IF NOT EXISTS ${quote(schema)}`, ...statements] : statements
  return all.map((statement) => `${statement};\n`).join("\n")
}
