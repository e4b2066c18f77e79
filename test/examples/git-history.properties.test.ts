import * as fs from "node:fs"
import * as path from "node:path"
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { MemoryLayer } from "effect-eventsourcing/memory"
import * as Git from "../../examples/git-history/Git.ts"
import { makeHistory } from "../../examples/git-history/History.ts"
import { temporaryDirectory } from "./support/program.ts"
import { commit, git, gitCounts, init } from "./support/repository.ts"

/** A step in the life of a repository; its numbers choose among what exists at that time. */
const Change = Schema.Struct({
  what: Schema.Literals(["commit", "merge", "branch", "delete", "rewind", "restore", "tag", "map", "detach"]),
  which: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 })),
  other: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 5 }))
})

const authorOf = (number: number) => `Author ${number % 4} <author${number % 3}@example.org>`

const pick = <A>(all: ReadonlyArray<A>, number: number): A | undefined => all[number % Math.max(all.length, 1)]

/** Takes a step; keeps all commits that ever existed, which git keeps, too. */
const apply = (repository: string, ever: Array<string>, { other, what, which }: typeof Change.Type): void => {
  const list = (...args: ReadonlyArray<string>) => git(repository, args).toString().split("\n").filter(Boolean)
  const refs = list("for-each-ref", "--format=%(refname)")
  const ref = pick(refs, which)
  const second = pick(refs, other)
  switch (what) {
    case "commit":
      commit(repository, [{ author: authorOf(other), ...(ref === undefined ? {} : { ref }) }])
      break
    case "merge":
      if (ref !== undefined && second !== undefined && ref !== second) {
        commit(repository, [{ author: authorOf(which), ref, parents: [ref, second], files: {} }])
      }
      break
    case "branch":
      commit(repository, [
        { author: authorOf(other), ref: `refs/heads/branch${which}`, parents: ref === undefined ? [] : [ref] }
      ])
      break
    case "delete":
      if (ref !== undefined) git(repository, ["update-ref", "-d", ref])
      break
    case "rewind": {
      const [parent] = ref === undefined ? [] : list("rev-list", "--max-count=1", "--skip=1", ref)
      if (ref !== undefined && parent !== undefined) git(repository, ["update-ref", ref, parent])
      break
    }
    case "restore": {
      const hash = pick(ever, which * 6 + other)
      if (hash !== undefined) git(repository, ["update-ref", `refs/heads/restored${other}`, hash])
      break
    }
    case "tag":
      if (ref !== undefined) {
        git(repository, ["-c", "user.name=T", "-c", "user.email=t@t", "tag", "-f", "-a", "-m", "t", `t${other}`, ref])
      }
      break
    case "map":
      fs.writeFileSync(
        path.join(repository, ".mailmap"),
        which === 0 ? "" : `Mapped ${which} <mapped@example.org> <author${other % 3}@example.org>\n`
      )
      break
    case "detach": {
      const hash = pick(ever, which * 6 + other)
      if (hash !== undefined) git(repository, ["update-ref", "--no-deref", "HEAD", hash])
      break
    }
  }
  for (const hash of list("rev-list", "--all")) if (!ever.includes(hash)) ever.push(hash)
}

describe("git-history", () => {
  it.effect.prop(
    "counts what git counts, whatever happens to the repository",
    [Schema.Array(Change).check(Schema.isMinLength(6), Schema.isMaxLength(12))],
    ([changes]) =>
      Effect.gen(function* () {
        const repository = path.join(yield* temporaryDirectory, "repository")
        init(repository)
        commit(repository, [
          ...Array.from({ length: 5 }, (_, i) => ({ author: authorOf(i) })),
          ...Array.from({ length: 3 }, (_, i) => ({
            author: authorOf(i),
            ref: "refs/heads/side",
            parents: ["refs/heads/side"].slice(0, i)
          }))
        ])
        const ever: Array<string> = []
        const opened = yield* Git.repositoryOf(repository)
        for (const change of changes) {
          apply(repository, ever, change)
          // each time from the log, as another run of the program does
          const history = yield* makeHistory
          const difference = yield* history.compare(opened)
          yield* Stream.runDrain(history.record(opened, difference))
          const counts = [...history.authors.values()]
            .map(({ state }) => [state.author, [state.commits, state.added, state.removed]] as const)
            .filter(([, [commits]]) => commits !== 0)
          assert.deepStrictEqual(new Map(counts), gitCounts(repository))
          const after = yield* makeHistory
          assert.deepStrictEqual([after.authors, after.commits], [history.authors, history.commits])
        }
      }).pipe(Effect.provide(MemoryLayer()), Effect.provide(NodeServices.layer)),
    { arbitrary: { runs: 12 } }
  )
})
