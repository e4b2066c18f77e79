/** A fiber that a handler starts and does not wait for is refused the view once the handler has ended (G6). */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Fiber, Layer, Schedule } from "effect"
import type { View } from "effect-eventsourcing"
import { Projection, ProjectionRunner, Repository } from "effect-eventsourcing"
import { PostgresLayer, PostgresViews } from "effect-eventsourcing/postgres"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { url } from "../postgres/support/database.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { newViewsSchema } from "../support/backends.ts"
import { Dog } from "../support/dog.ts"
import { inViews } from "./support/harness.ts"
import type { Handled, JournalView } from "./support/journalView.ts"
import { count, entriesOf, readJournal, wholeLog, write } from "./support/journalView.ts"
import { untilState } from "./support/runnerStates.ts"
import { kinds } from "./support/viewKinds.ts"

/** What a fiber may do with a view. */
const uses: Readonly<Record<string, (view: View.Of<JournalView>) => Effect.Effect<unknown, unknown>>> = {
  "a statement": (view) => write(view, "of the fiber"),
  "a transaction": (view) =>
    "get" in view ? write(view, "of the fiber") : view.sql.withTransaction(write(view, "of the fiber")),
  "a query": entriesOf
}

const reasonOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) ? String((Cause.squash(exit.cause) as Error).message) : "it succeeded"

describe.concurrent.each(Object.entries(kinds))(
  "G6 a fiber that outlives its handler, with a view in %s",
  (of, kind) => {
    for (const [use, run] of Object.entries(uses)) {
      for (const batch of ["of its batch", "of a later batch"] as const) {
        // in memory, each batch has a value of its own
        if (of === "memory" && batch === "of its batch") continue
        it.live(`is refused ${use} during another event ${batch}`, () =>
          inViews(
            kind,
            Effect.gen(function* () {
              const [goOn, ended] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
              let started: Fiber.Fiber<unknown, unknown> | undefined
              const handled = Effect.fnUntraced(function* ({ entry, view }: Handled) {
                if (entry === "Counter-a 0") {
                  started ??= yield* Deferred.await(goOn).pipe(
                    Effect.andThen(run(view)),
                    Effect.ensuring(Deferred.succeed(ended, undefined)),
                    Effect.forkDetach
                  )
                  return
                }
                yield* Deferred.succeed(goOn, undefined)
                yield* Deferred.await(ended)
              })
              const projection = kind.journal({ handled })
              if (batch === "of its batch") yield* count("a", 2)
              const runner = yield* ProjectionRunner.make(projection)
              if (batch === "of a later batch") {
                yield* Projection.wait(projection, yield* count("a"))
                yield* untilState(runner, "Live")
                yield* count("a")
              }
              yield* Deferred.await(ended)
              if (started === undefined) return assert.fail("it was not started")
              assert.match(reasonOf(yield* Fiber.await(started)), /handler .* has ended/)
              yield* Projection.wait(projection, yield* count("b"))
              assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
            })
          )
        )
      }
    }

    it.live("is refused at once, and the refusal fails its waiters like any error", () =>
      inViews(
        kind,
        Effect.gen(function* () {
          let started: Fiber.Fiber<unknown, unknown> | undefined
          const handled = ({ entry, view }: Handled): Effect.Effect<unknown, unknown> => {
            if (entry === "Counter-a 1") return Fiber.join(started as Fiber.Fiber<unknown, unknown>)
            return Effect.map(Effect.forkDetach(write(view, "of the fiber")), (fiber) => {
              started ??= fiber
            })
          }
          const projection = kind.journal({ handled })
          const runner = yield* ProjectionRunner.make(projection, { retry: Schedule.recurs(1) })
          yield* Projection.wait(projection, yield* count("a"))
          yield* count("a")
          const error = yield* Effect.flip(runner.join)
          assert.include(error, { _tag: "ProjectionFailed", attempts: 2 })
          assert.match(error.message, /handler .* has ended/)
          assert.deepStrictEqual(yield* readJournal(projection), ["Counter-a 0"])
        })
      )
    )
  }
)

it.live.each(["SQLite", "PostgreSQL"] as const)("G6 is refused the view of an inline projection in %s", (of) =>
  Effect.gen(function* () {
    const goOn = yield* Deferred.make<void>()
    let started: Fiber.Fiber<unknown, unknown> | undefined
    const names = Projection.make("names", {
      aggregates: [Dog],
      view: Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("dogs")} (name text)`),
      inline: true,
      handlers: {
        Dog: {
          Registered: Effect.fnUntraced(function* ({ event }, { sql, table }) {
            yield* sql`INSERT INTO ${table("dogs")} VALUES (${event.name})`
            if (started === undefined) {
              const writing = sql`INSERT INTO ${table("dogs")} VALUES ('of the fiber')`
              started = yield* Effect.forkDetach(Effect.andThen(Deferred.await(goOn), writing))
              return
            }
            yield* Deferred.succeed(goOn, undefined)
            yield* Effect.exit(Fiber.join(started))
          }),
          TrickAdded: Projection.ignore,
          Rested: Projection.ignore
        }
      }
    })
    const inline = [names]
    const live = of === "SQLite" ? yield* inlineIn.SQLite(inline) : yield* inlineIn.PostgreSQL(inline)
    yield* Effect.gen(function* () {
      const dogs = yield* Repository.of(Dog)
      yield* dogs.execute(Dog.id("Fido"), Dog.Registered({ name: "Fido" }))
      yield* dogs.execute(Dog.id("Rex"), Dog.Registered({ name: "Rex" }))
      if (started === undefined) return assert.fail("it was not started")
      assert.match(reasonOf(yield* Fiber.await(started)), /handler .* has ended/)
      const rows = yield* Projection.read(
        names,
        ({ sql, table }) => sql<{ readonly name: string }>`SELECT name FROM ${table("dogs")} ORDER BY name`
      )
      assert.deepStrictEqual(
        rows.map(({ name }) => name),
        ["Fido", "Rex"]
      )
    }).pipe(Effect.provide(live))
  })
)

const inlineIn = {
  SQLite: (inline: ReadonlyArray<Projection.Inline>) =>
    Effect.map(Temporary.file, (filename) => Layer.merge(SqliteLayer({ filename, inline }), SqliteViews({ filename }))),
  PostgreSQL: (inline: ReadonlyArray<Projection.Inline>) =>
    Effect.map(newViewsSchema, (schema) =>
      Layer.merge(
        PostgresLayer({ url: url(), schema, viewsSchema: schema, inline }),
        PostgresViews({ url: url(), schema })
      )
    )
}
