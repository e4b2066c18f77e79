import { highestPosition } from "./advancePositions.ts"
import { declaration, namedArguments } from "./functions.ts"
import { literal, logTable, positions, quote } from "./identifiers.ts"
import { lockKey, refuseOldSnapshots } from "./lockPositions.ts"
import { isAlterable, refuseAltered, sameEvent } from "./refuseAltered.ts"

export const appendEventsParameters = [
  ["lock_timeout", "integer"],
  ["part_append", "integer[]"],
  ["part_stream", "text[]"],
  ["part_version", "integer[]"],
  ["event_append", "integer[]"],
  ["event_stream", "text[]"],
  ["event_version", "integer[]"],
  ["event_id", "uuid[]"],
  ["event_type", "text[]"],
  ["event_schema_version", "integer[]"],
  ["event_encoding", "text[]"],
  ["event_payload_text", "text[]"],
  ["event_payload_bytes", "bytea[]"],
  ["event_metadata", "text[]"],
  ["event_recorded_at", "bigint[]"],
  ["move_projection", "text"],
  ["move_projection_version", "integer"],
  ["move_upstream", "text"],
  ["move_slice", "integer"],
  ["move_from", "bigint"],
  ["move_to", "bigint"]
] as const

/**
 * `append_events` records several independent appends in one call. Each of them is accepted or refused on its own.
 *
 * An append has parts. A part is a stream that has to be at a version (-1: it has no event), to append to or only to
 * check. The events of all parts are passed in the order in which they are to be recorded, each with its place. No two
 * parts of a call name the same stream.
 *
 * Arrays are unnested in select lists, where they advance in step and in order. As functions in FROM, each would first
 * be written to a tuplestore of its own.
 *
 * Under the position lock the function only checks and inserts, and what it checks is read after the lock was taken
 * (each statement of a VOLATILE function sees what is committed by then).
 *
 * Returns:
 * - first_position: the position of the first event; the others follow it one by one. An event of a refused append
 *   leaves a gap.
 * - actual: the versions of the parts, if they are not all as expected.
 * - refused: the appends of which a part is not at its version.
 * - repeated: in the order of refused, the position of the last event of an append whose very events are already
 *   recorded: it was sent again, and is not refused at all.
 * - tracked: the current position of the tracking, if it differs from the one to be moved from: nothing was done then.
 *   -1 if there is none.
 *
 * The only append of a call may carry a tracking move.
 */
