import { highestPosition } from "./advancePositions.ts"
import { declaration, namedArguments } from "./functions.ts"
import { logTable, positions, quote } from "./identifiers.ts"
import { lockKey, refuseOldSnapshots } from "./lockPositions.ts"
import { isAlterable, refuseAltered, sameEvent } from "./refuseAltered.ts"

export const appendEventParameters = [
  ["lock_timeout", "integer"],
  ["new_stream", "text"],
  ["expected_version", "integer"],
  ["new_id", "uuid"],
  ["new_type", "text"],
  ["new_schema_version", "integer"],
  ["new_encoding", "text"],
  ["new_payload_text", "text"],
  ["new_payload_bytes", "bytea"],
  ["new_metadata", "text"],
  ["new_recorded_at", "bigint"]
] as const

/**
 * `append_event` records one event of one stream. It does the same as `append_events`, in half the time, for the most
 * common call.
 *
 * Returns an array: the position of the event. If the event was not recorded, the array has NULL, the version of the
 * stream (-1 if it has no event), and the position of this very event if it is already in its place.
 */
export const appendEvent = (schema: string): string => {
  const s = quote(schema)
  return `CREATE OR REPLACE FUNCTION ${s}.append_event(
${declaration(appendEventParameters)}
)
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  actual integer;
  repeated bigint;
  highest bigint;
  alterable boolean;
  advanced boolean := false;
  new_position bigint;
BEGIN
  ${refuseOldSnapshots}
  IF NOT pg_try_advisory_xact_lock(${lockKey(schema)}) THEN
    PERFORM ${s}.lock_positions(lock_timeout);
  END IF;

  LOOP
    SELECT ${highestPosition(schema)}, ${isAlterable} INTO highest, alterable
    FROM pg_catalog.pg_class c WHERE c.oid = ${logTable(schema)}::regclass;

    INSERT INTO ${s}.stored_events
      (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
    SELECT drawn.position, new_stream,
      CASE WHEN expected_version < 2147483647 THEN expected_version + 1 END, new_id, new_type, new_schema_version,
      new_encoding, new_payload_text, new_payload_bytes, new_metadata, new_recorded_at
    FROM (SELECT nextval(${positions(schema)}::regclass) AS position OFFSET 0) AS drawn
    -- one index entry if the version is as expected, however many events the stream has
    WHERE expected_version = coalesce(
      (SELECT e.version FROM ${s}.stored_events e WHERE e.stream = new_stream AND e.version >= expected_version
        ORDER BY e.version DESC LIMIT 1),
      -1)
      AND drawn.position > highest;
    EXIT WHEN FOUND;

    SELECT max(e.version) INTO actual FROM ${s}.stored_events e WHERE e.stream = new_stream;
    actual := coalesce(actual, -1);
    IF actual <> expected_version THEN
      SELECT e.position INTO repeated FROM ${s}.stored_events e
      WHERE e.stream = new_stream AND e.version = expected_version::bigint + 1 AND e.id = new_id;
      RETURN ARRAY[NULL, actual, repeated];
    END IF;
    -- the drawn position was not above the highest; after advance_positions it is, so the row was dropped
    IF advanced THEN
      ${refuseAltered(schema, "new_id", "new_stream")}
    END IF;
    PERFORM ${s}.advance_positions(highest);
    advanced := true;
  END LOOP;
  new_position := currval(${positions(schema)}::regclass);

  -- two conditions: a single one that contains a query is planned and run as a whole, even if its first half is false
  IF alterable THEN
    IF NOT EXISTS (
      SELECT FROM ${s}.stored_events e
      WHERE e.position = new_position AND e.stream = new_stream AND e.version = expected_version + 1 AND e.id = new_id
        AND ${sameEvent("new_type", "new_schema_version", "new_encoding", "new_payload_text", "new_payload_bytes")}
    ) THEN
      ${refuseAltered(schema, "new_id", "new_stream")}
    END IF;
  END IF;

  PERFORM pg_notify('stored_events_' || ${logTable(schema)}::regclass::oid, new_position::text);
  RETURN ARRAY[new_position];
END;
$function$`
}

export const callAppendEvent = (schema: string): string =>
  `SELECT ${quote(schema)}.append_event(${namedArguments(appendEventParameters)})`
