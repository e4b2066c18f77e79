CREATE SCHEMA IF NOT EXISTS "public";

CREATE TABLE IF NOT EXISTS "public".stored_log (
  only_row       boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
  log_id         text    NOT NULL,
  schema_version integer NOT NULL
);

CREATE TABLE "public".stored_events (
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

COMMENT ON COLUMN "public".stored_events.recorded_at IS 'milliseconds since the epoch: to_timestamp(recorded_at / 1000.0)';

CREATE SEQUENCE "public".stored_events_position AS bigint CACHE 1 OWNED BY "public".stored_events.position;

CREATE TABLE "public".stored_snapshots (
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

CREATE TABLE "public".stored_tracking (
  projection         text    COLLATE "C" NOT NULL,
  projection_version integer             NOT NULL,
  upstream           text    COLLATE "C" NOT NULL,
  slice              integer             NOT NULL,
  position           bigint              NOT NULL,
  PRIMARY KEY (projection, projection_version, upstream, slice)
);

ALTER TABLE "public".stored_log ADD COLUMN IF NOT EXISTS revision integer;

COMMENT ON COLUMN "public".stored_log.revision IS 'the version of the schema; schema_version is the one that an application has to know at least';

ALTER TABLE "public".stored_tracking ADD COLUMN IF NOT EXISTS note text;

CREATE OR REPLACE FUNCTION "public".lock_positions(timeout integer)
RETURNS void
LANGUAGE plpgsql
AS $function$
DECLARE
  key bigint := (1702260340::bigint << 32) | '"public".stored_events'::regclass::oid::bigint;
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
        coalesce(holder::text, '(gone by now)'), '"public".stored_events', timeout),
      HINT = 'An append is the last thing that a transaction does: commit right after it. SELECT * FROM pg_stat_activity '
        'WHERE pid = ' || coalesce(holder::text, '...') || ' shows what the process does, SELECT pg_terminate_backend('
        || coalesce(holder::text, '...') || ') ends it.';
  END;
  PERFORM set_config('lock_timeout', timeout_before, true);
END;
$function$;

CREATE OR REPLACE FUNCTION "public".advance_positions(highest bigint)
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
  FROM pg_catalog.pg_sequence WHERE seqrelid = '"public".stored_events_position'::regclass;
  IF step > 0 AND highest <= most - step THEN
    IF has_sequence_privilege('"public".stored_events_position'::regclass, 'UPDATE') THEN
      PERFORM setval('"public".stored_events_position'::regclass, greatest(highest, least));
      RETURN;
    END IF;
    FOR attempt IN 1..1000 LOOP
      drawn := nextval('"public".stored_events_position'::regclass);
      -- up to the end of the session's cache
      IF drawn >= highest AND drawn >= pg_catalog.pg_sequence_last_value('"public".stored_events_position'::regclass) THEN
        RETURN;
      END IF;
    END LOOP;
  END IF;
  RAISE EXCEPTION USING
    ERRCODE = 'object_not_in_prerequisite_state',
    MESSAGE = format('%s does not give out positions above %s, the highest that was: no reader would see an event there',
      '"public".stored_events_position', highest),
    HINT = format('As its owner run: ALTER SEQUENCE %s AS bigint INCREMENT BY 1 MINVALUE 1 NO MAXVALUE CACHE 1 NO CYCLE '
      'START WITH 1 RESTART WITH %s;', '"public".stored_events_position', highest + 1);
END;
$function$;

CREATE OR REPLACE FUNCTION "public".append_events(
  lock_timeout integer,
  part_append integer[],
  part_stream text[],
  part_version integer[],
  event_append integer[],
  event_stream text[],
  event_version integer[],
  event_id uuid[],
  event_type text[],
  event_schema_version integer[],
  event_encoding text[],
  event_payload_text text[],
  event_payload_bytes bytea[],
  event_metadata text[],
  event_recorded_at bigint[],
  move_projection text,
  move_projection_version integer,
  move_upstream text,
  move_slice integer,
  move_from bigint,
  move_to bigint,
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
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING
      ERRCODE = 'feature_not_supported',
      MESSAGE = format('an append in a %s transaction does not see what others have appended since it began',
        upper(current_setting('transaction_isolation'))),
      HINT = 'Begin the transaction READ COMMITTED.';
  END IF;
  IF NOT pg_try_advisory_xact_lock((1702260340::bigint << 32) | '"public".stored_events'::regclass::oid::bigint) THEN
    PERFORM "public".lock_positions(lock_timeout);
  END IF;

  actual := ARRAY(
    SELECT coalesce(
      -- one index entry if the version is as expected, however many events the stream has
      (SELECT e.version FROM "public".stored_events e WHERE e.stream = part.stream AND e.version >= part.expected
        ORDER BY e.version DESC LIMIT 1),
      CASE WHEN part.expected >= 0 THEN
        (SELECT e.version FROM "public".stored_events e WHERE e.stream = part.stream ORDER BY e.version DESC LIMIT 1) END,
      -1)
    FROM (SELECT unnest(part_stream) AS stream, unnest(part_version) AS expected) AS part);

  IF move_to IS NOT NULL THEN
    SELECT t.position INTO tracking FROM "public".stored_tracking t
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
      INSERT INTO "public".stored_tracking AS t (projection, projection_version, upstream, slice, position)
      VALUES (move_projection, move_projection_version, move_upstream, move_slice, move_to)
      ON CONFLICT (projection, projection_version, upstream, slice) DO UPDATE SET position = excluded.position
      RETURNING t.position INTO tracking;
      IF tracking IS DISTINCT FROM move_to THEN
        RAISE EXCEPTION USING
          ERRCODE = 'integrity_constraint_violation',
          MESSAGE = format('a trigger or row-level security of %s has kept the tracking of %s from being moved',
            '"public".stored_tracking', move_projection);
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
        LEFT JOIN "public".stored_events e ON e.stream = event.stream AND e.version = event.version AND e.id = event.id
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
    SELECT greatest(
      pg_catalog.pg_sequence_last_value('"public".stored_events_position'::regclass),
      (SELECT e.position FROM "public".stored_events e ORDER BY e.position DESC LIMIT 1),
      0), c.relkind <> 'r' OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity INTO highest, alterable
    FROM pg_catalog.pg_class c WHERE c.oid = '"public".stored_events'::regclass;
    SELECT min(p), max(p) INTO first_position, last_drawn
    FROM (SELECT nextval('"public".stored_events_position'::regclass) AS p FROM (SELECT generate_series(1, events)) AS n) AS drawn;
    EXIT WHEN first_position > highest AND last_drawn - first_position >= events - 1;
    PERFORM "public".advance_positions(greatest(highest, last_drawn));
  END LOOP;

  INSERT INTO "public".stored_events
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
  WHERE (refused IS NULL OR event.append <> ALL (refused));

  IF alterable THEN
    SELECT event.id, event.stream INTO altered
    FROM (
    SELECT generate_series(first_position, first_position + events - 1) AS position,
      unnest(event_append) AS append, unnest(event_stream) AS stream, unnest(event_version) AS version,
      unnest(event_id) AS id, unnest(event_type) AS type, unnest(event_schema_version) AS schema_version,
      unnest(event_encoding) AS encoding, unnest(event_payload_text) AS payload_text,
      unnest(event_payload_bytes) AS payload_bytes, unnest(event_metadata) AS metadata,
      unnest(event_recorded_at) AS recorded_at
  ) AS event
  WHERE (refused IS NULL OR event.append <> ALL (refused)) AND NOT EXISTS (
      SELECT FROM "public".stored_events e
      WHERE e.position = event.position AND e.stream = event.stream AND e.version = event.version AND e.id = event.id
        AND e.type = event.type AND e.schema_version = event.schema_version AND e.encoding = event.encoding
        AND e.payload_text IS NOT DISTINCT FROM event.payload_text AND e.payload_bytes IS NOT DISTINCT FROM event.payload_bytes
    )
    LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('a trigger, a rule or row-level security of %s has dropped or changed event %s of stream %s',
          '"public".stored_events', altered.id, altered.stream),
        HINT = 'Events are recorded as they are sent, or not at all: a trigger can refuse one with an exception, and change '
          'its metadata and recorded_at only.';
    END IF;
  END IF;

  PERFORM pg_notify('stored_events_' || '"public".stored_events'::regclass::oid, (first_position + events - 1)::text);
END;
$function$;

CREATE OR REPLACE FUNCTION "public".append_tracked(
  lock_timeout integer,
  part_append integer[],
  part_stream text[],
  part_version integer[],
  event_append integer[],
  event_stream text[],
  event_version integer[],
  event_id uuid[],
  event_type text[],
  event_schema_version integer[],
  event_encoding text[],
  event_payload_text text[],
  event_payload_bytes bytea[],
  event_metadata text[],
  event_recorded_at bigint[],
  move_projection text,
  move_projection_version integer,
  move_upstream text,
  move_slice integer,
  move_from bigint,
  move_to bigint,
  move_note text,
  OUT first_position bigint, OUT actual integer[], OUT refused integer[], OUT repeated bigint[], OUT tracked bigint
)
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
  SELECT appended.first_position, appended.actual, appended.refused, appended.repeated, appended.tracked
  INTO first_position, actual, refused, repeated, tracked
  FROM "public".append_events(
    lock_timeout => lock_timeout,
    part_append => part_append,
    part_stream => part_stream,
    part_version => part_version,
    event_append => event_append,
    event_stream => event_stream,
    event_version => event_version,
    event_id => event_id,
    event_type => event_type,
    event_schema_version => event_schema_version,
    event_encoding => event_encoding,
    event_payload_text => event_payload_text,
    event_payload_bytes => event_payload_bytes,
    event_metadata => event_metadata,
    event_recorded_at => event_recorded_at,
    move_projection => move_projection,
    move_projection_version => move_projection_version,
    move_upstream => move_upstream,
    move_slice => move_slice,
    move_from => move_from,
    move_to => move_to
  ) AS appended;
  IF refused IS NULL AND tracked IS NULL THEN
    UPDATE "public".stored_tracking AS t SET note = move_note
    WHERE t.projection = move_projection AND t.projection_version = move_projection_version
      AND t.upstream = move_upstream AND t.slice = move_slice;
  END IF;
END;
$function$;

CREATE OR REPLACE FUNCTION "public".append_event(
  lock_timeout integer,
  new_stream text,
  expected_version integer,
  new_id uuid,
  new_type text,
  new_schema_version integer,
  new_encoding text,
  new_payload_text text,
  new_payload_bytes bytea,
  new_metadata text,
  new_recorded_at bigint
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
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING
      ERRCODE = 'feature_not_supported',
      MESSAGE = format('an append in a %s transaction does not see what others have appended since it began',
        upper(current_setting('transaction_isolation'))),
      HINT = 'Begin the transaction READ COMMITTED.';
  END IF;
  IF NOT pg_try_advisory_xact_lock((1702260340::bigint << 32) | '"public".stored_events'::regclass::oid::bigint) THEN
    PERFORM "public".lock_positions(lock_timeout);
  END IF;

  LOOP
    SELECT greatest(
      pg_catalog.pg_sequence_last_value('"public".stored_events_position'::regclass),
      (SELECT e.position FROM "public".stored_events e ORDER BY e.position DESC LIMIT 1),
      0), c.relkind <> 'r' OR c.relhastriggers OR c.relhasrules OR c.relrowsecurity INTO highest, alterable
    FROM pg_catalog.pg_class c WHERE c.oid = '"public".stored_events'::regclass;

    INSERT INTO "public".stored_events
      (position, stream, version, id, type, schema_version, encoding, payload_text, payload_bytes, metadata, recorded_at)
    SELECT drawn.position, new_stream,
      CASE WHEN expected_version < 2147483647 THEN expected_version + 1 END, new_id, new_type, new_schema_version,
      new_encoding, new_payload_text, new_payload_bytes, new_metadata, new_recorded_at
    FROM (SELECT nextval('"public".stored_events_position'::regclass) AS position OFFSET 0) AS drawn
    -- one index entry if the version is as expected, however many events the stream has
    WHERE expected_version = coalesce(
      (SELECT e.version FROM "public".stored_events e WHERE e.stream = new_stream AND e.version >= expected_version
        ORDER BY e.version DESC LIMIT 1),
      -1)
      AND drawn.position > highest;
    EXIT WHEN FOUND;

    SELECT max(e.version) INTO actual FROM "public".stored_events e WHERE e.stream = new_stream;
    actual := coalesce(actual, -1);
    IF actual <> expected_version THEN
      SELECT e.position INTO repeated FROM "public".stored_events e
      WHERE e.stream = new_stream AND e.version = expected_version::bigint + 1 AND e.id = new_id;
      RETURN ARRAY[NULL, actual, repeated];
    END IF;
    -- the drawn position was not above the highest; after advance_positions it is, so the row was dropped
    IF advanced THEN
      RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('a trigger, a rule or row-level security of %s has dropped or changed event %s of stream %s',
          '"public".stored_events', new_id, new_stream),
        HINT = 'Events are recorded as they are sent, or not at all: a trigger can refuse one with an exception, and change '
          'its metadata and recorded_at only.';
    END IF;
    PERFORM "public".advance_positions(highest);
    advanced := true;
  END LOOP;
  new_position := currval('"public".stored_events_position'::regclass);

  -- two conditions: a single one that contains a query is planned and run as a whole, even if its first half is false
  IF alterable THEN
    IF NOT EXISTS (
      SELECT FROM "public".stored_events e
      WHERE e.position = new_position AND e.stream = new_stream AND e.version = expected_version + 1 AND e.id = new_id
        AND e.type = new_type AND e.schema_version = new_schema_version AND e.encoding = new_encoding
        AND e.payload_text IS NOT DISTINCT FROM new_payload_text AND e.payload_bytes IS NOT DISTINCT FROM new_payload_bytes
    ) THEN
      RAISE EXCEPTION USING
        ERRCODE = 'integrity_constraint_violation',
        MESSAGE = format('a trigger, a rule or row-level security of %s has dropped or changed event %s of stream %s',
          '"public".stored_events', new_id, new_stream),
        HINT = 'Events are recorded as they are sent, or not at all: a trigger can refuse one with an exception, and change '
          'its metadata and recorded_at only.';
    END IF;
  END IF;

  PERFORM pg_notify('stored_events_' || '"public".stored_events'::regclass::oid, new_position::text);
  RETURN ARRAY[new_position];
END;
$function$;

INSERT INTO "public".stored_log (log_id, schema_version, revision)
VALUES (gen_random_uuid()::text, 1, 3)
ON CONFLICT (only_row) DO UPDATE SET schema_version = excluded.schema_version, revision = excluded.revision;

