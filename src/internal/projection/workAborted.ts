import { Predicate } from "effect"

/** Marks those of every copy of this package: the store of a view may be from another than its runner. */
const TypeId = "~effect-eventsourcing/WorkAborted"

/** A statement of the work failed, the work went on all the same, and the database has given the transaction up. */
export class WorkAborted extends Error {
  readonly _tag = "WorkAborted"
  override readonly name = "WorkAborted"
  constructor() {
    super(
      "one of its SQL statements failed and it went on: PostgreSQL does no more in that transaction; let it fail, or run what may fail in a withTransaction of its own"
    )
  }
  get [TypeId](): typeof TypeId {
    return TypeId
  }
}

export const isWorkAborted = (u: unknown): u is WorkAborted => Predicate.hasProperty(u, TypeId)
