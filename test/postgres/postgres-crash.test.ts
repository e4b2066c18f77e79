/**
 * Processes, and the server, are killed in the middle of heavy appends, again and again on the same log.
 *
 * `CRASH_KILLS` says how many times (default 20), `CRASH_SEED` repeats the moments of an earlier run.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import type { Acknowledged } from "../support/acknowledged.ts"
import { parse } from "../support/acknowledged.ts"
import * as Child from "../support/child.ts"
import { startServer } from "../support/postgres-server.ts"
import { random } from "../support/random.ts"
import { connect, newSchema, url } from "./support/database.ts"
import { openLog, watch } from "./support/log.ts"
import { problems } from "./support/stored.ts"

const kills = Number(process.env.CRASH_KILLS ?? 20)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

const TIMEOUT = Math.max(60_000, kills * 6_000)

describe("SIGKILL in the middle of appends", () => {
  it.live(
    `G1, G2, G5: of a process: what was acknowledged is there, nothing is half there (${kills} kills)`,
    () =>
      Effect.gen(function* () {
        console.log(`CRASH_SEED=${seed}`)
        const next = random(seed)
        const schema = yield* newSchema
        const log = yield* openLog(schema)
        const seen = yield* watch(log.recorder)
        const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
        for (let kill = 1; kill <= kills; kill++) {
          const added = yield* Effect.scoped(
            Effect.gen(function* () {
              const child = yield* Child.start("support/crash-child.ts", "forever", "postgres", url(), schema)
              assert.strictEqual(yield* child.line, "opening")
              assert.strictEqual(yield* child.line, "opened")
              yield* Effect.sleep(next() * 200)
              assert.strictEqual(yield* child.kill, "SIGKILL")
              return parse(yield* child.remaining)
            })
          )
          acknowledged.push(...added)
          const found = yield* problems(log.sql, schema, acknowledged)
          assert.deepStrictEqual(found, [], `after kill ${kill} with CRASH_SEED=${seed}`)
        }
        assert.isAbove(acknowledged.length, 0, "no process came to append before it was killed")
        // what a killed session had begun is over once another has had the lock
        yield* log.append("Tally-end")
        const [row] = yield* log.sql<{
          count: number
        }>`SELECT count(*)::integer AS count FROM ${log.sql(schema)}.stored_events`
        yield* seen.until(row?.count ?? 0)
        assert.strictEqual(new Set(seen.events).size, row?.count)
      }),
    TIMEOUT
  )

  it.live(
    "G1, G2, G5: of the server: what was acknowledged is there, and followers go on by themselves",
    () =>
      Effect.gen(function* () {
        const crashes = Math.max(2, Math.floor(kills / 10))
        const next = random(seed)
        const server = yield* Effect.acquireRelease(
          Effect.promise(() => startServer()),
          ({ stop }) => Effect.promise(stop)
        )
        const client = { url: Redacted.make(server.url) }
        const schema = "crashed"
        const log = yield* openLog(schema, { client })
        const seen = yield* watch(log.recorder)
        const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
        for (let crash = 1; crash <= crashes; crash++) {
          const child = yield* Child.start("support/crash-child.ts", "forever", "postgres", server.url, schema)
          assert.strictEqual(yield* child.line, "opening")
          assert.strictEqual(yield* child.line, "opened")
          yield* Effect.sleep(100 + next() * 200)
          yield* Effect.promise(server.crash)
          // what was in flight is sent again when the server is back, and the program goes on
          yield* Effect.sleep(500)
          yield* child.kill
          acknowledged.push(...parse(yield* child.remaining))
          const sql = yield* connect(client)
          const found = yield* problems(sql, schema, acknowledged)
          assert.deepStrictEqual(found, [], `after crash ${crash} with CRASH_SEED=${seed}`)
        }
        const sql = yield* connect(client)
        yield* Effect.retry(log.append("Tally-end"), { times: 5 })
        const [row] = yield* sql<{ count: number }>`SELECT count(*)::integer AS count FROM ${sql(schema)}.stored_events`
        yield* seen.until(row?.count ?? 0)
        assert.strictEqual(new Set(seen.events).size, row?.count)
      }),
    TIMEOUT
  )
})
