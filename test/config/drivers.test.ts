/** The drivers are loaded only if they are chosen, and a missing one is named. */
import { execFile } from "node:child_process"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"

const project = Path.resolve(import.meta.dirname, "../..")

/** A module system in which the drivers are not installed. */
const withoutDrivers = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from "node:module"
registerHooks({
  resolve(specifier, context, next) {
    if (!/^@effect\\/sql-pg|^@kurrent\\/kurrentdb-client/.test(specifier)) return next(specifier, context)
    throw Object.assign(new Error("Cannot find package '" + specifier + "'"), { code: "ERR_MODULE_NOT_FOUND" })
  }
})`)}`

const program = `
import { Effect, Layer } from "effect"
import { ConfigLayer, ConfigViews } from "effect-eventsourcing/config"
const built = await Effect.runPromise(Effect.scoped(Effect.result(Layer.build(Layer.merge(ConfigLayer(), ConfigViews())))))
console.log(built._tag === "Success" ? "built" : built.failure.message)`

const run = (env: Readonly<Record<string, string>>) =>
  Effect.promise<string>(
    () =>
      new Promise((resolve) =>
        execFile(
          process.execPath,
          [
            "--conditions=effect-eventsourcing-source",
            "--import",
            withoutDrivers,
            "--input-type=module",
            "--eval",
            program
          ],
          { env: { ...env, NODE_NO_WARNINGS: "1" }, cwd: project },
          (_error, stdout, stderr) => resolve((stdout + stderr).trim())
        )
      )
  )

describe("without the drivers", () => {
  it.live("the other backends work", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* run({ PERSISTENCE: "memory" }), "built")
      assert.strictEqual(yield* run({ PERSISTENCE: "sqlite", SQLITE_FILENAME: ":memory:" }), "built")
    })
  )

  it.live("what to install is named", () =>
    Effect.gen(function* () {
      const needs = "needs a package that is not installed; run: npm install"
      assert.strictEqual(yield* run({ PERSISTENCE: "postgres" }), `the backend postgres ${needs} @effect/sql-pg`)
      assert.strictEqual(
        yield* run({ PERSISTENCE: "kurrent", VIEWS_PERSISTENCE: "memory" }),
        `the backend kurrent ${needs} @kurrent/kurrentdb-client`
      )
    })
  )
})
