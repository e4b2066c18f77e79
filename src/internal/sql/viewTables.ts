/** The library's own tables in the database of views. */

/** The statements that create them. */
export const tables = (own: string): ReadonlyArray<string> => [
  `CREATE TABLE IF NOT EXISTS ${own}projection_tracking (
  projection text    NOT NULL,
  version    integer NOT NULL,
  upstream   text    NOT NULL,
  slice      integer NOT NULL,
  mode       text    NOT NULL,
  status     text    NOT NULL,
  log_id     text    NOT NULL,
  aggregates text    NOT NULL,
  position   bigint,
  seen       text,
  begins     text,
  PRIMARY KEY (projection, version, upstream, slice)
)`,
  `CREATE TABLE IF NOT EXISTS ${own}projection_dead_letters (
  projection     text    NOT NULL,
  version        integer NOT NULL,
  upstream       text    NOT NULL,
  slice          integer NOT NULL,
  position       bigint  NOT NULL,
  stream         text    NOT NULL,
  stream_version integer NOT NULL,
  event_id       text    NOT NULL,
  type           text    NOT NULL,
  cause          text    NOT NULL,
  attempts       integer NOT NULL,
  set_aside_at   bigint  NOT NULL,
  PRIMARY KEY (projection, version, upstream, slice, position)
)`,
  `CREATE TABLE IF NOT EXISTS ${own}projection_leases (
  projection text    NOT NULL,
  version    integer NOT NULL,
  upstream   text    NOT NULL,
  slice      integer NOT NULL,
  holder     text    NOT NULL,
  expires_at bigint  NOT NULL,
  length     bigint,
  length_of  text,
  PRIMARY KEY (projection, version, upstream, slice)
)`
]

/** The columns that tables of an earlier version of the library lack. That version continues to work with them. */
export const added: ReadonlyArray<{ readonly table: string; readonly column: string; readonly type: string }> = [
  { table: "projection_tracking", column: "seen", type: "text" },
  { table: "projection_tracking", column: "begins", type: "text" },
  // the types of events that it has ignored, as JSON; NULL: not recorded
  { table: "projection_tracking", column: "ignores", type: "text" },
  // the name of the version's place; NULL: the default one
  { table: "projection_tracking", column: "place", type: "text" },
  // 1: it has caught up once, and programs that define this version read it
  { table: "projection_tracking", column: "ready", type: "integer NOT NULL DEFAULT 0" },
  // for how long a lease was taken, in milliseconds, and by whom: earlier versions of the library leave both unchanged
  { table: "projection_leases", column: "length", type: "bigint" },
  { table: "projection_leases", column: "length_of", type: "text" }
]

/** The tables that have rows of a version, by its key. */
export const keyedTables = ["projection_dead_letters", "projection_leases", "projection_tracking"] as const
