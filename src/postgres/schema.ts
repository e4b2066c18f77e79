/** The SQL of a log: creates its tables and functions, and migrates an older log. */
import { advancePositions } from "./sql/advancePositions.ts"
import { appendEvent } from "./sql/appendEvent.ts"
import { appendEvents } from "./sql/appendEvents.ts"
import { appendTracked } from "./sql/appendTracked.ts"
import { literal, quote } from "./sql/identifiers.ts"
import { lockPositions } from "./sql/lockPositions.ts"
import { tables } from "./sql/tables.ts"

/** The migrations of the tables, one for each version. A released one is never changed. */
const steps: ReadonlyArray<(schema: string) => ReadonlyArray<string>> = [
  tables,
  // 2: the functions check the sequence, and what triggers and rules have changed
  (schema) => [
    `ALTER TABLE ${quote(schema)}.stored_log ADD COLUMN IF NOT EXISTS revision integer`,
    `COMMENT ON COLUMN ${quote(schema)}.stored_log.revision IS 'the version of the schema; schema_version is the one that an application has to know at least'`
  ],
  // 3: a tracking keeps a note of its upstream
  (schema) => [`ALTER TABLE ${quote(schema)}.stored_tracking ADD COLUMN IF NOT EXISTS note text`]
]

/** The functions. Each version replaces all of them: applications of an older version call them by the same names. */
const functions = (schema: string): ReadonlyArray<string> => [
  lockPositions(schema),
  advancePositions(schema),
  appendEvents(schema),
  appendTracked(schema),
  appendEvent(schema)
]

/** The version of the schema that this version of the library creates. */
export const SCHEMA_VERSION = steps.length

/**
 * The lowest version that an application has to know to work with the schema that this version creates: older
 * applications keep running with it and can be restarted. It is also the oldest schema that this version works with,
 * without what was added later.
 */
export const COMPATIBLE_VERSION = 1

/** The versions and the id of the log, in a table of one row. */
const createLog = (schema: string): string => `CREATE TABLE IF NOT EXISTS ${quote(schema)}.stored_log (
  only_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  log_id         text    NOT NULL,
  schema_version integer NOT NULL
)`

const setVersion = (
  schema: string
): string => `INSERT INTO ${quote(schema)}.stored_log (log_id, schema_version, revision)
VALUES (gen_random_uuid()::text, ${COMPATIBLE_VERSION}, ${SCHEMA_VERSION})
ON CONFLICT (only_row) DO UPDATE SET schema_version = excluded.schema_version, revision = excluded.revision`

/** The version that the schema has, in a row of `stored_log l`. */
export const VERSION = "coalesce((to_jsonb(l) ->> 'revision')::integer, schema_version)"

/** Reads the version that an application has to know, and the one that the schema has. */
export const selectVersions = (schema: string): string =>
  `SELECT schema_version, ${VERSION} FROM ${quote(schema)}.stored_log l`

/** The statements that migrate a schema from a version (0: it has no log yet) to the newest. */
export const migrationsFrom = (schema: string, version: number): ReadonlyArray<string> =>
  version >= SCHEMA_VERSION
    ? []
    : [
        ...(version === 0 ? [createLog(schema)] : []),
        ...steps.slice(version).flatMap((step) => step(schema)),
        ...functions(schema),
        setVersion(schema)
      ]

/** Taken while a schema is migrated, by the name that the schema has or will have. */
export const lockSchema = (schema: string): string =>
  `SELECT pg_advisory_xact_lock(hashtextextended('effect-eventsourcing migrations of ' || ${literal(schema)}, 0))`

/**
 * Why a schema can't have this name, or `undefined` if it can: PostgreSQL accepts a text of 1 to 63 bytes without NUL.
 */
export const invalidSchema = (schema: string): string | undefined => {
  if (schema.length === 0 || schema.includes("\0") || !schema.isWellFormed()) {
    return "it is empty, contains NUL, or is not well-formed Unicode"
  }
  if (new TextEncoder().encode(schema).length > 63) return "it has more than 63 bytes"
  return schema.includes("$function$") ? 'it contains "$function$"' : undefined
}

/**
 * The SQL that creates a log's schema, tables and functions, if you run it yourself (with `createTables: false`).
 *
 * Run it as the role that is to own them, in one transaction. If there already is a log, it fails and changes nothing.
 *
 * @param schema - Default `public`. Created if it does not exist.
 * @param fromVersion - The version that the schema has (`SELECT revision FROM stored_log`; 1 if there is no such
 * column). Default 0: there is no log yet. From the newest version ({@link SCHEMA_VERSION}) there is nothing to run.
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
  if (invalid !== undefined) throw new Error(`invalid schema name "${schema}": ${invalid}`)
  const statements = migrationsFrom(schema, fromVersion)
  const all = fromVersion === 0 ? [`CREATE SCHEMA IF NOT EXISTS ${quote(schema)}`, ...statements] : statements
  return all.map((statement) => `${statement};\n`).join("\n")
}
