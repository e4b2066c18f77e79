/**
 * The recorded history of a repository, and how it is brought up to date: what git says now is compared with what the
 * log says, and the difference is recorded. So it does not matter how the difference came about.
 */
import { availableParallelism } from "node:os"
import { Effect, Schema, Stream } from "effect"
import type { Aggregate, RecordedEvent } from "effect-eventsourcing"
import { EventStore, Metadata } from "effect-eventsourcing"
import { Author } from "./Author.ts"
import * as Git from "./Git.ts"

/** The log holds the history of another repository. */
export class OtherRepository extends Schema.TaggedError<OtherRepository>()("OtherRepository", {
  recorded: Schema.String,
  given: Schema.String
}) {
  override get message(): string {
    return `the log holds the history of ${this.recorded}, which has no commit in common with ${this.given}; give another --file, or --schema`
  }
}

type AuthorEvent = Aggregate.Event<typeof Author>
type AuthorState = Aggregate.StateOf<typeof Author>

/** A commit with all that is recorded of it. */
export interface RecordedCommit extends Git.Commit, Git.Lines {}

/** What has to be recorded for the log to say what the repository says. */
export interface Difference {
  /** Commits that are not recorded for their author, the oldest first. */
  readonly found: ReadonlyArray<Git.Commit>
  /** Commits that are recorded for an author, and are not there any more, or not by that author. */
  readonly lost: ReadonlyArray<RecordedCommit>
}

/** So many commits are counted by one run of git and recorded together. */
const BATCH = 1000

/** The history in a log: read once, and kept up to date with what is recorded. */
export const makeHistory = Effect.gen(function* () {
  const store = yield* EventStore.EventStore
  const authors = new Map<string, { readonly state: AuthorState; readonly version: number }>()
  const commits = new Map<string, RecordedCommit>()
  let directory: string | undefined

  const apply = ({
    aggregateId,
    event,
    metadata,
    version
  }: RecordedEvent.RecordedEvent<"Author", AuthorEvent>): void => {
    const state = Author.fold([event], authors.get(aggregateId)?.state)
    if (state === undefined) return
    authors.set(aggregateId, { state, version })
    if (event._tag === "Committed") {
      const { added, hash, removed } = event
      commits.set(hash, { hash, author: state.author, added, removed })
    }
    if (event._tag === "CommitLost") commits.delete(event.hash)
    directory = metadata.attributes.repository
  }

  yield* store.readAll([Author]).pipe(Stream.runForEach((recorded) => Effect.sync(() => apply(recorded))))

  const compare = Effect.fn(function* (repository: Git.Repository) {
    const found: Array<Git.Commit> = []
    const lost = new Map(commits)
    let common = 0
    yield* Git.commits(repository).pipe(
      Stream.runForEach((commit) =>
        Effect.sync(() => {
          const known = commits.get(commit.hash)
          if (known !== undefined) common++
          if (known?.author === commit.author) lost.delete(commit.hash)
          else found.push(commit)
        })
      )
    )
    if (commits.size > 0 && common === 0 && directory !== undefined && directory !== repository.directory) {
      return yield* new OtherRepository({ recorded: directory, given: repository.directory })
    }
    return { found: found.reverse(), lost: [...lost.values()] } satisfies Difference
  })

  /** Each author's events in one append, behind those that were read: if another run was faster, it is refused. */
  const recordBatch = (batch: ReadonlyArray<RecordedCommit>, toEvent: (commit: RecordedCommit) => AuthorEvent) =>
    Effect.forEach(
      Map.groupBy(batch, ({ author }) => author),
      Effect.fnUntraced(function* ([author, commits]) {
        const id = Author.id(author)
        const known = authors.get(id)
        const events = commits.map(toEvent)
        const recorded = yield* store.append(Author, id, {
          expected: known?.version ?? "NoStream",
          events: known === undefined ? [Author.Appeared({ author }), ...events] : events
        })
        recorded?.events.forEach(apply)
      }),
      { concurrency: "unbounded", discard: true }
    )

  /** Records a difference batch by batch, and tells of each. Wherever it ends, the log holds whole commits, each once. */
  const record = (repository: Git.Repository, { found, lost }: Difference) => {
    const losing = Stream.fromIterable(lost).pipe(
      Stream.grouped(BATCH),
      Stream.tap((batch) => recordBatch(batch, ({ author, ...commit }) => Author.CommitLost(commit))),
      Stream.map((batch) => ({ commits: batch.length, unreadable: 0 }))
    )
    const finding = Stream.fromIterable(found).pipe(
      Stream.grouped(BATCH),
      Stream.mapEffect((batch) => Effect.map(Git.lines(repository, batch), (lines) => ({ batch, lines })), {
        concurrency: availableParallelism()
      }),
      Stream.tap(({ batch, lines }) => {
        const counted = batch.map((commit) => ({ ...commit, ...(lines.get(commit.hash) ?? { added: 0, removed: 0 }) }))
        return recordBatch(counted, ({ author, ...commit }) => Author.Committed(commit))
      }),
      Stream.map(({ batch, lines }) => ({ commits: batch.length, unreadable: batch.length - lines.size }))
    )
    return Stream.concat(losing, finding).pipe(
      Stream.provideService(Metadata.Attributes, { repository: repository.directory })
    )
  }

  return { authors, commits, compare, record }
})
