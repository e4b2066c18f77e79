/** The rows of the index of a deadline: one for each aggregate on which something is to be decided. */

export interface Row {
  /** The id of the aggregate. */
  readonly id: string
  /** When something is due, in milliseconds since the epoch. */
  readonly dueAt: number
  /** The version of the aggregate to which this applies. */
  readonly version: number
}

/** The changes that events cause in the index. */
export interface Changes {
  readonly rows: ReadonlyArray<Row>
  /** The ids of aggregates on which nothing is due any more. */
  readonly gone: ReadonlyArray<string>
}

/** The order of the index: earlier times come first. */
export const compare = (a: Row, b: Row): number => a.dueAt - b.dueAt || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)
