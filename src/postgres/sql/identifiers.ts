/** Quotes a name for SQL, whatever characters it contains. */
export const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** Quotes a text for SQL. */
export const literal = (text: string): string =>
  text.includes("\\") ? ` E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'` : `'${text.replaceAll("'", "''")}'`

/** The log's table. It also identifies the log where PostgreSQL needs a number: in its lock and its channel. */
export const logTable = (schema: string): string => literal(`${quote(schema)}.stored_events`)

/** The sequence from which the positions of a log are drawn. */
export const positions = (schema: string): string => literal(`${quote(schema)}.stored_events_position`)
