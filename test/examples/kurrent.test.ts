/** The examples on KurrentDB, as processes: on a protocol fake of their own, since their streams have fixed names. */
import { assert, describe, it } from "@effect/vitest"
import { KurrentDBClient } from "@kurrent/kurrentdb-client"
import { Effect } from "effect"
import { startFake } from "../kurrent/fake/server.ts"
import { run, temporaryDirectory } from "./support/program.ts"
import * as Repository from "./support/repository.ts"

const newServer = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => startFake()),
    (fake) => Effect.promise(() => fake.stop())
  ),
  ({ uri }) => uri
)

describe("the examples on KurrentDB", () => {
  it.live("training-school: the second run finds what the first recorded", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const uri = yield* newServer
      const school = run("training-school", [], { cwd, env: { KURRENTDB_URI: uri } })
      const first = yield* school
      assert.deepStrictEqual([first.code, first.stderr], [0, ""])
      assert.include(first.stdout, "0 events were there, 7 were recorded, in the streams training_school.Dog-")
      assert.include((yield* school).stdout, "7 events were there, 0 were recorded")
      // the stream that it names is one of these
      const [, stream = ""] = /stream (training_school\.Dog-\S+)/.exec(first.stdout) ?? []
      const client = KurrentDBClient.connectionString(uri)
      const last = yield* Effect.promise(async () => {
        let last: bigint | undefined
        for await (const { event } of client.readStream(stream)) last = event?.revision
        await client.dispose()
        return last
      })
      assert.strictEqual(last, 2n)
    })
  )

  it.live("bank: the total stays the same", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const { code, stderr, stdout } = yield* run("bank", ["--kurrent", yield* newServer], { cwd })
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.include(stdout, "After:  1000.00 in all, the same.")
    })
  )

  it.live("git-history: counts what git counts, also in a second run", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const repository = `${cwd}/repository`
      Repository.init(repository)
      Repository.commit(
        repository,
        Array.from({ length: 30 }, (_, i) => ({ author: `Author ${i % 3} <${i % 3}@example.org>` }))
      )
      const history = run("git-history", [repository, "--kurrent", yield* newServer], { cwd, env: Repository.env })
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
})
