import { logTable } from "./identifiers.ts"

/**
 * Whether something stands between an INSERT and the table that may drop a row or change it: triggers, rules, row-level
 * security, or another kind of relation in its place. Then what was inserted is looked for.
 */
export const isAlterable = "c.relkind <> 'r' OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity"

/** Whether an event `e` is as it was sent. Its metadata and its time may be another's to add to. */
export const sameEvent = (
  type: string,
  schemaVersion: string,
  encoding: string,
  payloadText: string,
  payloadBytes: string
): string => `e.type = ${type} AND e.schema_version = ${schemaVersion} AND e.encoding = ${encoding}
        AND e.payload_text IS NOT DISTINCT FROM ${payloadText} AND e.payload_bytes IS NOT DISTINCT FROM ${payloadBytes}`

/** Fails, and nothing of the call is recorded (G1). */
export const refuseAltered = (schema: string, id: string, stream: string): string => `RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('a trigger, a rule or row-level security of %s has dropped or changed event %s of stream %s',
          ${logTable(schema)}, ${id}, ${stream}),
        HINT = 'Events are recorded as they are sent, or not at all: a trigger can refuse one with an exception, and change '
          'its metadata and recorded_at only.';`
