/** Someone who wrote commits, as `git shortlog` tells authors apart: by "Name <email>", after .mailmap. */
import { Schema } from "effect"
import { Aggregate } from "effect-eventsourcing"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))
const commit = { hash: Schema.NonEmptyString, added: Count, removed: Count }

export const Author = Aggregate.make("Author", {
  state: Schema.Struct({ author: Schema.String, commits: Count, added: Count, removed: Count }),
  creation: {
    Appeared: { author: Schema.String }
  },
  events: {
    /** A commit of this author was found in the repository. */
    Committed: commit,
    /** It is there no more, or .mailmap has given it to another author. */
    CommitLost: commit
  },
  reduce: {
    Appeared: ({ author }) => ({ author, commits: 0, added: 0, removed: 0 }),
    Committed: (state, { added, removed }) => ({
      ...state,
      commits: state.commits + 1,
      added: state.added + added,
      removed: state.removed + removed
    }),
    CommitLost: (state, { added, removed }) => ({
      ...state,
      commits: state.commits - 1,
      added: state.added - added,
      removed: state.removed - removed
    })
  }
})
