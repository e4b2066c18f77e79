/** Waiting for a view: until it has processed a position, and no longer. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { Position, Projection, ProjectionRunner, Recorder } from "effect-eventsourcing"
import { MemoryLayer } from "effect-eventsourcing/memory"
import { untilProcessed } from "../support/untilProcessed.ts"
import type { Services } from "./support/harness.ts"
import { inViews } from "./support/harness.ts"
import { count, entries, ignored, readJournal } from "./support/journalView.ts"
import { untilState } from "./support/runnerStates.ts"
import type { Kind, Views } from "./support/viewKinds.ts"
import { changing, kinds, watching } from "./support/viewKinds.ts"

/** Counts the queries for the progress of versions. */
const counting = () => {
  const asked = { count: 0 }
  const layer = changing((store) => ({
    versions: (key) =>
      Effect.suspend(() => {
        asked.count++
        return store.versions(key)
      })
  }))
  return { asked, layer }
}

describe.concurrent.each(Object.entries(kinds))("waiting for a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  it.live("a position that has been reached is not waited for", () => {
    const { asked, layer } = counting()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const last = yield* count("a", 3)
        // a running runner queries, too, every now and then
        yield* Effect.scoped(Effect.andThen(ProjectionRunner.make(projection), untilProcessed(projection, last)))
        asked.count = 0
        // not even for as long as a timer takes
        yield* Projection.wait(projection, last, { timeout: 0 })
        yield* Projection.wait(projection, Position.Position.make(1n), { timeout: 0 })
        assert.strictEqual(asked.count, 2)
        yield* Projection.wait(projection, undefined, { timeout: 0 })
        assert.strictEqual(asked.count, 2)
      }),
      layer
    )
  })

  test("events that the view ignores, and those of other aggregates, are waited for on a quiet log, too", ({
    journal
  }) =>
    Effect.gen(function* () {
      const projection = journal()
      const runner = yield* ProjectionRunner.make(projection)
      yield* untilState(runner, "Live")
      yield* untilProcessed(projection, yield* ignored)
      yield* untilProcessed(projection, yield* count("a"))
      yield* untilProcessed(projection, yield* ignored)
      // of an aggregate that the projection does not know
      const recorder = yield* Recorder.Recorder
      const { position } = yield* recorder.append({
        ...(yield* strange),
        expected: "NoStream"
      })
      yield* untilProcessed(projection, position)
      assert.deepStrictEqual(yield* readJournal(projection), entries("a", 0))
      const [version] = yield* Projection.versions(projection)
      assert.strictEqual(version?.position, position)
    }))

  test("a runner that starts in a log that ends with others' events reaches that end", ({ journal }) =>
    Effect.gen(function* () {
      const last = yield* ignored
      yield* ProjectionRunner.make(journal())
      yield* untilProcessed(journal(), last)
    }))

  it.live("it takes no longer than its timeout, and reports how far the view has come", () => {
    const { transactions, layer } = watching()
    return inViews(
      kind,
      Effect.gen(function* () {
        const projection = kind.journal()
        const none = Position.Position.make(1n)
        const before = yield* Effect.flip(Projection.wait(projection, none, { timeout: "20 millis" }))
        assert.include(before, { _tag: "ProjectionBehind", position: none, reached: undefined, waited: 20 })
        assert.include(before.message, "it has not started")
        assert.isUndefined(before._tag === "ProjectionBehind" ? before.stopped : "")

        const runner = yield* ProjectionRunner.make(projection)
        const first = yield* count("a", 3)
        yield* untilProcessed(projection, first)
        yield* untilState(runner, "Live")
        const held = yield* Deferred.make<void>()
        transactions.instead.push((whole) => Effect.andThen(Deferred.await(held), whole))
        const last = yield* count("a")
        const behind = yield* Effect.flip(Projection.wait(projection, last, { timeout: "70 millis" }))
        assert.include(behind, { _tag: "ProjectionBehind", projection: "journal", position: last, reached: first })
        assert.include(behind.message, `did not reach position ${last} within 70 ms: it is at position ${first}`)
        yield* Deferred.succeed(held, undefined)
        yield* Projection.wait(projection, last, { timeout: "Infinity" })
      }),
      layer
    )
  })

  test("an invalid timeout is refused", ({ journal }) =>
    Effect.gen(function* () {
      const timeout = "soon" as never
      const error = yield* Effect.flip(Projection.wait(journal(), Position.Position.make(1n), { timeout }))
      assert.include(error, { _tag: "RecorderFailure" })
      assert.include(error.message, "timeout")
    }))
})

