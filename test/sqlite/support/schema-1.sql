-- what commit 6e72552 made of a new file
  CREATE TABLE IF NOT EXISTS stored_log (
    only_row       INTEGER PRIMARY KEY CHECK (only_row = 1),
    log_id         TEXT    NOT NULL,
    schema_version INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE stored_events (
    position       INTEGER PRIMARY KEY AUTOINCREMENT,
    stream         TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    encoding       TEXT    NOT NULL,
    payload        ANY     NOT NULL,
    metadata       TEXT    NOT NULL,
    recorded_at    INTEGER NOT NULL,
    UNIQUE (stream, version)
  ) STRICT;

  CREATE TABLE stored_snapshots (
    stream         TEXT    PRIMARY KEY,
    version        INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    encoding       TEXT    NOT NULL,
    payload        ANY     NOT NULL,
    created_at     INTEGER NOT NULL,
    modified_at    INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE stored_tracking (
    projection         TEXT    NOT NULL,
    projection_version INTEGER NOT NULL,
    upstream           TEXT    NOT NULL,
    slice              INTEGER NOT NULL,
    position           INTEGER NOT NULL,
    PRIMARY KEY (projection, projection_version, upstream, slice)
  ) STRICT, WITHOUT ROWID;
INSERT INTO stored_log (only_row, log_id, schema_version) VALUES (1, '0192aa6a-4c00-7000-8000-000000000001', 1);
