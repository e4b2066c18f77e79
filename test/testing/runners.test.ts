/** The test kit with the test runners that people use: what they print of a test that fails. */
import { execFile } from "node:child_process"
import * as path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { build } from "../browser/bundle.ts"

const project = path.resolve(import.meta.dirname, "../..")
const fixtures = path.join(import.meta.dirname, "fixtures")
const condition = "--conditions=effect-eventsourcing-source"

const run = (...args: ReadonlyArray<string>): Effect.Effect<{ readonly code: unknown; readonly output: string }> =>
  Effect.callback((resume) => {
    const kept = Object.entries(process.env).filter(([name]) => !/^(VITEST|TEST$|NODE_)/.test(name))
    const env = { ...Object.fromEntries(kept), NO_COLOR: "1", CI: "1" }
    execFile(process.execPath, args, { cwd: project, env }, (error, stdout, stderr) =>
      resume(Effect.succeed({ code: error?.code ?? 0, output: stdout + stderr }))
    )
  })

describe("the test kit", () => {
  it.live("shows shrunk counterexamples and differences in vitest", () =>
    Effect.gen(function* () {
      const config = path.join(fixtures, "vitest.config.ts")
      const vitest = path.join(project, "node_modules/vitest/vitest.mjs")
      const { code, output } = yield* run(vitest, "run", "--root", fixtures, "--config", config)
      assert.strictEqual(code, 1, output)
      assert.match(output, /2 failed \| 5 passed/)

      assert.include(output, "aggregate Stack > the reducers are total")
      assert.match(output, /Property falsified after \d+ run\(s\) and \d+ shrink\(s\)/)
      assert.include(
        output.replaceAll(/\s/g, ""),
        'Shrunkinput:{"history":[{"_tag":"Begun"},{"_tag":"Popped"}]}'.replaceAll(/\s/g, "")
      )
      assert.include(output, "the reducer of Stack.Popped threw: nothing to pop")
      assert.match(output, /Replay: \S+/)
      assert.match(output, /❯ Popped faulty\.ts:16:26\n/)

      assert.include(output, "ExpectationFailed: Stack: the recorded events differ from the expected ones")
      assert.include(output, '- Pushed {"item":"b"}\n+ Pushed {"item":"a"}')
      // it points to the line of the test, and prints no second difference
      assert.match(output, /❯ faulty\.ts:27:6\n/)
      assert.notInclude(output, "- Expected")
      assert.notInclude(output, "Serialized Error")
    })
  )

  it.live("does not need vitest: node:test runs it", () =>
    Effect.gen(function* () {
      const { code, output } = yield* run(condition, "--test", path.join(fixtures, "nodeTest.ts"))
      assert.strictEqual(code, 1, output)
      assert.match(output, /pass 1\n/)
      assert.match(output, /fail 1\n/)
      assert.include(output, "Door: the recorded events differ from the expected ones")
      assert.match(output, /- Painted \{"color":"red"\}\n\s*\+ Locked/)
      assert.match(output, /nodeTest\.ts:\d+/)
    })
  )

  it("imports neither a test runner nor a module of Node", () => {
    const { metafile } = build('export * from "effect-eventsourcing/testing"', fixtures, {
      conditions: ["effect-eventsourcing-source"],
      format: "esm",
      external: ["effect", "@noble/hashes"]
    })
    const imported = Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
    assert.deepStrictEqual(
      imported.filter((module) => !/^(effect|@noble\/hashes)(\/|$)/.test(module)),
      []
    )
  })
})
