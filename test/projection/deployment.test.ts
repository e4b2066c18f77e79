/** Deployments of a view's new version, and their rollbacks, with processes of both versions. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect } from "effect"
import { url } from "../postgres/support/database.ts"
import { newViewsSchema, temporaryDirectory } from "../support/backends.ts"
import * as Child from "../support/childProcess.ts"
import type { Database } from "./support/databases.ts"
import type { Command, Options } from "./support/deployedVersion.ts"
import { until } from "./support/runnerStates.ts"

const databases: Readonly<Record<string, Effect.Effect<Database, never, Scope.Scope>>> = {
  SQLite: Effect.map(temporaryDirectory, (directory) => ({ backend: "sqlite", filename: `${directory}/all.db` })),
  PostgreSQL: Effect.map(newViewsSchema, (schema) => ({ backend: "postgres", url: url(), schema }))
}

/** Starts a program of a version. */
const deploy = Effect.fnUntraced(function* (options: Options) {
  const child = yield* Child.start("projection/support/deployedVersion.ts", JSON.stringify(options))
  const tell = (command: Command) =>
    Effect.andThen(
      child.send(JSON.stringify(command)),
      Effect.map(child.line, (line): unknown => JSON.parse(line))
    )
  return {
    append: Effect.map(tell({ _tag: "Append" }), String),
    read: (position?: string) => tell({ _tag: "Read", ...(position === undefined ? {} : { position }) }),
    versions: tell({ _tag: "Versions" }),
    remove: (version: number) => tell({ _tag: "Remove", version }),
    until: (...states: ReadonlyArray<string>) => tell({ _tag: "Until", states }),
    end: child.end,
    kill: child.kill
  }
})

describe.concurrent.each(Object.entries(databases))("deployments on %s", (_, make) => {
  it.live(
    "G6 G12 both versions read their own tables during the roll, after a roll-back, and until the old one is removed",
    () =>
      Effect.gen(function* () {
        const database = yield* make
        const start = (version: 1 | 2, runs = true) => deploy({ database, version, runs })
        const isCurrent = (versions: unknown, one: string) => Array.isArray(versions) && versions.includes(one)

        const old = yield* start(1)
        const reader = yield* start(1, false)
        yield* old.append
        assert.strictEqual(yield* old.read(yield* old.append), 1)

        // during the rollout: both are running
        const fresh = yield* start(2)
        yield* until(Effect.map(fresh.versions, (versions) => isCurrent(versions, "2 current")))
        let last = yield* fresh.append
        assert.strictEqual(yield* fresh.read(last), 2)
        assert.strictEqual(yield* old.read(last), 2)
        assert.strictEqual(yield* reader.read(last), 2)
        last = yield* old.append
        for (const one of [old, reader, fresh]) assert.strictEqual(yield* one.read(last), 3)
        assert.deepStrictEqual(yield* old.versions, ["1 retired", "2 current"])

        // the end of the rollout: nobody maintains version 1, and readers get it as it was left
        yield* old.end
        last = yield* fresh.append
        assert.strictEqual(yield* fresh.read(last), 4)
        assert.strictEqual(yield* reader.read(), 3)

        // back to the old program, with the same version number; the new one is killed
        assert.strictEqual(yield* fresh.kill, "SIGKILL")
        const back = yield* start(1)
        assert.strictEqual(yield* back.read(last), 4)
        last = yield* back.append
        for (const one of [back, reader]) assert.strictEqual(yield* one.read(last), 5)

        // and forward again
        const again = yield* start(2)
        assert.strictEqual(yield* again.read(last), 5)
        yield* back.end

        // nobody needs version 1 any more
        assert.strictEqual(yield* again.remove(2), false)
        assert.strictEqual(yield* again.remove(1), true)
        assert.deepStrictEqual(yield* again.versions, ["2 current"])
        const late = yield* start(1)
        assert.strictEqual(yield* late.until("ProjectionSuperseded"), "ProjectionSuperseded")
        assert.strictEqual(yield* again.read(yield* again.append), 6)
      })
  )
})
