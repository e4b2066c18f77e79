import { logTable } from "./identifiers.ts"

/**
 * Whether something between an INSERT and the table may drop or change a row: triggers, rules, row-level security, or
 * another kind of relation in its place. If so, the inserted rows are checked.
 */
export const isAlterable = "c.relkind <> 'r' OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity"

/** Whether an event `e` is as it was sent. Others may add to its metadata and change its time. */
export const sameEvent = (
  type: string,
  schemaVersion: string,
  encoding: string,
  payloadText: string,
  payloadBytes: string
): string => `e.type = ${type} AND e.schema_version = ${schemaVersion} AND e.encoding = ${encoding}
        AND e.payload_text IS NOT DISTINCT FROM ${payloadText} AND e.payload_bytes IS NOT DISTINCT FROM ${payloadBytes}`

/** Fails, so that nothing of the call is recorded (G1). */
export const refuseAltered = (schema: string, id: string, stream: string): string => `RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('a trigger, a rule or row-level security of %s has dropped or changed event %s of stream %s',
          ${logTable(schema)}, ${id}, ${stream}),
        HINT = 'Events are recorded as they are sent, or not at all: a trigger can refuse one with an exception, and change '
          'its metadata and recorded_at only.';`
