/**
 * The server is killed in the middle of heavy appends, all of its processes, and started again on what it left.
 *
 * `CRASH_KILLS` and `CRASH_SEED` are as in crash.test.ts: a fifth as many crashes, since each is a server's.
 */
import { randomUUID } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Schedule } from "effect"
import type { Recorder } from "effect-eventsourcing"
import { StreamName } from "effect-eventsourcing"
import { storedEvents } from "effect-eventsourcing/testing/backend"
import type { Acknowledged } from "../support/acknowledgements.ts"
import { parse } from "../support/acknowledgements.ts"
import * as Child from "../support/childProcess.ts"
import { eventually } from "../support/eventually.ts"
import { startServer } from "../support/postgresServer.ts"
import { random } from "../support/random.ts"
import { connect } from "./support/database.ts"
import { createBatches, problems, unequalBatches } from "./support/inspectLog.ts"
import { openLog, watch } from "./support/openLog.ts"

const kills = Number(process.env.CRASH_KILLS ?? 10)
const seed = Number(process.env.CRASH_SEED ?? Math.floor(Math.random() * 2 ** 31))

describe("SIGKILL of the server in the middle of appends", () => {
  it.live("G1 G2 G5 acknowledged appends are there, and followers resume on their own", () =>
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
        const child = yield* Child.start("support/appendUntilKilled.ts", "forever", "postgres", server.url, schema)
        assert.strictEqual(yield* child.line, "opening")
        assert.strictEqual(yield* child.line, "opened")
        yield* Effect.sleep(100 + next() * 200)
        yield* Effect.promise(server.crash)
        // appends that were in flight are sent again when the server is back, and the program continues
        yield* Effect.sleep(500)
        yield* child.kill
        acknowledged.push(...parse(yield* child.remaining))
        const sql = yield* connect(client)
        const found = yield* problems(sql, schema, acknowledged)
        assert.deepStrictEqual(found, [], `after crash ${crash} with CRASH_SEED=${seed}`)
      }
      const sql = yield* connect(client)
      yield* Effect.retry(log.append("Tally-end"), Schedule.spaced("20 millis"))
      const [row] = yield* sql<{ count: number }>`SELECT count(*)::integer AS count FROM ${sql(schema)}.stored_events`
      yield* seen.until(row?.count ?? 0)
      assert.strictEqual(new Set(seen.events).size, row?.count)
    })
  )

  it.live("G1 G5 G7 appends that are sent again are recorded once, and everything resumes on its own", () =>
    Effect.gen(function* () {
      const crashes = Math.max(4, Math.floor(kills / 5))
      const next = random(seed)
      const server = yield* Effect.acquireRelease(
        Effect.promise(() => startServer()),
        ({ stop }) => Effect.promise(stop)
      )
      const client = { url: Redacted.make(server.url) }
      const schema = "crashed"
      const [log, other] = [yield* openLog(schema, { client }), yield* openLog(schema, { client })]
      yield* createBatches(log.sql, schema)
      const seen = yield* watch(other.recorder)
      const acknowledged: Array<ReadonlyArray<Acknowledged>> = []
      let stopped = false
      const untilStopped = (work: Effect.Effect<unknown, unknown>) =>
        Effect.whileLoop({ while: () => !stopped, body: () => work, step: () => {} })

      const done = Array.from({ length: 13 }, () => 0)
      /** Appends to a stream of its own; resends whatever it gets no response for. */
      const lane = (n: number) =>
        Effect.suspend(() => {
          const stream = StreamName.StreamName.make(`Dog-${n}`)
          const size = 1 + (n % 3)
          let version = -1
          const appendNext = Effect.suspend(() => {
            const events = storedEvents(size, { payload: JSON.stringify({ batch: randomUUID(), size }) })
            const append: Recorder.Append = { stream, expected: version < 0 ? "NoStream" : version, events }
            const { recorder } = n % 2 === 0 ? log : other
            return Effect.map(
              Effect.retry(recorder.append(append), {
                schedule: Schedule.spaced("10 millis"),
                while: (error) => error._tag === "RecorderUnavailable"
              }),
              (answer) => {
                assert.strictEqual(answer.version, version + size)
                acknowledged.push([{ stream, version: version + 1, ids: events.map(({ id }) => id) }])
                version = answer.version
                done[n]!++
              }
            )
          })
          return untilStopped(appendNext)
        })
      /** Transactions with a row each: the outcome of one that was in flight is unknown. */
      const transactions = untilStopped(
        Effect.suspend(() => {
          const batch = randomUUID()
          const events = storedEvents(2, { payload: JSON.stringify({ batch, size: 2 }) })
          const stream = StreamName.StreamName.make(`Held-${batch}`)
          return log.sql
            .withTransaction(
              Effect.andThen(
                log.sql`INSERT INTO ${log.sql(schema)}.batches VALUES (${batch})`,
                log.recorder.append({ stream, expected: "NoStream", events })
              )
            )
            .pipe(
              Effect.exit,
              Effect.tap((exit) =>
                Effect.sync(() => {
                  if (Exit.isFailure(exit)) return
                  acknowledged.push([{ stream, version: 0, ids: events.map(({ id }) => id) }])
                  done[12]!++
                })
              )
            )
        })
      )
      const lanes = yield* Effect.forEach([...done.slice(1).map((_, n) => lane(n)), transactions], (one) =>
        Effect.forkScoped(one)
      )
      const progress = Effect.suspend(() => {
        const before = [...done]
        return eventually(
          "all have gone on",
          Effect.sync(() => done.every((count, n) => count >= before[n]! + 5))
        )
      })
      for (let crash = 1; crash <= crashes; crash++) {
        yield* progress
        yield* Effect.sleep(next() * 100)
        yield* Effect.promise(server.crash)
      }
      yield* progress
      stopped = true
      for (const fiber of lanes) yield* Fiber.join(fiber)

      const found = [...(yield* problems(log.sql, schema, acknowledged)), ...(yield* unequalBatches(log.sql, schema))]
      assert.deepStrictEqual(found, [], `with CRASH_SEED=${seed}`)
      const inLog = yield* other.recorder.readAll({ limit: 1_000_000 })
      const ofLanes = inLog.filter(({ stream }) => stream.startsWith("Dog-"))
      const sent = acknowledged.flat().filter(({ stream }) => stream.startsWith("Dog-"))
      assert.strictEqual(
        ofLanes.length,
        sent.reduce((sum, { ids }) => sum + ids.length, 0)
      )
      yield* seen.until(inLog.length)
      assert.deepStrictEqual(
        seen.events,
        inLog.map(({ stream, version }) => `${stream}@${version}`)
      )
    })
  )
})
