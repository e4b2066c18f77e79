/** A view whose log is not the one that it was built from: its runner stops, and reports it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import type { View } from "effect-eventsourcing"
import { Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { count, ignored, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import { Counter, Dog } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

describe.concurrent.each(Object.entries(kinds))("a view in %s", (_, kind) => {
  it.live(
    "G6 a different log: the runner stops with an error that says so, and a reset builds the view from this log",
    () =>
      Effect.gen(function* () {
        const projection = kind.journal()
        const place = yield* kind.make
        // one place for all of it
        yield* Effect.gen(function* () {
          yield* Effect.gen(function* () {
            yield* ProjectionRunner.make(projection)
            yield* untilProcessed(projection, yield* count("old", 2))
          }).pipe(Effect.scoped, Effect.provide(MemoryLayer(), { local: true }))
          yield* Effect.gen(function* () {
            const position = Position.Position.make(2n)
            // as far as the other log, so that only its id differs
            const last = yield* count("new", 3)
            const runner = yield* ProjectionRunner.make(projection)
            const error = yield* Effect.flip(runner.join)
            assert.include(error, { _tag: "UpstreamChanged", projection: "journal", upstream: "log", position })
            assert.include(error.message, "this is a different log")
            assert.strictEqual((yield* readJournal(projection)).length, 2)
            yield* Projection.reset(projection)
            yield* ProjectionRunner.make(projection)
            yield* untilProcessed(projection, last)
            assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
          }).pipe(Effect.scoped, Effect.provide(MemoryLayer(), { local: true }))
        }).pipe(Effect.provide(Layer.merge(place, Logger.layer([]))))
      })
  )
})

it.live(
  "G6 other aggregates than those the view was built from: the runner stops with an error that says so, and a reset builds it from them",
  () =>
    Effect.gen(function* () {
      const view = Projection.sql(({ sql, table }) => sql`CREATE TABLE ${table("started")} (stream text PRIMARY KEY)`)
      const add = ({ stream }: { readonly stream: string }, { sql, table }: View.SqlView) =>
        sql`INSERT INTO ${table("started")} VALUES (${stream})`
      const counters = { Started: add, Increased: Projection.ignore }
      const before = Projection.make("all", { aggregates: [Counter], view, handlers: { Counter: counters } })
      const after = Projection.make("all", {
        aggregates: [Counter, Dog],
        view,
        handlers: {
          Counter: counters,
          Dog: { Registered: add, TrickAdded: Projection.ignore, Rested: Projection.ignore }
        }
      })
      yield* ignored
      const last = yield* count("a")
      yield* Effect.scoped(Effect.andThen(ProjectionRunner.make(before), untilProcessed(before, last)))
      const error = yield* Effect.flip((yield* ProjectionRunner.make(after)).join)
      assert.strictEqual(error._tag, "RecorderFailure")
      assert.include(
        error.message,
        "version 1 was built from the events of Counter, but is now defined for those of Counter, Dog"
      )
      yield* Projection.reset(after)
      yield* ProjectionRunner.make(after)
      yield* untilProcessed(after, last)
      const rows = yield* Projection.read(after, ({ sql, table }) => sql`SELECT * FROM ${table("started")}`)
      assert.strictEqual(rows.length, 2)
    }).pipe(Effect.scoped, Effect.provide([MemoryLayer(), SqliteViews({ filename: ":memory:" }), Logger.layer([])]))
)
