import * as fs from "node:fs"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import { EventStore } from "effect-eventsourcing"
import { SqliteLayer } from "effect-eventsourcing/sqlite"
import { Author } from "../../examples/git-history/Author.ts"
import { run, temporaryDirectory } from "./support/program.ts"
import type { Counts, NewCommit } from "./support/repository.ts"
import { commit, env, git, gitCounts, init } from "./support/repository.ts"

const gitHistory = (cwd: string, ...args: ReadonlyArray<string>) => run("git-history", args, { cwd, env })

/** The authors that the program prints. */
const printed = (stdout: string): Counts =>
  new Map(
    [...stdout.matchAll(/^ *(\d+) +(-?\d+) +(-?\d+) {2}(.*)$/gm)].map(([, commits, added, removed, author = ""]) => [
      author,
      [Number(commits), Number(added), Number(removed)]
    ])
  )

/** How many commits the program reports as already recorded, as new, and as gone. */
const said = (stdout: string): ReadonlyArray<number> =>
  [/: (\d+) commits are recorded/, /: (\d+) commits are new/, /new, (\d+) are gone/].map((pattern) =>
    Number(pattern.exec(stdout)?.[1])
  )

/** Every name is an author of its own, unless .mailmap says otherwise. */
const authors: ReadonlyArray<string | Buffer> = [
  "Ada Lovelace <ada@example.org>",
  "Ada Lovelace <ada@example.com>",
  "ada lovelace <ada@example.org>",
  "Ada L. <ada@old.example.org>",
  "Nobody knows <ada@nick.example.org>",
  "<noname@example.org>",
  "Noemail <>",
  "<>",
  "Ünï Çødé 山田 🐕 <unicode@example.org>",
  Buffer.from("Andr\xe9 <latin@example.org>", "latin1"),
  Buffer.from("Andr\xe8 <latin@example.org>", "latin1"),
  "Quo\"te's \\ back\\slash <q@example.org>",
  "commit 0123456789 tag: x | y <odd@example.org>",
  "  Spaces   inside  <spaces in@example.org>",
  `${"long ".repeat(400)}<long@example.org>`
]

const mailmap = [
  "Ada Lovelace <ada@example.org> <ada@old.example.org>",
  "Ada Lovelace <ada@example.org> Nobody knows <ada@nick.example.org>"
].join("\n")

/** A repository with everything that makes counting hard: merges, refs of all kinds, odd names, binary files. */
const oddRepository = (repository: string): void => {
  init(repository)
  commit(
    repository,
    authors.map((author): NewCommit => ({ author }))
  )
  const [ada = "", , , nick = ""] = authors
  commit(repository, [
    { author: ada, ref: "refs/heads/side", parents: ["refs/heads/main~3"], files: { "side.txt": "a\nb\n" } },
    { author: nick, ref: "refs/heads/side", parents: ["refs/heads/side"], files: { "side.txt": "a\nc\nd\n" } },
    { author: ada, parents: ["refs/heads/main", "refs/heads/side"], files: { "merged.txt": "1\n2\n" } },
    { author: ada, renames: { "file.txt": "renamed.txt" }, files: {} }
  ])
  commit(repository, [
    { author: ada, ref: "refs/heads/orphan", parents: [], files: { "x.bin": Buffer.from([0, 1, 2, 10, 0]) } },
    { author: ada, ref: "refs/notes/commits", parents: [], files: { "0123": "a note\n" } },
    { author: "Stash <stash@example.org>", ref: "refs/stash", parents: ["refs/heads/main"] },
    { author: "Remote <remote@example.org>", ref: "refs/remotes/origin/main", parents: ["refs/heads/main~1"] },
    { author: "Tagged <tag@example.org>", ref: "refs/tags/v1", parents: ["refs/heads/main~2"] },
    {
      author: Buffer.from("J\xf6rg <joerg@example.org>", "latin1"),
      ref: "refs/heads/latin",
      parents: ["refs/heads/main"],
      encoding: "ISO-8859-1",
      files: {} // an empty commit
    }
  ])
  fs.writeFileSync(path.join(repository, ".mailmap"), mailmap)
}

/**
 * What must not change the counts: the configuration of the user who runs the program, and being run by a hook of
 * git's.
 */
const hostileEnv = {
  ...env,
  GIT_DIR: "/nowhere",
  GIT_CONFIG_COUNT: "4",
  GIT_CONFIG_KEY_0: "i18n.logOutputEncoding",
  GIT_CONFIG_VALUE_0: "ISO-8859-1",
  GIT_CONFIG_KEY_1: "diff.renames",
  GIT_CONFIG_VALUE_1: "false",
  GIT_CONFIG_KEY_2: "log.showSignature",
  GIT_CONFIG_VALUE_2: "true",
  GIT_CONFIG_KEY_3: "color.ui",
  GIT_CONFIG_VALUE_3: "always"
}

