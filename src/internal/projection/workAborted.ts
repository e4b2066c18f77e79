import { Predicate } from "effect"

/** Marks the error for every copy of this package: the store of a view may come from another copy than its runner. */
const TypeId = "~effect-eventsourcing/WorkAborted"

/** A statement of the work failed, the work continued nevertheless, and the database has aborted the transaction. */
export class WorkAborted extends Error {
  readonly _tag = "WorkAborted"
  override readonly name = "WorkAborted"
  constructor() {
    super(
      "a SQL statement failed but the handler continued, and PostgreSQL has aborted the transaction; let the handler fail, or wrap statements that may fail in their own withTransaction"
    )
  }
  get [TypeId](): typeof TypeId {
    return TypeId
  }
}

export const isWorkAborted = (u: unknown): u is WorkAborted => Predicate.hasProperty(u, TypeId)
