/** Quotes a name for SQL, whatever characters it has. */
export const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`

/** Quotes a text for SQL. */
export const literal = (text: string): string =>
  text.includes("\\") ? ` E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'` : `'${text.replaceAll("'", "''")}'`

/** The log's table, which also stands for the log where PostgreSQL wants a number: in its lock and its channel. */
export const logTable = (schema: string): string => literal(`${quote(schema)}.stored_events`)

/** What the positions of a log are drawn from. */
export const positions = (schema: string): string => literal(`${quote(schema)}.stored_events_position`)
