import { quote } from "./identifiers.ts"

/**
 * The tables of a log.
 *
 * A payload is stored as text if its encoding kept it as text (plain JSON), so that `psql` shows it, and as bytes
 * otherwise. Names are compared byte by byte (`COLLATE "C"`), whatever the database's language.
 */
export const tables = (schema: string): ReadonlyArray<string> => {
  const s = quote(schema)
  return [
    `CREATE TABLE ${s}.stored_events (
  position       bigint                NOT NULL,
  stream         text      COLLATE "C" NOT NULL,
  version        integer               NOT NULL,
  id             uuid                  NOT NULL,
  type           text      COLLATE "C" NOT NULL,
  schema_version integer               NOT NULL,
  encoding       text      COLLATE "C" NOT NULL,
  payload_text   text,
  payload_bytes  bytea,
  metadata       text                  NOT NULL,
  recorded_at    bigint                NOT NULL,
  CONSTRAINT stored_events_pkey PRIMARY KEY (position),
  CONSTRAINT stored_events_stream_version_key UNIQUE (stream, version),
  CONSTRAINT stored_events_id_key UNIQUE (id),
  CONSTRAINT stored_events_one_payload CHECK ((payload_text IS NULL) <> (payload_bytes IS NULL))
)`,
    `COMMENT ON COLUMN ${s}.stored_events.recorded_at IS 'milliseconds since the epoch: to_timestamp(recorded_at / 1000.0)'`,
    // drawn from under the position lock only, so that its order is the order of commits
    `CREATE SEQUENCE ${s}.stored_events_position AS bigint CACHE 1 OWNED BY ${s}.stored_events.position`,
    `CREATE TABLE ${s}.stored_snapshots (
  stream         text      COLLATE "C" NOT NULL PRIMARY KEY,
  version        integer               NOT NULL,
  schema_version integer               NOT NULL,
  encoding       text      COLLATE "C" NOT NULL,
  payload_text   text,
  payload_bytes  bytea,
  created_at     bigint                NOT NULL,
  modified_at    bigint                NOT NULL,
  CONSTRAINT stored_snapshots_one_payload CHECK ((payload_text IS NULL) <> (payload_bytes IS NULL))
)`,
    `CREATE TABLE ${s}.stored_tracking (
  projection         text    COLLATE "C" NOT NULL,
  projection_version integer             NOT NULL,
  upstream           text    COLLATE "C" NOT NULL,
  slice              integer             NOT NULL,
  position           bigint              NOT NULL,
  PRIMARY KEY (projection, projection_version, upstream, slice)
)`
  ]
}
