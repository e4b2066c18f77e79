CREATE SCHEMA IF NOT EXISTS "version_1";

CREATE TABLE IF NOT EXISTS "version_1".stored_log (
  only_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  log_id         text    NOT NULL,
  schema_version integer NOT NULL
);

CREATE TABLE "version_1".stored_events (
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
);

COMMENT ON COLUMN "version_1".stored_events.recorded_at IS 'milliseconds since the epoch: to_timestamp(recorded_at / 1000.0)';

CREATE SEQUENCE "version_1".stored_events_position AS bigint CACHE 1 OWNED BY "version_1".stored_events.position;

CREATE TABLE "version_1".stored_snapshots (
  stream         text      COLLATE "C" NOT NULL PRIMARY KEY,
  version        integer               NOT NULL,
  schema_version integer               NOT NULL,
  encoding       text      COLLATE "C" NOT NULL,
  payload_text   text,
  payload_bytes  bytea,
  created_at     bigint                NOT NULL,
  modified_at    bigint                NOT NULL,
  CONSTRAINT stored_snapshots_one_payload CHECK ((payload_text IS NULL) <> (payload_bytes IS NULL))
);

CREATE TABLE "version_1".stored_tracking (
  projection         text    COLLATE "C" NOT NULL,
  projection_version integer             NOT NULL,
  upstream           text    COLLATE "C" NOT NULL,
  slice              integer             NOT NULL,
  position           bigint              NOT NULL,
  PRIMARY KEY (projection, projection_version, upstream, slice)
);

CREATE FUNCTION "version_1".lock_positions(timeout integer)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
  key bigint := (1702260340::bigint << 32) | '"version_1".stored_events'::regclass::oid::bigint;
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
        coalesce(holder::text, '(gone by now)'), '"version_1".stored_events', timeout),
      HINT = 'An append is the last thing that a transaction does: commit right after it. SELECT * FROM pg_stat_activity '
        'WHERE pid = ' || coalesce(holder::text, '...') || ' shows what the process does, SELECT pg_terminate_backend('
        || coalesce(holder::text, '...') || ') ends it.';
  END;
  PERFORM set_config('lock_timeout', timeout_before, true);
END;
$function$;

