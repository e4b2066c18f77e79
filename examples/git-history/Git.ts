/** What git says about a repository. Only plumbing commands are used: their output does not depend on configuration. */
import { isUtf8 } from "node:buffer"
import { Effect, Fiber, Schema, Stream } from "effect"
import type { ChildProcessSpawner } from "effect/process"
import { ChildProcess } from "effect/process"

export class GitFailed extends Schema.TaggedError<GitFailed>()("GitFailed", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message(): string {
    return `git failed in "${this.path}": ${this.reason}`
  }
}

export interface Repository {
  /** Where git is run: .mailmap is looked for in the working tree of this path. */
  readonly path: string
  /** Where the repository is: the same for all its working trees. */
  readonly directory: string
}

/** A commit and who wrote it. */
export interface Commit {
  readonly hash: string
  /** "Name <email>", after .mailmap. */
  readonly author: string
}

/** How many lines a commit added and removed. */
export interface Lines {
  readonly added: number
  readonly removed: number
}

/** The repository of a path, which may be a directory within it; fails where there is none. */
export const repositoryOf = (path: string) =>
  git(path, ["rev-parse", "--path-format=absolute", "--git-common-dir"]).pipe(
    Stream.mkString,
    Effect.map((output): Repository => ({ path, directory: toText(output.replace(/\n$/, "")) }))
  )

/** All commits that HEAD or any other ref reaches, the newest first. */
export const commits = ({ path }: Repository) =>
  Stream.suspend(() => {
    const authors = new Map<string, string>()
    return git(path, ["rev-list", "--all", "--encoding=UTF-8", "--format=%x00%H %aN <%aE>"]).pipe(
      splitRecords,
      Stream.map((record): Commit => {
        const space = record.indexOf(" ")
        const bytes = record.slice(space + 1, record.indexOf("\n"))
        const author = authors.get(bytes) ?? toText(bytes)
        authors.set(bytes, author)
        return { hash: record.slice(0, space), author }
      })
    )
  })

/**
 * The lines of some commits, by hash, counted as `git log --shortstat` does: none for merges and binary files.
 *
 * A commit is left out where git can't read its files: the repository is damaged, or a part of it was not cloned.
 */
export const lines = (
  repository: Repository,
  commits: ReadonlyArray<Commit>
): Effect.Effect<ReadonlyMap<string, Lines>, never, ChildProcessSpawner.ChildProcessSpawner> =>
  git(
    repository.path,
    ["diff-tree", "--stdin", "--always", "--root", "-r", "-M", "--shortstat", "--format=%x00%H"],
    commits.map(({ hash }) => `${hash}\n`)
  ).pipe(
    splitRecords,
    Stream.map((record): readonly [hash: string, Lines] => {
      const added = Number(/(\d+) insertion/.exec(record)?.[1] ?? 0)
      const removed = Number(/(\d+) deletion/.exec(record)?.[1] ?? 0)
      return [record.slice(0, record.indexOf("\n")), { added, removed }]
    }),
    Stream.runCollect,
    Effect.map((entries) => new Map(entries)),
    Effect.catchTag("GitFailed", () => {
      // git ends at the first commit that it can't read: halve until that one is alone
      if (commits.length <= 1) return Effect.succeed(new Map<string, Lines>())
      const middle = Math.ceil(commits.length / 2)
      const halves = [commits.slice(0, middle), commits.slice(middle)]
      return Effect.map(
        Effect.forEach(halves, (half) => lines(repository, half)),
        (maps) => new Map(maps.flatMap((map) => [...map]))
      )
    })
  )

/** Runs git and streams what it prints, each byte as the character of that code: names need not be UTF-8. */
const git = (path: string, options: ReadonlyArray<string>, input: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const process = yield* ChildProcess.make("git", ["-C", path, ...options], {
      // a hook of git's sets the first two, which would win over the path
      env: { GIT_DIR: undefined, GIT_WORK_TREE: undefined, LC_ALL: "C" },
      extendEnv: true,
      stdin: Stream.encodeText(Stream.fromIterable(input))
    })
    const complaint = yield* process.stderr.pipe(Stream.decodeText, Stream.mkString, Effect.forkScoped)
    const output = process.stdout.pipe(Stream.map((bytes) => Buffer.from(bytes).toString("latin1")))
    const end = Effect.gen(function* () {
      if ((yield* process.exitCode) === 0) return
      const reason = (yield* Fiber.join(complaint)).trim().replace(/^fatal: /, "")
      return yield* new GitFailed({ path, reason })
    })
    return Stream.concat(output, Stream.fromEffectDrain(end))
  }).pipe(
    Stream.unwrap,
    Stream.catchTag("PlatformError", (error) =>
      Stream.fail(new GitFailed({ path, reason: `it can't be run, is it installed? ${error.message}` }))
    )
  )

/** What stands behind each NUL, up to the next. */
const splitRecords = <E, R>(output: Stream.Stream<string, E, R>) =>
  output.pipe(
    Stream.mapAccum(
      () => "",
      (begun, chunk: string) => {
        const records = (begun + chunk).split("\0")
        return [records.pop() ?? "", records] as const
      },
      { onHalt: (last) => [last] }
    ),
    Stream.drop(1)
  )

/** Text of bytes that should be UTF-8; where they aren't, it tells them apart all the same: `Andr\xE9`. */
const toText = (latin1: string): string => {
  const bytes = Buffer.from(latin1, "latin1")
  if (isUtf8(bytes)) return bytes.toString("utf8")
  return latin1.replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).toUpperCase()}`)
}