const strange = Effect.sync(() => ({
  stream: "Cat-tom" as never,
  events: [
    {
      ...{ id: crypto.randomUUID(), type: "Cat.Purred", schemaVersion: 1, encoding: "json" },
      ...{ payload: "{}", metadata: "{}", recordedAt: 0 }
    }
  ] as const
}))

/** With the clock standing still, polling finds nothing. */
describe("waiting in the process of the runner", () => {
  const test = (kind: Kind) => (self: Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
    Effect.gen(function* () {
      const place: Layer.Layer<Views, unknown> = yield* kind.make
      yield* Effect.provide(Effect.scoped(self), Layer.merge(MemoryLayer(), place))
    })

  for (const name of ["memory", "SQLite"] as const) {
    it.effect(`it is notified of the progress of the view in ${name}, and does not query it`, () =>
      test(kinds[name])(
        Effect.gen(function* () {
          const projection = kinds[name].journal()
          const runner = yield* ProjectionRunner.make(projection)
          yield* untilState(runner, "Live")
          const position = Position.Position.make(3n)
          const waiting = yield* Effect.forkChild(Projection.wait(projection, position), { startImmediately: true })
          yield* count("a", 2)
          yield* count("a", 1)
          yield* Fiber.join(waiting)
          assert.deepStrictEqual(yield* readJournal(projection), entries("a", 0, 1, 2))
        })
      )
    )

    for (const who of ["before", "after"] as const) {
      it.effect(
        `it is notified at once of events that the view in ${name} ignores, if it has waited since ${who} they came`,
        () =>
          test(kinds[name])(
            Effect.gen(function* () {
              const projection = kinds[name].journal()
              const runner = yield* ProjectionRunner.make(projection)
              yield* untilState(runner, "Live")
              // without a waiter, the position is stored together with later events
              yield* ignored
              const position = Position.Position.make(2n)
              const wait = Projection.wait(projection, position)
              const first = who === "before" ? yield* Effect.forkChild(wait, { startImmediately: true }) : undefined
              yield* ignored
              if (first === undefined) yield* wait
              else yield* Fiber.join(first)
              assert.strictEqual((yield* Projection.versions(projection))[0]?.position, position)
            })
          )
      )
    }

    it.effect(`it does not wait for the clock until the runner of a view in ${name} has begun`, () =>
      test(kinds[name])(
        Effect.gen(function* () {
          const projection = kinds[name].journal()
          yield* ignored
          const wait = Projection.wait(projection, yield* count("a"))
          const waiting = yield* Effect.forkChild(wait, { startImmediately: true })
          yield* ProjectionRunner.make(projection)
          yield* Fiber.join(waiting)
        })
      )
    )
  }
})

describe("waiting in another process than the runner", () => {
  for (const name of ["SQLite", "PostgreSQL"] as const) {
    it.live(`it queries the progress of the view in ${name}`, () =>
      Effect.gen(function* () {
        const kind = kinds[name]
        const place = yield* kind.make
        yield* Effect.gen(function* () {
          const projection = kind.journal()
          yield* ProjectionRunner.make(projection)
          // like another process: with a store of its own
          const elsewhere = Layer.fresh(place)
          const waiting = yield* Effect.forkChild(
            Effect.provide(untilProcessed(projection, Position.Position.make(4n)), elsewhere, { local: true }),
            { startImmediately: true }
          )
          yield* count("a", 4)
          yield* Fiber.join(waiting)
          assert.deepStrictEqual(yield* readJournal(projection), entries("a", 0, 1, 2, 3))
        }).pipe(Effect.scoped, Effect.provide(Layer.merge(MemoryLayer(), place)))
      })
    )
  }
})
