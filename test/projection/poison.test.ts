/** Events that a PostgreSQL server rejects: they are set aside like others. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { untilProcessed } from "../support/untilProcessed.ts"
import { inViews } from "./support/harness.ts"
import { count, entries, readJournal } from "./support/journalView.ts"
import { untilState } from "./support/runnerStates.ts"
import { kinds } from "./support/viewKinds.ts"

const setAside = { onFailure: "set-aside", retry: Schedule.recurs(1) } as const

describe.each(Object.entries(kinds))("with a view in %s", (_, kind) => {
  it.live("G12 a handler's error may contain any character", () =>
    inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal({
          handled: ({ entry }) => (entry === "Counter-a 0" ? Effect.fail(new Error("\0 \ud800 end")) : Effect.void)
        })
        yield* ProjectionRunner.make(projection, setAside)
        yield* count("a")
        yield* untilProcessed(projection, yield* count("b"))
        const causes = () => Effect.map(Projection.deadLetters(projection), (all) => all.map(({ cause }) => cause))
        assert.deepStrictEqual(yield* causes(), ["\u2400 \ufffd end"])
        // also if it fails again
        assert.include(yield* Projection.replay(projection), { replayed: 0 })
        assert.deepStrictEqual(yield* causes(), ["\u2400 \ufffd end"])
        assert.deepStrictEqual(yield* readJournal(projection), entries("b", 0))
      })
    )
  )
})

it.live("G12 a statement that always exceeds the server's statement_timeout counts as an attempt", () =>
  inViews(
    kinds.PostgreSQL,
    Effect.gen(function* () {
      const projection = kinds.PostgreSQL.journal({
        handled: ({ entry, view }) => {
          if (entry !== "Counter-a 0" || "get" in view) return Effect.void
          const { sql } = view
          return Effect.andThen(sql`SET LOCAL statement_timeout = 20`, sql`SELECT pg_sleep(60)`)
        }
      })
      yield* ProjectionRunner.make(projection, setAside)
      yield* count("a")
      yield* untilProcessed(projection, yield* count("b"))
      const letters = yield* Projection.deadLetters(projection)
      assert.deepStrictEqual(
        letters.map(({ cause, attempts }) => [cause, attempts]),
        [["SqlError: StatementTimeoutError (57014)", 2]]
      )
      assert.deepStrictEqual(yield* readJournal(projection), entries("b", 0))
    })
  )
)

it.live.each(["26000", "42P05"])(
  "G12 the error of a prepared statement that a pooler has mixed up (%s) advises what to do",
  (code) =>
    inViews(
      kinds.PostgreSQL,
      Effect.gen(function* () {
        let isMixedUp = true
        const projection = kinds.PostgreSQL.journal({
          handled: ({ view }) => {
            if (!isMixedUp || "get" in view) return Effect.void
            const { sql } = view
            const raised = `$$ BEGIN RAISE EXCEPTION USING ERRCODE = '${code}', MESSAGE = 'prepared statement "s1"'; END $$`
            return sql`DO ${sql.literal(raised)}`
          }
        })
        const runner = yield* ProjectionRunner.make(projection)
        const position = yield* count("a")
        const { cause } = yield* untilState(runner, "Retrying")
        assert.include((cause as Error).message, "prepare: false")
        isMixedUp = false
        yield* Projection.wait(projection, position)
      })
    )
)
