/** A runner that can't reach its view reports that, with the cause, until an attempt has succeeded. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { EventSourcingError, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { PostgresViews } from "effect-eventsourcing/postgres"
import { connect, newSchema, url } from "../postgres/support/database.ts"
import { hold } from "../postgres/support/openLog.ts"
import { inViews } from "../projection/support/harness.ts"
import { count, ignored, makeJournal } from "../projection/support/journalView.ts"
import { names, until, untilState, watch } from "../projection/support/runnerStates.ts"
import { kinds, watching } from "../projection/support/viewKinds.ts"

const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })

describe.concurrent.each(Object.entries(kinds))("a runner with a view in %s", (_, kind) => {
  for (const [what, append] of Object.entries({ "an event of its own": count("a"), "an event of others": ignored })) {
    it.live(`G12 is Retrying from the first failure on, until the view accepts ${what}`, () => {
      const { transactions, layer } = watching()
      return inViews(
        kind,
        Effect.gen(function* () {
          const fail = () => Effect.fail(unavailable) as Effect.Effect<never>
          for (let times = 0; times < 4; times++) transactions.instead.push(fail)
          const runner = yield* ProjectionRunner.make(kind.journal())
          yield* untilState(runner, "Live")
          const states = yield* watch(runner)
          yield* append
          yield* until(Effect.sync(() => transactions.committed === 1 && states.at(-1)?._tag === "Live"))
          const reported = names(states)
          assert.deepStrictEqual(reported.slice(reported.indexOf("Retrying")), ["Retrying", "Live"])
          const retrying = states.flatMap((state) => (state._tag === "Retrying" ? [state] : []))
          assert.deepStrictEqual(
            retrying.map(({ attempts, cause }) => [attempts, cause]),
            [1, 2, 3, 4].map((attempts) => [attempts, unavailable])
          )
        }),
        layer
      )
    })
  }
})

it.live("G12 in PostgreSQL it names the session that holds the row of the view's tracking", () =>
  Effect.gen(function* () {
    const schema = yield* newSchema
    const place = PostgresViews({ url: url(), schema, lockTimeout: "100 millis" })
    const sql = yield* connect({ applicationName: "somebody" })
    const pid = Effect.map(sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`, ([row]) => row?.pid ?? 0)
    yield* Effect.gen(function* () {
      const runner = yield* ProjectionRunner.make(makeJournal("tables"))
      yield* untilState(runner, "Live")
      const held = yield* hold(
        { sql, pid } as Parameters<typeof hold>[0],
        sql`SELECT * FROM ${sql(schema)}.projection_tracking FOR UPDATE`
      )
      yield* count("a")
      const { cause } = yield* untilState(runner, "Retrying")
      assert.include(cause, { _tag: "RecorderUnavailable" })
      assert.include(String(cause), `held by the session of process ${held.pid} (somebody, idle in transaction`)
      yield* held.commit
      yield* untilState(runner, "Live")
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(MemoryLayer(), MemoryViews(), place, Logger.layer([]))))
  }).pipe(Effect.scoped)
)
