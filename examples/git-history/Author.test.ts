/** What holds for any aggregate: of an author a commit is lost only after it was found. */
import { testAggregate } from "effect-eventsourcing/testing/vitest"
import { Author } from "./Author.ts"

testAggregate(Author, {
  canFollow: ({ commits, added, removed }, event) =>
    event._tag !== "CommitLost" || (commits > 0 && added >= event.added && removed >= event.removed)
})
