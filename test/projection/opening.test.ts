/** A view that does not exist: before its first runner, while that begins, and when it could not. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Layer } from "effect"
import type { View } from "effect-eventsourcing"
import { Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { Counter } from "../support/dog.ts"
import { inViews, silent } from "./support/harness.ts"
import { readJournal } from "./support/journalView.ts"
import { changing, kinds } from "./support/viewKinds.ts"

describe.concurrent.each(Object.entries(kinds))("with a view in %s", (of, kind) => {
  it.live("a view that was never created can't be read or reset, and the error names what is missing", () =>
    inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal({ version: 2 })
        const reading = Projection.read(projection, () => Effect.void)
        for (const use of [Effect.flip(reading), Effect.flip(Projection.reset(projection))]) {
          const error = yield* use
          assert.include(error, { _tag: "ViewNotFound", projection: "journal", version: 2, mode: "followed" })
          assert.include(error.message, "start its runner (ProjectionRunner)")
        }
        yield* ProjectionRunner.make(projection)
        yield* readJournal(projection)
        yield* Projection.reset(projection)
        // the view of another version does not count as this one
        assert.include(yield* Effect.flip(Projection.reset(kind.journal({ version: 1 }))), { _tag: "ViewNotFound" })
        yield* Projection.remove(projection)
        assert.include(yield* Effect.flip(Projection.reset(projection)), { _tag: "ViewNotFound" })
      })
    )
  )

  it.effect("G12 a read right after the runner's layer was built waits for its view, whatever the clock", () =>
    Effect.gen(function* (): Effect.fn.Return<void, unknown, Scope.Scope> {
      const goOn = yield* Deferred.make<void>()
      const opening = changing((store) => ({
        open: (key, options) => Effect.andThen(Deferred.await(goOn), store.open(key, options))
      }))
      const projection = kind.journal()
      const place = Layer.mergeAll(MemoryLayer(), Layer.provide(opening, yield* kind.make), silent)
      const live = Layer.provideMerge(ProjectionRunner.layer(projection), place)
      yield* Effect.gen(function* () {
        const reading = yield* Effect.forkChild(readJournal(projection), { startImmediately: true })
        yield* Effect.yieldNow
        assert.isUndefined(reading.pollUnsafe())
        yield* Deferred.succeed(goOn, undefined)
        assert.deepStrictEqual(yield* Fiber.join(reading), [])
      }).pipe(Effect.provide(live))
    })
  )

  it.live("G12 a runner that stops before it has created its view is reported to those that wait for the view", () =>
    inViews(
      kind,
      Effect.gen(function* () {
        const handlers = { Counter: { Started: Projection.ignore, Increased: Projection.ignore } }
        const initial = (): number => {
          throw new Error("no such value")
        }
        const failing: Projection.Followed<View.Sql<never> | View.Memory<number>, "exactly-once", never> =
          of === "memory"
            ? Projection.make("failing", { aggregates: [Counter], view: Projection.memory(initial), handlers })
            : Projection.make("failing", {
                aggregates: [Counter],
                view: Projection.sql(() => Effect.fail("no such value")),
                handlers
              })
        yield* ProjectionRunner.make(failing)
        const error = yield* Effect.flip(Projection.read(failing, () => Effect.void))
        assert.include(error, { _tag: "ViewNotFound" })
        assert.include(error.message, "no such value")
      })
    )
  )
})
