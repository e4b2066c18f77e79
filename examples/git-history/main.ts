/**
 * The authors of a git repository by commits and lines: `npm run example:git-history -- <repository> [--file PATH]`.
 *
 * Each commit that a ref reaches becomes an event in a SQLite file, or with `--postgres URL [--schema NAME]` in a
 * PostgreSQL database, or with `--kurrent URL` on a KurrentDB server, in the stream of its author. Run it again, and it
 * records only what has changed; killed in the middle, it resumes from there. It counts the commits that
 * `git shortlog -sne --all` counts, always:
 *
 * - A commit that is there no more (amended, rebased, its branch deleted) stays recorded, because a log forgets nothing.
 *   An event `CommitLost` takes it out of its author's counts; should it come back, it is recorded again. The same goes
 *   for a commit that .mailmap has given to another author.
 * - Lines are counted when a commit is found, as `git log --numstat` does: merges and binary files have none.
 * - A log holds one repository. This may have been moved or cloned: its commits tell that it is the same.
 */
import { basename, dirname, resolve } from "node:path"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Duration, Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { KurrentLayer } from "effect-eventsourcing/kurrent"
import { PostgresLayer } from "effect-eventsourcing/postgres"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import * as Git from "./Git.ts"
import { makeHistory } from "./History.ts"

/** Where the events are, and how to look at them. */
interface Place {
  readonly name: string
  readonly shell: string
}

const updateAndPrint = Effect.fn(function* (repository: Git.Repository, place: Place) {
  const history = yield* makeHistory
  yield* Console.log(`${place.name}: ${history.commits.size} commits are recorded.`)
  const difference = yield* history.compare(repository)
  const { found, lost } = difference
  yield* Console.log(`${repository.directory}: ${found.length} commits are new, ${lost.length} are gone.`)

  const all = found.length + lost.length
  let done = 0
  let unreadable = 0
  const [duration] = yield* history.record(repository, difference).pipe(
    Stream.runForEach((batch) => {
      done += batch.commits
      unreadable += batch.unreadable
      return showProgress(done, all)
    }),
    Effect.timed
  )
  if (all > 0) yield* Console.log(`${all} commits recorded in ${Duration.toSeconds(duration).toFixed(1)} s.`)
  if (unreadable > 0) {
    yield* Console.log(`git can't read the files of ${unreadable} commits (try git fsck): counted with 0 lines.`)
  }

  const authors = [...history.authors.values()]
    .map(({ state }) => state)
    .filter(({ commits }) => commits > 0)
    .sort((a, b) => b.commits - a.commits || (a.author < b.author ? -1 : 1))
  yield* Console.log(`\n${row("commits", "added", "removed", `author (${authors.length} in all)`)}`)
  for (const { commits, added, removed, author } of authors) {
    yield* Console.log(row(commits, added, removed, printable(author)))
  }
  yield* Console.log(`\nThe events: ${place.shell}`)
})

const row = (commits: number | string, added: number | string, removed: number | string, author: string) =>
  `${`${commits}`.padStart(8)} ${`${added}`.padStart(10)} ${`${removed}`.padStart(10)}  ${author}`

/** A name may hold anything, also what a terminal would obey. */
const printable = (text: string) => text.replace(/\p{Cc}/gu, "\ufffd")

const showProgress = (done: number, all: number) =>
  Effect.sync(() => {
    const { stderr } = process
    stderr.write(`${stderr.isTTY ? "\r" : ""}  ${done} of ${all}${stderr.isTTY && done < all ? "" : "\n"}`)
  })

/** By default `git-history-<name of the repository>.db` in the current directory. */
const defaultFile = ({ directory }: Git.Repository) =>
  `git-history-${basename(basename(directory) === ".git" ? dirname(directory) : directory, ".git")}.db`

const command = Command.make(
  "git-history",
  {
    path: Argument.String("repository").pipe(Argument.withDescription("a git repository, bare or not")),
    file: Flag.String("file").pipe(
      Flag.optional,
      Flag.withDescription("the SQLite file (default: git-history-<repository>.db)")
    ),
    postgres: Flag.String("postgres").pipe(
      Flag.optional,
      Flag.withDescription("a PostgreSQL database instead: postgresql://user:password@host/database")
    ),
    kurrent: Flag.String("kurrent").pipe(
      Flag.optional,
      Flag.withDescription("a KurrentDB server instead: kurrentdb://user:password@host:2113?tls=true")
    ),
    schema: Flag.String("schema").pipe(
      Flag.withDefault("git_history"),
      Flag.withDescription("the schema in that database (default: git_history)")
    )
  },
  ({ path, file, kurrent, postgres, schema }) =>
    Effect.gen(function* () {
      const repository = yield* Git.repositoryOf(path)
      if (Option.isSome(postgres)) {
        const query = `SELECT position, stream, version, type, payload_text FROM \\"${schema}\\".stored_events`
        const place = { name: `schema ${schema}`, shell: `psql URL -c "${query}"` }
        return yield* Effect.provide(updateAndPrint(repository, place), PostgresLayer({ url: postgres.value, schema }))
      }
      if (Option.isSome(kurrent)) {
        const prefix = `git_history.${basename(defaultFile(repository), ".db").replace(/[^A-Za-z0-9_.:]/g, "_")}.`
        const place = { name: `the streams ${prefix}…`, shell: `the stream browser of the server, streams ${prefix}…` }
        const layer = KurrentLayer({ connectionString: kurrent.value, prefix })
        return yield* Effect.provide(updateAndPrint(repository, place), layer)
      }
      const filename = Option.getOrElse(file, () => defaultFile(repository))
      const query = "SELECT position, stream, version, type, payload FROM stored_events"
      const place = { name: resolve(filename), shell: `sqlite3 "${filename}" "${query}"` }
      yield* Effect.provide(updateAndPrint(repository, place), SqliteLayer({ filename }))
    }).pipe(
      Effect.catchTag("WrongExpectedVersion", () =>
        Effect.fail(new Error("another run records into this log; run this again when it has ended"))
      ),
      Effect.catch(({ message }) =>
        Effect.andThen(
          Console.error(message),
          Effect.sync(() => {
            process.exitCode = 1
          })
        )
      )
    )
)

Command.run(command, { version: "1" }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
