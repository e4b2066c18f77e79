import { quote } from "./identifiers.ts"

/** Goes from one stream's name to the next in the index, without passing over the events between them. */
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

export const trackingPosition = (schema: string): string => `
SELECT position FROM ${quote(schema)}.stored_tracking
WHERE projection = $1 AND projection_version = $2 AND upstream = $3 AND slice = $4`

/** A snapshot takes the place of an older one, never of a newer. */
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
