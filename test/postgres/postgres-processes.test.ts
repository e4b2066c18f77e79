/** Several processes on one log: some write, some follow. */
import { createHash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Child from "../support/child.ts"
import { newSchema, url } from "./support/database.ts"
import { openLog, watch } from "./support/log.ts"
import { problems } from "./support/stored.ts"

const ROUNDS = 100

describe("several processes on one log", () => {
  it.live(
    "G2, G3, G4: thousands of appends by two processes: followers in a third see each of them once and in order",
    () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const log = yield* openLog(schema, { lockTimeout: "60 seconds" })
        const seen = yield* watch(log.recorder)
        const start = (program: string, ...args: ReadonlyArray<string>) =>
          Child.start(`postgres/support/${program}`, ...args)
        const followers = [yield* start("follower.ts", url(), schema)]
        assert.strictEqual(yield* followers[0]!.line, "following")

        const writers = yield* Effect.forEach(["one", "two"], (name) =>
          start("writer.ts", name, url(), schema, String(ROUNDS))
        )
        // one more follower begins in the middle of it
        yield* seen.until(500)
        followers.push(yield* start("follower.ts", url(), schema))
        const appended = yield* Effect.forEach(writers, ({ line }) => Effect.map(line, Number), {
          concurrency: "unbounded"
        })
        yield* log.append("Dog-end")

        const rows = yield* log.sql<{ id: string }>`SELECT id FROM ${log.sql(schema)}.stored_events ORDER BY position`
        assert.strictEqual(
          rows.length,
          appended.reduce((sum, count) => sum + count, 1)
        )
        assert.isAbove(rows.length, 4000)
        const digest = createHash("sha256")
        for (const { id } of rows) digest.update(id)
        const expected = { count: rows.length, digest: digest.digest("hex") }
        for (const { line } of followers.map(({ line }) => ({ line }))) {
          let told = yield* line
          while (!told.startsWith("{")) told = yield* line
          assert.deepStrictEqual(JSON.parse(told), expected)
        }
        yield* seen.until(rows.length)
        assert.strictEqual(seen.events.length, rows.length)
        assert.deepStrictEqual(yield* problems(log.sql, schema, []), [])
      }),
    120_000
  )
})
