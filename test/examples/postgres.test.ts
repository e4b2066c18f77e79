/** The examples on PostgreSQL, as processes, in a database of their own. */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { connect, url } from "../postgres/support/database.ts"
import { run, temporaryDirectory } from "./support/program.ts"
import * as Repository from "./support/repository.ts"

/** The URL of a new, empty database, dropped with the scope. */
const newDatabase = Effect.gen(function* () {
  const sql = yield* connect()
  const name = `examples_${randomUUID().replaceAll("-", "")}`
  yield* Effect.acquireRelease(sql`CREATE DATABASE ${sql(name)}`, () =>
    Effect.orDie(sql`DROP DATABASE ${sql(name)} WITH (FORCE)`)
  )
  const database = new URL(url())
  database.pathname = `/${name}`
  return database.href
})

describe("the examples on PostgreSQL", () => {
  it.live("training-school: the second run finds what the first recorded", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const postgres = yield* newDatabase
      const school = run("training-school", ["--postgres", postgres], { cwd })
      const first = yield* school
      assert.deepStrictEqual([first.code, first.stderr], [0, ""])
      assert.include(first.stdout, "0 events were there, 7 were recorded, in the schema training_school")
      assert.include((yield* school).stdout, "7 events were there, 0 were recorded")
    })
  )

  it.live("bank: the total stays the same", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const postgres = yield* newDatabase
      const { code, stderr, stdout } = yield* run("bank", ["--postgres", postgres], { cwd })
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.include(stdout, "After:  1000.00 in all, the same.")
    })
  )

  it.live("git-history: counts what git counts, also in a second run", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const postgres = yield* newDatabase
      const repository = `${cwd}/repository`
      Repository.init(repository)
      Repository.commit(
        repository,
        Array.from({ length: 30 }, (_, i) => ({ author: `Author ${i % 3} <${i % 3}@example.org>` }))
      )
      const history = run("git-history", [repository, "--postgres", postgres, "--schema", 'My "History"'], {
        cwd,
        env: Repository.env
      })
      for (const found of [30, 0]) {
        const { code, stdout } = yield* history
        assert.strictEqual(code, 0)
        assert.include(stdout, `${found} commits are new, 0 are gone`)
        for (const [author, [commits]] of Repository.gitCounts(repository)) {
          assert.match(stdout, new RegExp(`^ *${commits} .* ${author}$`, "m"))
        }
      }
    })
  )

  it.live("a wrong password is reported in one line, without the password", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const wrong = new URL(url())
      wrong.password = "not-the-password"
      const { code, stderr, stdout } = yield* run("training-school", ["--postgres", wrong.href], { cwd })
      assert.strictEqual(code, 1)
      assert.include(stdout + stderr, "the password is wrong")
      assert.notInclude(stdout + stderr, "not-the-password")
    })
  )
})
