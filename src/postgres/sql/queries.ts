import { quote } from "./identifiers.ts"

/** Skips from one stream's name to the next in the index, without reading the events between them. */
export const listStreams = (schema: string): string => {
  const events = `${quote(schema)}.stored_events`
  return `
WITH RECURSIVE names (stream) AS (
  SELECT (SELECT min(stream) FROM ${events} WHERE stream > $1 AND stream >= $2)
  UNION ALL
  SELECT (SELECT min(e.stream) FROM ${events} e WHERE e.stream > names.stream)
  FROM names WHERE names.stream IS NOT NULL AND ($3::text IS NULL OR names.stream < $3)
)
SELECT stream, (SELECT max(e.version) FROM ${events} e WHERE e.stream = names.stream) AS version
FROM names WHERE stream IS NOT NULL AND ($3::text IS NULL OR stream < $3)
LIMIT $4`
}

/** A schema of an older version has no column for the note. */
export const trackingProgress = (schema: string): string => `
SELECT position, to_jsonb(t) ->> 'note' FROM ${quote(schema)}.stored_tracking t
WHERE projection = $1 AND projection_version = $2 AND upstream = $3 AND slice = $4`

/**
 * The state of an append before anything of it is done, as of this statement and without the position lock: the
 * versions of its parts; the tracking; and, if the versions are not all as expected, the position of the last of its
 * events if these very events are already recorded.
 *
 * Returns no row in a transaction that sees the log as of its beginning.
 */
export const precheckAppend = (schema: string): string => {
  const s = quote(schema)
  return `
WITH now AS MATERIALIZED (
  SELECT ARRAY(
    SELECT coalesce(
      (SELECT e.version FROM ${s}.stored_events e WHERE e.stream = part.stream ORDER BY e.version DESC LIMIT 1), -1)
    FROM (SELECT unnest($1::text[]) AS stream) AS part) AS actual
)
SELECT now.actual,
  CASE WHEN now.actual <> $2::integer[] THEN (
    SELECT CASE WHEN bool_and(e.position IS NOT NULL) THEN max(e.position) END
    FROM unnest($3::text[], $4::integer[], $5::uuid[]) AS event (stream, version, id)
    LEFT JOIN ${s}.stored_events e ON e.stream = event.stream AND e.version = event.version AND e.id = event.id) END,
  (SELECT t.position FROM ${s}.stored_tracking t
    WHERE t.projection = $6 AND t.projection_version = $7 AND t.upstream = $8 AND t.slice = $9)
FROM now WHERE current_setting('transaction_isolation') = 'read committed'`
}

/** A snapshot replaces an older one, never a newer one. */
export const saveSnapshot = (schema: string): string => `
INSERT INTO ${quote(schema)}.stored_snapshots AS kept
  (stream, version, schema_version, encoding, payload_text, payload_bytes, created_at, modified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (stream) DO UPDATE SET
  version = excluded.version, schema_version = excluded.schema_version, encoding = excluded.encoding,
  payload_text = excluded.payload_text, payload_bytes = excluded.payload_bytes,
  created_at = excluded.created_at, modified_at = excluded.modified_at
WHERE excluded.version >= kept.version`

export const loadSnapshot = (schema: string): string => `
SELECT stream, version, schema_version, encoding, payload_text, payload_bytes, created_at, modified_at
FROM ${quote(schema)}.stored_snapshots WHERE stream = $1`