CREATE FUNCTION "version_1".append_events(
  lock_timeout integer,
  part_append integer[], part_stream text[], part_version integer[],
  event_append integer[], event_stream text[], event_version integer[], event_id uuid[], event_type text[],
  event_schema_version integer[], event_encoding text[], event_payload_text text[], event_payload_bytes bytea[],
  event_metadata text[], event_recorded_at bigint[],
  move_projection text, move_projection_version integer, move_upstream text, move_slice integer,
  move_from bigint, move_to bigint,
  OUT first_position bigint, OUT actual integer[], OUT refused integer[], OUT repeated bigint[], OUT tracked bigint
)
LANGUAGE plpgsql VOLATILE
-- planned once: that one call has more appends than another is no reason to plan it anew
SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  events integer := cardinality(event_id);
  tracking bigint;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING
      ERRCODE = 'feature_not_supported',
      MESSAGE = format('an append in a %s transaction does not see what others have appended since it began',
        upper(current_setting('transaction_isolation'))),
      HINT = 'Begin the transaction READ COMMITTED.';
  END IF;
  IF NOT pg_try_advisory_xact_lock((1702260340::bigint << 32) | '"version_1".stored_events'::regclass::oid::bigint) THEN
    PERFORM "version_1".lock_positions(lock_timeout);
  END IF;

  actual := ARRAY(
    SELECT coalesce(
      -- one entry of the index where the version is as expected, however many the stream has
      (SELECT e.version FROM "version_1".stored_events e WHERE e.stream = part.stream AND e.version >= part.expected
        ORDER BY e.version DESC LIMIT 1),
      CASE WHEN part.expected >= 0 THEN
        (SELECT e.version FROM "version_1".stored_events e WHERE e.stream = part.stream ORDER BY e.version DESC LIMIT 1) END,
      -1)
    FROM (SELECT unnest(part_stream) AS stream, unnest(part_version) AS expected) AS part);

  IF move_to IS NOT NULL THEN
    SELECT t.position INTO tracking FROM "version_1".stored_tracking t
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
      INSERT INTO "version_1".stored_tracking AS t (projection, projection_version, upstream, slice, position)
      VALUES (move_projection, move_projection_version, move_upstream, move_slice, move_to)
      ON CONFLICT (projection, projection_version, upstream, slice) DO UPDATE SET position = excluded.position;
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
        LEFT JOIN "version_1".stored_events e ON e.stream = event.stream AND e.version = event.version AND e.id = event.id
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
  first_position := min(p)
  FROM (SELECT nextval('"version_1".stored_events_position'::regclass) AS p FROM (SELECT generate_series(1, events)) AS n) AS drawn;
  INSERT INTO "version_1".stored_events
    (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
  SELECT event.position, event.stream, event.version, event.id, event.type, event.schema_version,
    event.encoding, event.payload_text, event.payload_bytes, event.metadata, event.recorded_at
  FROM (
    SELECT generate_series(first_position, first_position + events - 1) AS position,
      unnest(event_append) AS append, unnest(event_stream) AS stream, unnest(event_version) AS version,
      unnest(event_id) AS id, unnest(event_type) AS type, unnest(event_schema_version) AS schema_version,
      unnest(event_encoding) AS encoding, unnest(event_payload_text) AS payload_text,
      unnest(event_payload_bytes) AS payload_bytes, unnest(event_metadata) AS metadata,
      unnest(event_recorded_at) AS recorded_at
  ) AS event
  WHERE refused IS NULL OR event.append <> ALL (refused);

  PERFORM pg_notify('stored_events_' || '"version_1".stored_events'::regclass::oid, (first_position + events - 1)::text);
END;
$function$;

CREATE FUNCTION "version_1".append_event(
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
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING
      ERRCODE = 'feature_not_supported',
      MESSAGE = format('an append in a %s transaction does not see what others have appended since it began',
        upper(current_setting('transaction_isolation'))),
      HINT = 'Begin the transaction READ COMMITTED.';
  END IF;
  IF NOT pg_try_advisory_xact_lock((1702260340::bigint << 32) | '"version_1".stored_events'::regclass::oid::bigint) THEN
    PERFORM "version_1".lock_positions(lock_timeout);
  END IF;

  INSERT INTO "version_1".stored_events
    (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
  SELECT nextval('"version_1".stored_events_position'::regclass), new_stream,
    CASE WHEN expected_version < 2147483647 THEN expected_version + 1 END, new_id, new_type, new_schema_version,
    new_encoding, new_payload_text, new_payload_bytes, new_metadata, new_recorded_at
  -- one entry of the index where the version is as expected, however many the stream has
  WHERE expected_version = coalesce(
    (SELECT e.version FROM "version_1".stored_events e WHERE e.stream = new_stream AND e.version >= expected_version
      ORDER BY e.version DESC LIMIT 1),
    -1)
  RETURNING position INTO new_position;

  IF new_position IS NULL THEN
    SELECT max(e.version) INTO actual FROM "version_1".stored_events e WHERE e.stream = new_stream;
    SELECT e.position INTO repeated FROM "version_1".stored_events e
    WHERE e.stream = new_stream AND e.version = expected_version::bigint + 1 AND e.id = new_id;
    RETURN ARRAY[NULL, coalesce(actual, -1), repeated];
  END IF;

  PERFORM pg_notify('stored_events_' || '"version_1".stored_events'::regclass::oid, new_position::text);
  RETURN ARRAY[new_position];
END;
$function$;

INSERT INTO "version_1".stored_log (log_id, schema_version)
VALUES (gen_random_uuid()::text, 1)
ON CONFLICT (only_row) DO UPDATE SET schema_version = excluded.schema_version;