export const appendEvents = (schema: string): string => {
  const s = quote(schema)
  const recorded = `(
    SELECT generate_series(first_position, first_position + events - 1) AS position,
      unnest(event_append) AS append, unnest(event_stream) AS stream, unnest(event_version) AS version,
      unnest(event_id) AS id, unnest(event_type) AS type, unnest(event_schema_version) AS schema_version,
      unnest(event_encoding) AS encoding, unnest(event_payload_text) AS payload_text,
      unnest(event_payload_bytes) AS payload_bytes, unnest(event_metadata) AS metadata,
      unnest(event_recorded_at) AS recorded_at
  ) AS event
  WHERE (refused IS NULL OR event.append <> ALL (refused))`
  return `CREATE OR REPLACE FUNCTION ${s}.append_events(
${declaration(appendEventsParameters)},
  OUT first_position bigint, OUT actual integer[], OUT refused integer[], OUT repeated bigint[], OUT tracked bigint
)
LANGUAGE plpgsql VOLATILE
-- planned once: a call with more appends than another is no reason to plan it again
SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  events integer := cardinality(event_id);
  tracking bigint;
  highest bigint;
  last_drawn bigint;
  alterable boolean;
  altered record;
BEGIN
  ${refuseOldSnapshots}
  IF NOT pg_try_advisory_xact_lock(${lockKey(schema)}) THEN
    PERFORM ${s}.lock_positions(lock_timeout);
  END IF;

  actual := ARRAY(
    SELECT coalesce(
      -- one index entry if the version is as expected, however many events the stream has
      (SELECT e.version FROM ${s}.stored_events e WHERE e.stream = part.stream AND e.version >= part.expected
        ORDER BY e.version DESC LIMIT 1),
      CASE WHEN part.expected >= 0 THEN
        (SELECT e.version FROM ${s}.stored_events e WHERE e.stream = part.stream ORDER BY e.version DESC LIMIT 1) END,
      -1)
    FROM (SELECT unnest(part_stream) AS stream, unnest(part_version) AS expected) AS part);

  IF move_to IS NOT NULL THEN
    SELECT t.position INTO tracking FROM ${s}.stored_tracking t
    WHERE t.projection = move_projection AND t.projection_version = move_projection_version
      AND t.upstream = move_upstream AND t.slice = move_slice;
  END IF;

  IF actual = part_version THEN
    actual := NULL;
    IF move_to IS NOT NULL THEN
      IF tracking IS DISTINCT FROM move_from THEN
        tracked := coalesce(tracking, -1);
        RETURN;
      END IF;
      INSERT INTO ${s}.stored_tracking AS t (projection, projection_version, upstream, slice, position)
      VALUES (move_projection, move_projection_version, move_upstream, move_slice, move_to)
      ON CONFLICT (projection, projection_version, upstream, slice) DO UPDATE SET position = excluded.position
      RETURNING t.position INTO tracking;
      IF tracking IS DISTINCT FROM move_to THEN
        RAISE EXCEPTION USING
          ERRCODE = 'integrity_constraint_violation',
          MESSAGE = format('a trigger or row-level security of %s has kept the tracking of %s from being moved',
            ${literal(`${s}.stored_tracking`)}, move_projection);
      END IF;
    END IF;
  ELSE
    refused := ARRAY(
      SELECT DISTINCT part.append
      FROM unnest(part_append, part_version, actual) AS part (append, expected, actual)
      WHERE part.expected <> part.actual
      ORDER BY part.append);
    repeated := ARRAY(
      SELECT CASE WHEN move_to IS NULL OR tracking >= move_to THEN sent.position END
      FROM unnest(refused) AS one (append)
      LEFT JOIN (
        SELECT event.append, CASE WHEN bool_and(e.position IS NOT NULL) THEN max(e.position) END AS position
        FROM unnest(event_append, event_stream, event_version, event_id) AS event (append, stream, version, id)
        LEFT JOIN ${s}.stored_events e ON e.stream = event.stream AND e.version = event.version AND e.id = event.id
        WHERE event.append = ANY (refused)
        GROUP BY event.append
      ) AS sent ON sent.append = one.append
      ORDER BY one.append);
    IF NOT EXISTS (SELECT FROM unnest(event_append) AS event (append) WHERE event.append <> ALL (refused)) THEN
      RETURN;
    END IF;
  END IF;

  IF events = 0 THEN
    RETURN;
  END IF;
  LOOP
    SELECT ${highestPosition(schema)}, ${isAlterable} INTO highest, alterable
    FROM pg_catalog.pg_class c WHERE c.oid = ${logTable(schema)}::regclass;
    SELECT min(p), max(p) INTO first_position, last_drawn
    FROM (SELECT nextval(${positions(schema)}::regclass) AS p FROM (SELECT generate_series(1, events)) AS n) AS drawn;
    EXIT WHEN first_position > highest AND last_drawn - first_position >= events - 1;
    PERFORM ${s}.advance_positions(greatest(highest, last_drawn));
  END LOOP;

  INSERT INTO ${s}.stored_events
    (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
  SELECT event.position, event.stream, event.version, event.id, event.type, event.schema_version,
    event.encoding, event.payload_text, event.payload_bytes, event.metadata, event.recorded_at
  FROM ${recorded};

  IF alterable THEN
    SELECT event.id, event.stream INTO altered
    FROM ${recorded} AND NOT EXISTS (
      SELECT FROM ${s}.stored_events e
      WHERE e.position = event.position AND e.stream = event.stream AND e.version = event.version AND e.id = event.id
        AND ${sameEvent("event.type", "event.schema_version", "event.encoding", "event.payload_text", "event.payload_bytes")}
    )
    LIMIT 1;
    IF FOUND THEN
      ${refuseAltered(schema, "altered.id", "altered.stream")}
    END IF;
  END IF;

  PERFORM pg_notify('stored_events_' || ${logTable(schema)}::regclass::oid, (first_position + events - 1)::text);
END;
$function$`
}

export const callAppendEvents = (schema: string): string =>
  `SELECT first_position, actual, refused, repeated, tracked
  FROM ${quote(schema)}.append_events(${namedArguments(appendEventsParameters)})`
