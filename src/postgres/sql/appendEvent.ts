import { logTable, positions, quote } from "./identifiers.ts"
import { lockKey, refuseOldSnapshots } from "./lockPositions.ts"

/**
 * `append_event` records one event of one stream: what `append_events` does, in half the time for what is asked most.
 *
 * Answers an array: the position of the event; or, where it was not recorded, NULL, the version of the stream (-1 where it has
 * no event), and the position of the very event if it stands in its place already.
 */
export const appendEvent = (schema: string): string => {
  const s = quote(schema)
  return `CREATE FUNCTION ${s}.append_event(
  lock_timeout integer,
  new_stream text, expected_version integer,
  new_id uuid, new_type text, new_schema_version integer, new_encoding text, new_payload_text text,
  new_payload_bytes bytea, new_metadata text, new_recorded_at bigint
)
RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  new_position bigint;
  actual integer;
  repeated bigint;
BEGIN
  ${refuseOldSnapshots}
  IF NOT pg_try_advisory_xact_lock(${lockKey(schema)}) THEN
    PERFORM ${s}.lock_positions(lock_timeout);
  END IF;

  INSERT INTO ${s}.stored_events
    (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
  SELECT nextval(${positions(schema)}::regclass), new_stream,
    CASE WHEN expected_version < 2147483647 THEN expected_version + 1 END, new_id, new_type, new_schema_version,
    new_encoding, new_payload_text, new_payload_bytes, new_metadata, new_recorded_at
  -- one entry of the index where the version is as expected, however many the stream has
  WHERE expected_version = coalesce(
    (SELECT e.version FROM ${s}.stored_events e WHERE e.stream = new_stream AND e.version >= expected_version
      ORDER BY e.version DESC LIMIT 1),
    -1)
  RETURNING position INTO new_position;

  IF new_position IS NULL THEN
    SELECT max(e.version) INTO actual FROM ${s}.stored_events e WHERE e.stream = new_stream;
    SELECT e.position INTO repeated FROM ${s}.stored_events e
    WHERE e.stream = new_stream AND e.version = expected_version::bigint + 1 AND e.id = new_id;
    RETURN ARRAY[NULL, coalesce(actual, -1), repeated];
  END IF;

  PERFORM pg_notify('stored_events_' || ${logTable(schema)}::regclass::oid, new_position::text);
  RETURN ARRAY[new_position];
END;
$function$`
}
