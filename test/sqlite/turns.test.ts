/** Views that catch up in the log's file with slow handlers: other writers get their turns in between. */
import { DatabaseSync } from "node:sqlite"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import { count } from "../projection/support/journalView.ts"
import { Counter } from "../support/dog.ts"
import { file } from "./support/temporaryFile.ts"

/** So long that three of them take longer than a transaction may, however fast the machine. */
const SLOW = "30 millis"

const setup = Projection.sql(() => Effect.void)

/** How many events have been handled by projections that share a file with their log. */
const slow = (name: string, handled: { count: number }) => {
  const handle = () =>
    Effect.map(Effect.sleep(SLOW), () => {
      handled.count++
    })
  const handlers = { Counter: { Started: handle, Increased: handle } }
  return Projection.make(name, { aggregates: [Counter], view: setup, handlers })
}

const open = Effect.map(file, (filename) => ({
  filename,
  layer: Layer.mergeAll(SqliteLayer({ filename }), SqliteViews({ filename }), Logger.layer([]))
}))

describe.concurrent("a view that catches up in the file of its log", () => {
  it.live("releases the write lock after each of its transactions, for long enough that others can take it", () =>
    Effect.gen(function* () {
      const { filename, layer } = yield* open
      yield* Effect.gen(function* () {
        const handled = { count: 0 }
        const projection = slow("slow", handled)
        const last = yield* count("a", 24)
        // as another process has it
        const other = yield* Effect.acquireRelease(
          Effect.sync(() => new DatabaseSync(filename)),
          (db) => Effect.sync(() => db.close())
        )
        const found: Array<number> = []
        const look = Effect.sync(() => {
          try {
            other.exec("BEGIN IMMEDIATE")
          } catch {
            return
          }
          other.exec("ROLLBACK")
          found.push(handled.count)
        })
        yield* ProjectionRunner.make(projection)
        yield* Effect.forkScoped(Effect.forever(Effect.andThen(look, Effect.sleep("4 millis"))))
        yield* Projection.wait(projection, last, { timeout: "Infinity" })
        assert.strictEqual(handled.count, 24)
        const gaps = [...new Set(found), 24].map((at, i, all) => at - (all[i - 1] ?? 0))
        assert.isAtMost(Math.max(...gaps), 3)
      }).pipe(Effect.scoped, Effect.provide(layer))
    })
  )

  it.live("delays a command of the process by one transaction, however many views there are", () =>
    Effect.gen(function* () {
      const { layer } = yield* open
      yield* Effect.gen(function* () {
        const handled = { count: 0 }
        yield* count("a", 40)
        for (const name of ["one", "two", "three"]) yield* ProjectionRunner.make(slow(name, handled))
        for (let n = 0; n < 3; n++) {
          const before = handled.count
          while (handled.count === before) yield* Effect.sleep("1 millis")
          const began = handled.count
          yield* count(`b${n}`)
          // the rest of the running batch, and at worst one that got its turn just before
          assert.isAtMost(handled.count - began, 6)
        }
      }).pipe(Effect.scoped, Effect.provide(layer))
    })
  )

  it.live("passes a handler of batches as many events as it has time for", () =>
    Effect.gen(function* () {
      const { layer } = yield* open
      yield* Effect.gen(function* () {
        const sizes: Array<number> = []
        const projection = Projection.batched("batched", {
          aggregates: [Counter],
          view: setup,
          handle: (events) =>
            Effect.map(Effect.sleep(10 * events.length), () => {
              sizes.push(events.length)
            })
        })
        yield* ProjectionRunner.make(projection)
        yield* Projection.wait(projection, yield* count("a", 60), { timeout: "Infinity" })
        assert.isAtMost(Math.max(...sizes), 8)
        assert.strictEqual(
          sizes.reduce((a, b) => a + b),
          60
        )
      }).pipe(Effect.scoped, Effect.provide(layer))
    })
  )
})
