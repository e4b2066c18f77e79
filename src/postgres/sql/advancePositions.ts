import { positions, quote } from "./identifiers.ts"

/**
 * The highest position that a reader may have seen: that of an existing event, or one drawn for an event that is gone.
 * While the position lock is held, every position that is drawn has to be above it, whatever the state of the sequence.
 *
 * The sequence alone is not enough: loading rows with their positions, a restored or replicated database, and `setval`
 * leave it below them, and a session's `CACHE` holds values that others have passed. Nor is the table alone: the newest
 * events may have been removed.
 */
export const highestPosition = (schema: string): string => `greatest(
      pg_catalog.pg_sequence_last_value(${positions(schema)}::regclass),
      (SELECT e.position FROM ${quote(schema)}.stored_events e ORDER BY e.position DESC LIMIT 1),
      0)`

/** A role that may not set the sequence draws from it instead, at most this often. */
const MOST_DRAWN = 1000

/**
 * `advance_positions` sets the sequence so that the next value drawn is above a position, while the position lock is
 * held. If it can't, it fails, and the error names the statement that does so.
 */
export const advancePositions = (schema: string): string => {
  const sequence = `${positions(schema)}::regclass`
  return `CREATE OR REPLACE FUNCTION ${quote(schema)}.advance_positions(highest bigint)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
  step bigint;
  least bigint;
  most bigint;
  drawn bigint;
BEGIN
  SELECT seqincrement, seqmin, seqmax INTO step, least, most
  FROM pg_catalog.pg_sequence WHERE seqrelid = ${sequence};
  IF step > 0 AND highest <= most - step THEN
    IF has_sequence_privilege(${sequence}, 'UPDATE') THEN
      PERFORM setval(${sequence}, greatest(highest, least));
      RETURN;
    END IF;
    FOR attempt IN 1..${MOST_DRAWN} LOOP
      drawn := nextval(${sequence});
      -- up to the end of the session's cache
      IF drawn >= highest AND drawn >= pg_catalog.pg_sequence_last_value(${sequence}) THEN
        RETURN;
      END IF;
    END LOOP;
  END IF;
  RAISE EXCEPTION USING
    ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('%s does not give out positions above %s, the highest that was: no reader would see an event there',
      ${positions(schema)}, highest),
    HINT = format('As its owner run: ALTER SEQUENCE %s AS bigint INCREMENT BY 1 MINVALUE 1 NO MAXVALUE CACHE 1 NO CYCLE '
      'START WITH 1 RESTART WITH %s;', ${positions(schema)}, highest + 1);
END;
$function$`
}
