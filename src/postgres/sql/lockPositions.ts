import { logTable, quote } from "./identifiers.ts"

/** Distinguishes this library's advisory locks from all others in a database. */
const NAMESPACE = 1702260340

/** The key of the position lock: one for each log. */
export const lockKey = (schema: string): string =>
  `(${NAMESPACE}::bigint << 32) | ${logTable(schema)}::regclass::oid::bigint`

/**
 * Refuses a transaction that sees the log as of its beginning: it can't tell what has been appended since, neither for
 * a version that it appends at nor for one that it only checks.
 */
export const refuseOldSnapshots = `IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING
      ERRCODE = 'feature_not_supported',
      MESSAGE = format('an append in a %s transaction does not see what others have appended since it began',
        upper(current_setting('transaction_isolation'))),
      HINT = 'Begin the transaction READ COMMITTED.';
  END IF;`

/**
 * `lock_positions` takes the position lock and holds it to the end of the transaction. Only its holder assigns
 * positions, so they are committed in order (G3).
 *
 * It waits for at most `timeout` milliseconds, or without limit if that is 0, and then fails with an error that names
 * the holder of the lock.
 */
export const lockPositions = (
  schema: string
): string => `CREATE OR REPLACE FUNCTION ${quote(schema)}.lock_positions(timeout integer)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
  key bigint := ${lockKey(schema)};
  timeout_before text;
  holder integer;
BEGIN
  IF pg_try_advisory_xact_lock(key) THEN
    RETURN;
  END IF;

  timeout_before := current_setting('lock_timeout');
  BEGIN
    PERFORM set_config('lock_timeout', timeout::text, true);
    PERFORM pg_advisory_xact_lock(key);
  EXCEPTION WHEN lock_not_available THEN
    SELECT pid INTO holder
    FROM pg_catalog.pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND classid::bigint = key >> 32 AND objid::bigint = key & 4294967295
      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database());
    RAISE EXCEPTION USING
      ERRCODE = 'lock_not_available',
      MESSAGE = format('process %s has held the position lock of %s for %s ms',
        coalesce(holder::text, '(gone by now)'), ${logTable(schema)}, timeout),
      HINT = 'An append is the last thing that a transaction does: commit right after it. SELECT * FROM pg_stat_activity '
        'WHERE pid = ' || coalesce(holder::text, '...') || ' shows what the process does, SELECT pg_terminate_backend('
        || coalesce(holder::text, '...') || ') ends it.';
  END;
  PERFORM set_config('lock_timeout', timeout_before, true);
END;
$function$`
