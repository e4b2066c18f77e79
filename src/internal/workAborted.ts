/** A statement of the work failed, the work went on all the same, and the database has given the transaction up. */
export class WorkAborted extends Error {
  override readonly name = "WorkAborted"
  constructor() {
    super(
      "one of its SQL statements failed and it went on: PostgreSQL does no more in that transaction; let it fail, or run what may fail in a withTransaction of its own"
    )
  }
}