/** The hashes that are recorded and not lost, in the order of the log; fails if one is recorded twice. */
const recordedHashes = (file: string) =>
  Effect.gen(function* () {
    const store = yield* EventStore.EventStore
    const hashes = new Set<string>()
    for (const { event } of yield* Stream.runCollect(store.readAll([Author]))) {
      if (event._tag === "Committed") {
        assert.isFalse(hashes.has(event.hash), `${event.hash} is recorded twice`)
        hashes.add(event.hash)
      }
      if (event._tag === "CommitLost") assert.isTrue(hashes.delete(event.hash))
    }
    return hashes
  }).pipe(Effect.provide(SqliteLayer({ filename: file })))

const allHashes = (repository: string) => new Set(git(repository, ["rev-list", "--all"]).toString().trim().split("\n"))

describe("git-history", () => {
  it.live("counts what git counts, and after new commits records only those", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "odd")
      oddRepository(repository)
      const commits = allHashes(repository).size
      const expected = gitCounts(repository)
      // two of the names are Ada's by .mailmap; Stash, Remote, Tagged and Jörg are additional
      assert.strictEqual(expected.size, authors.length - 2 + 4)

      const first = yield* run("git-history", ["odd"], { cwd, env: hostileEnv })
      assert.strictEqual(first.code, 0, first.stderr)
      assert.deepStrictEqual(said(first.stdout), [0, commits, 0])
      assert.include(first.stderr, `${commits} of ${commits}`)
      assert.deepStrictEqual(printed(first.stdout), expected)

      const again = yield* run("git-history", ["odd"], { cwd, env: hostileEnv })
      assert.deepStrictEqual(said(again.stdout), [commits, 0, 0])
      assert.deepStrictEqual(printed(again.stdout), expected)

      commit(repository, [
        { author: "New <new@example.org>", parents: ["refs/heads/main"] },
        { author: "Nobody knows <ada@nick.example.org>", ref: "refs/heads/other", parents: ["refs/heads/side"] }
      ])
      const later = yield* gitHistory(cwd, "odd")
      assert.deepStrictEqual(said(later.stdout), [commits, 2, 0])
      assert.deepStrictEqual(printed(later.stdout), gitCounts(repository))
      assert.deepStrictEqual(yield* recordedHashes(path.join(cwd, "git-history-odd.db")), allHashes(repository))
    })
  )

  it.live("follows a history that is rewritten", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "rewritten")
      init(repository)
      const ada = "Ada <ada@example.org>"
      const ben = "Ben <ben@example.org>"
      commit(repository, [{ author: ada }, { author: ben }, { author: ada }])
      commit(repository, [{ author: ben, ref: "refs/heads/side", parents: ["refs/heads/main~1"] }])
      const sideTip = git(repository, ["rev-parse", "refs/heads/side"]).toString().trim()
      const inStep = Effect.gen(function* () {
        const { code, stderr, stdout } = yield* gitHistory(cwd, "rewritten")
        assert.strictEqual(code, 0, stderr)
        assert.deepStrictEqual(printed(stdout), gitCounts(repository))
        return said(stdout)
      })
      assert.deepStrictEqual(yield* inStep, [0, 4, 0])

      // amended, by another author
      commit(repository, [{ author: ben, parents: ["refs/heads/main~1"] }])
      assert.deepStrictEqual(yield* inStep, [4, 1, 1])
      // a branch is deleted, along with its objects
      git(cwd, ["clone", "--quiet", "--mirror", "rewritten", "backup"])
      git(repository, ["update-ref", "-d", "refs/heads/side"])
      git(repository, ["reflog", "expire", "--expire=now", "--all"])
      git(repository, ["gc", "--quiet", "--prune=now"])
      assert.throws(() => git(repository, ["cat-file", "-e", sideTip]))
      assert.deepStrictEqual(yield* inStep, [4, 0, 1])
      // it comes back
      git(repository, ["fetch", "--quiet", "../backup", "refs/heads/side:refs/heads/side"])
      assert.deepStrictEqual(yield* inStep, [3, 1, 0])
      // and all of these changes at once
      fs.writeFileSync(path.join(repository, ".mailmap"), `${ada} <ben@example.org>`)
      assert.deepStrictEqual(yield* inStep, [4, 3, 3])
      // and everything that Ada and Ben have in common changes again
      fs.rmSync(path.join(repository, ".mailmap"))
      git(repository, ["update-ref", "-d", "refs/heads/side"])
      commit(repository, [{ author: "Cleo <cleo@example.org>", parents: [] }])
      assert.deepStrictEqual(yield* inStep, [4, 1, 4])
    })
  )

  it.live("killed repeatedly in the middle of its work, it misses nothing and duplicates nothing", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "big")
      init(repository)
      const count = 6000
      commit(
        repository,
        Array.from({ length: count }, (_, i) => ({ author: `Author ${i % 23} <author${i % 7}@example.org>` }))
      )
      let recorded = 0
      for (const progress of [1, 2, 1]) {
        const killed = yield* run("git-history", ["big"], {
          cwd,
          env,
          onStderr: (stderr, child) => {
            if (stderr.split("\n").length > progress) child.kill("SIGKILL")
          }
        })
        assert.strictEqual(killed.signal, "SIGKILL")
        const [before = 0] = said(killed.stdout)
        assert.isAtLeast(before, recorded)
        recorded = before + progress * 1000
      }
      const { code, stderr, stdout } = yield* gitHistory(cwd, "big")
      assert.strictEqual(code, 0, stderr)
      const [before = 0, found = 0, lost] = said(stdout)
      assert.isAtLeast(before, recorded)
      assert.isAbove(found, 0)
      assert.deepStrictEqual([before + found, lost], [count, 0])
      assert.deepStrictEqual(printed(stdout), gitCounts(repository))
      assert.deepStrictEqual(yield* recordedHashes(path.join(cwd, "git-history-big.db")), allHashes(repository))
    })
  )

  it.live("two concurrent runs on one file duplicate nothing", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "shared")
      init(repository)
      commit(
        repository,
        Array.from({ length: 3000 }, (_, i) => ({ author: `Author ${i % 5} <author@example.org>` }))
      )
      const runs = yield* Effect.replicateEffect(gitHistory(cwd, "shared"), 2, { concurrency: 2 })
      for (const { code, stderr } of runs) {
        if (code !== 0) assert.include(stderr, "another run records into this log")
      }
      const { stdout } = yield* gitHistory(cwd, "shared")
      assert.deepStrictEqual(printed(stdout), gitCounts(repository))
      assert.deepStrictEqual(yield* recordedHashes(path.join(cwd, "git-history-shared.db")), allHashes(repository))
    })
  )

  it.live("accepts a bare repository, a clone, a directory within, and one without commits", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "origin")
      init(repository)
      const nothing = yield* gitHistory(cwd, "origin")
      assert.strictEqual(nothing.code, 0, nothing.stderr)
      assert.deepStrictEqual([said(nothing.stdout), printed(nothing.stdout).size], [[0, 0, 0], 0])

      const both = ["Ada <ada@example.org>", "Nick <ada@example.com>"]
      commit(repository, [
        ...both.map((author) => ({ author })),
        {
          author: "Ada <ada@example.org>",
          files: { ".mailmap": "Ada <ada@example.org> <ada@example.com>\n", "in/side": "" }
        }
      ])
      git(repository, ["reset", "--quiet", "--hard"])
      // in a bare repository, .mailmap is that of HEAD
      git(cwd, ["clone", "--quiet", "--mirror", "origin", "bare.git"])
      const bare = yield* gitHistory(cwd, "bare.git")
      assert.deepStrictEqual(printed(bare.stdout), gitCounts(path.join(cwd, "bare.git")))
      assert.strictEqual(printed(bare.stdout).size, 1)
      assert.isTrue(fs.existsSync(path.join(cwd, "git-history-bare.db")))

      // a clone is the same repository, and so is every directory of it
      const moved = yield* gitHistory(cwd, "origin/in", "--file", "git-history-bare.db")
      assert.deepStrictEqual(said(moved.stdout), [3, 0, 0])
      assert.deepStrictEqual(printed(moved.stdout), gitCounts(repository))
    })
  )

  it.live("counts commits whose files can't be read, and reports them", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = path.join(cwd, "damaged")
      init(repository)
      git(repository, ["config", "fastimport.unpackLimit", "1000"]) // objects in files of their own
      commit(
        repository,
        Array.from({ length: 9 }, () => ({ author: "Ada <ada@example.org>" }))
      )
      const blob = git(repository, ["rev-parse", "main~4:file.txt"]).toString().trim()
      fs.rmSync(path.join(repository, ".git/objects", blob.slice(0, 2), blob.slice(2)))
      const { code, stderr, stdout } = yield* gitHistory(cwd, "damaged")
      assert.strictEqual(code, 0, stderr)
      // this commit and the next one, whose change starts from the missing blob
      assert.include(stdout, "git can't read the files of 2 commits")
      assert.deepStrictEqual([...printed(stdout)], [["Ada <ada@example.org>", [9, 8, 6]]])
      const recorded = yield* recordedHashes(path.join(cwd, "git-history-damaged.db"))
      assert.deepStrictEqual([...recorded].reverse(), [...allHashes(repository)])
    })
  )

  it.live("reports what is wrong", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      fs.mkdirSync(path.join(cwd, "plain"))
      for (const name of ["one", "two"]) {
        init(path.join(cwd, name))
        commit(path.join(cwd, name), [{ author: `${name} <${name}@example.org>` }])
      }
      yield* gitHistory(cwd, "one", "--file", "one.db")
      const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, reason: string]> = [
        [["plain"], 'git failed in "plain": not a git repository'],
        [["missing"], "No such file or directory"],
        [[], "Missing required argument: repository"],
        [
          ["two", "--file", "one.db"],
          `the log holds the history of ${cwd}/one/.git, which has no commit in common with`
        ],
        [["one", "--file", "one/.git/HEAD"], "the file is not a SQLite database"]
      ]
      for (const [args, reason] of wrong) {
        const { code, stderr } = yield* gitHistory(cwd, ...args)
        assert.include(stderr, reason)
        assert.strictEqual(code, 1)
        assert.notInclude(stderr, "    at ")
      }
    })
  )
})
