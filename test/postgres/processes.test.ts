/** Several processes on one log: some write, some follow. */
import { createHash, randomUUID } from "node:crypto"
import type { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Acknowledged } from "../support/acknowledgements.ts"
import { parse } from "../support/acknowledgements.ts"
import * as Child from "../support/childProcess.ts"
import { eventually } from "../support/eventually.ts"
import { newSchema, url } from "./support/database.ts"
import { problems } from "./support/inspectLog.ts"
import { openLog, watch } from "./support/openLog.ts"

const ROUNDS = 50

/** The number of events and a digest of their order, as a follower reports them at its end. */
const inOrder = (sql: PgClient.PgClient, schema: string) =>
  Effect.map(sql<{ id: string }>`SELECT id FROM ${sql(schema)}.stored_events ORDER BY position`, (rows) => {
    const digest = createHash("sha256")
    for (const { id } of rows) digest.update(id)
    return { count: rows.length, digest: digest.digest("hex") }
  })

/** What a follower has seen, which it prints after everything that it has logged. */
const summary = ({ line }: Pick<Child.Child, "line">): Effect.Effect<unknown> =>
  Effect.flatMap(line, (told) => (told.startsWith("{") ? Effect.succeed(JSON.parse(told)) : summary({ line })))

describe("several processes on one log", () => {
  it.live(
    "G2 G3 G4 thousands of appends by two processes: followers in a third see each of them once and in order",
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
        // one more follower starts in the middle of the log
        yield* seen.until(500)
        followers.push(yield* start("follower.ts", url(), schema))
        const appended = yield* Effect.forEach(writers, ({ line }) => Effect.map(line, Number), {
          concurrency: "unbounded"
        })
        yield* log.append("Dog-end")

        const expected = yield* inOrder(log.sql, schema)
        assert.strictEqual(
          expected.count,
          appended.reduce((sum, count) => sum + count, 1)
        )
        assert.isAbove(expected.count, 2000)
        for (const follower of followers) assert.deepStrictEqual(yield* summary(follower), expected)
        yield* seen.until(expected.count)
        assert.strictEqual(seen.events.length, expected.count)
        assert.deepStrictEqual(yield* problems(log.sql, schema, []), [])
      })
  )

  it.live(
    "G2 G3 G4 two processes that are killed and restarted, in turn: a follower in a third sees each event once",
    () =>
      Effect.gen(function* () {
        const schema = yield* newSchema
        const log = yield* openLog(schema, { lockTimeout: "60 seconds" })
        const seen = yield* watch(log.recorder)
        const follower = yield* Child.start("postgres/support/follower.ts", url(), schema)
        assert.strictEqual(yield* follower.line, "following")

        // to find their sessions by
        const name = `killed-${randomUUID()}`
        const named = new URL(url())
        named.searchParams.set("application_name", name)
        const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
        const start = Child.start("support/appendUntilKilled.ts", "forever", "postgres", named.href, schema)
        let running = [yield* start, yield* start]
        for (let kill = 0; kill < 6; kill++) {
          const [first, second] = running as [Child.Child, Child.Child]
          // it is in the middle of it, and so is the other one
          const lines = [yield* first.line]
          while (lines.length < 50) lines.push(yield* first.line)
          assert.strictEqual(yield* first.kill, "SIGKILL")
          acknowledged.push(...parse([...lines, ...(yield* first.remaining)]))
          running = [second, yield* start]
        }
        for (const { kill, remaining } of running) {
          yield* kill
          acknowledged.push(...parse(yield* remaining))
        }
        yield* eventually(
          "the sessions of the killed are over",
          Effect.map(
            log.sql`SELECT pid FROM pg_stat_activity WHERE application_name = ${name}`,
            ({ length }) => length === 0
          )
        )
        assert.deepStrictEqual(yield* problems(log.sql, schema, acknowledged), [])
        assert.isAtLeast(acknowledged.length, 6 * 48)

        yield* log.append("Dog-end")
        const expected = yield* inOrder(log.sql, schema)
        assert.deepStrictEqual(yield* summary(follower), expected)
        yield* seen.until(expected.count)
        assert.strictEqual(seen.events.length, expected.count)
      })
  )
})
