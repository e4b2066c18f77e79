import * as path from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventSourcingError } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { TrickAlreadyKnown } from "../../examples/training-school/Dog.ts"
import { makeTrainingSchool } from "../../examples/training-school/TrainingSchool.ts"
import { run, temporaryDirectory } from "./support/program.ts"

const school = (args: ReadonlyArray<string>, cwd: string) => run("training-school", args, { cwd })

describe("training-school", () => {
  it.live("the second run finds what the first recorded", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const file = path.join(cwd, "training-school.db")

      const first = yield* school([], cwd)
      assert.deepStrictEqual([first.code, first.stderr], [0, ""])
      assert.include(first.stdout, "Fido is registered.")
      assert.include(first.stdout, "Fido learns to roll over.")
      assert.include(first.stdout, `0 events were there, 7 were recorded, in ${file}`)

      const second = yield* school([], cwd)
      assert.deepStrictEqual([second.code, second.stderr], [0, ""])
      assert.include(second.stdout, "Fido is registered already.")
      assert.include(second.stdout, "Fido can roll over already.")
      assert.notInclude(second.stdout, "learns")
      assert.include(second.stdout, `7 events were there, 0 were recorded, in ${file}`)

      for (const { stdout } of [first, second]) {
        assert.include(stdout, "Fido (version 2): roll over, play dead")
        assert.include(stdout, "Rex (version 3): sit and stay, jump hoop, roll over")
      }
    })
  )

  it.live("stores the file at the given path, and prints a query that shows the events", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const { stdout } = yield* school(["--file", "my dogs.db"], cwd)
      const [, file = "", query = ""] = /sqlite3 "([^"]+)" "([^"]+)"/.exec(stdout) ?? []
      assert.strictEqual(file, "my dogs.db")
      const db = new DatabaseSync(path.join(cwd, file))
      try {
        const rows = db.prepare(query).all()
        assert.strictEqual(rows.length, 7)
        assert.deepInclude({ ...rows[0] }, { type: "Dog.Registered", version: 0, payload: '{"name":"Fido"}' })
      } finally {
        db.close()
      }
    })
  )

  it.live("reports why a file can't be used", () =>
    Effect.gen(function* () {
      const cwd = yield* temporaryDirectory
      const { code, stderr, stdout } = yield* school(["--file", "missing/school.db"], cwd)
      assert.strictEqual(code, 1)
      assert.include(stdout + stderr, 'SQLite file "missing/school.db": the file can\'t be opened')
    })
  )

  it.effect("refuses with typed errors", () =>
    Effect.gen(function* () {
      const { addTrick, details, register } = yield* makeTrainingSchool
      yield* register("Fido")
      yield* addTrick("Fido", "roll over")

      const known = yield* Effect.flip(addTrick("Fido", "roll over"))
      assert.deepStrictEqual(known, new TrickAlreadyKnown({ dog: "Fido", trick: "roll over" }))
      const twice = yield* Effect.flip(register("Fido"))
      assert.instanceOf(twice, EventSourcingError.AggregateAlreadyExists)
      assert.instanceOf(yield* Effect.flip(addTrick("Rex", "sit")), EventSourcingError.AggregateNotFound)
      assert.instanceOf(yield* Effect.flip(details("Rex")), EventSourcingError.AggregateNotFound)

      const { state, version } = yield* details("Fido")
      assert.deepStrictEqual([state, version], [{ name: "Fido", tricks: ["roll over"] }, 1])
    }).pipe(Effect.provide(MemoryLayer()))
  )
})
