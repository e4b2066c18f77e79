/**
 * Processes are killed in the middle of heavy appends, again and again on the same log.
 *
 * `CRASH_KILLS` sets the number of kills (default 10); `CRASH_SEED` repeats the moments of an earlier run.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import type { Acknowledged } from "../support/acknowledgements.ts"
import { parse } from "../support/acknowledgements.ts"
import * as Child from "../support/childProcess.ts"
import { eventually } from "../support/eventually.ts"
import { random } from "../support/random.ts"
import { newSchema, url } from "./support/database.ts"
import { createBatches, problems, unequalBatches } from "./support/inspectLog.ts"
import { openLog, untilWaiting, watch } from "./support/openLog.ts"

const kills = Number(process.env.CRASH_KILLS ?? 10)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

describe("SIGKILL in the middle of appends", () => {
  it.live(`G1 G2 G5 of a process: acknowledged appends are there, and none is there in part (${kills} kills)`, () =>
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
            const child = yield* Child.start("support/appendUntilKilled.ts", "forever", "postgres", url(), schema)
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
      // once another session has held the lock, the transactions of killed sessions are over
      yield* log.append("Tally-end")
      const [row] = yield* log.sql<{
        count: number
      }>`SELECT count(*)::integer AS count FROM ${log.sql(schema)}.stored_events`
      yield* seen.until(row?.count ?? 0)
      assert.strictEqual(new Set(seen.events).size, row?.count)
    })
  )

  it.live(
    "G1 G3 G10 of a process whose transaction holds the lock: others continue, and nothing of it is there in part",
    () =>
      Effect.gen(function* () {
        const next = random(seed)
        const schema = yield* newSchema
        const log = yield* openLog(schema, { lockTimeout: "30 seconds" })
        yield* createBatches(log.sql, schema)
        const seen = yield* watch(log.recorder)
        const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
        const holds = Math.max(6, Math.floor(kills / 3))
        for (let kill = 1; kill <= holds; kill++) {
          const name = `holder-${randomUUID()}`
          // every third one is killed at any moment, the others while a transaction certainly holds the lock
          const atAnyMoment = kill % 3 === 0
          const transactions = atAnyMoment ? 1_000_000 : Math.floor(next() * 10)
          const added = yield* Effect.scoped(
            Effect.gen(function* () {
              const child = yield* Child.start("postgres/support/holder.ts", name, url(), schema, String(transactions))
              if (atAnyMoment) {
                const first = yield* child.line
                const appending = yield* Effect.forkScoped(log.append("Dog-a"))
                yield* Effect.sleep(next() * 40)
                assert.strictEqual(yield* child.kill, "SIGKILL")
                yield* Fiber.join(appending)
                return parse([first, ...(yield* child.remaining)])
              }
              const lines: Array<string> = []
              while (lines.at(-1) !== "holding") lines.push(yield* child.line)
              const appending = yield* Effect.forkScoped(log.append("Dog-a"))
              // the other transactions of the process wait, too
              yield* untilWaiting(log, 2)
              assert.strictEqual(yield* child.kill, "SIGKILL")
              yield* Fiber.join(appending)
              return parse([...lines, ...(yield* child.remaining)])
            })
          )
          acknowledged.push(...added)
          yield* eventually(
            "the sessions of the process are over",
            Effect.map(
              log.sql`SELECT pid FROM pg_stat_activity WHERE application_name = ${name}`,
              ({ length }) => length === 0
            )
          )
          const found = [
            ...(yield* problems(log.sql, schema, acknowledged)),
            ...(yield* unequalBatches(log.sql, schema))
          ]
          assert.deepStrictEqual(found, [], `after kill ${kill} with CRASH_SEED=${seed}`)
        }
        assert.isAbove(acknowledged.length, 0)
        const inLog = yield* log.recorder.readAll({ limit: 100_000 })
        yield* seen.until(inLog.length)
        assert.deepStrictEqual(
          seen.events,
          inLog.map(({ stream, version }) => `${stream}@${version}`)
        )
      })
  )
})
