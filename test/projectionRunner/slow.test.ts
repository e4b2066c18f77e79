/** Handlers that take long, or never return: a warning is logged, and nobody waits for them longer than requested. */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Deferred, Effect, Layer, Logger } from "effect"
import { EventStore, Position, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryViews } from "effect-eventsourcing/memory"
import { SqliteLayer, SqliteViews } from "effect-eventsourcing/sqlite"
import type { Services } from "../projection/support/harness.ts"
import { inViews } from "../projection/support/harness.ts"
import { count, makeJournal, readJournal, wholeLog } from "../projection/support/journalView.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import type { Kind } from "../projection/support/viewKinds.ts"
import { kinds } from "../projection/support/viewKinds.ts"
import * as Temporary from "../sqlite/support/temporaryFile.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"

const lines: Array<string> = []
const Lines = Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])

describe.concurrent.each(Object.entries(kinds))("a runner with a view in %s", (_, kind) => {
  const test = (title: string, run: (kind: Kind) => Effect.Effect<unknown, unknown, Services | Scope.Scope>): void =>
    it.live(title, () => inViews(kind, run(kind)))

  test("G12 reports that handlers have not returned, since when and with which events, and continues when they do", ({
    journal
  }) =>
    Effect.gen(function* () {
      const released = yield* Deferred.make<void>()
      const projection = journal({
        name: `slow_${_.toLowerCase()}`,
        handled: ({ entry }) => (entry === "Counter-a 1" ? Deferred.await(released) : Effect.void)
      })
      const first = yield* count("a")
      const runner = yield* ProjectionRunner.make(projection, { slowAfter: "50 millis" })
      yield* untilState(runner, "Live")
      const last = yield* count("a", 3)
      const slow = yield* untilState(runner, "Slow")
      assert.deepInclude(slow.event, {
        stream: Counter.stream(Counter.Id.make("a")),
        version: 1,
        type: "Counter.Increased"
      })
      assert.isTrue(slow.event.position > first && slow.since > 0 && slow.events >= 1)
      const warnings = lines.filter((line) => line.includes(projection.name))
      assert.lengthOf(warnings, 1)
      assert.include(warnings[0], "its handlers have worked for")
      const behind = yield* Effect.flip(Projection.wait(projection, last, { timeout: "100 millis" }))
      assert.include(behind.message, 'event 1 of stream "Counter-a"')
      yield* Deferred.succeed(released, undefined)
      yield* untilProcessed(projection, last)
      yield* untilState(runner, "Live")
      assert.deepStrictEqual(yield* readJournal(projection), yield* wholeLog)
    }).pipe(Effect.provide(Lines)))
})

describe("a log and a view in one SQLite file, and a handler that does not return", () => {
  const hanging = (
    lockTimeout: "Infinity" | "300 millis",
    run: (projection: ReturnType<typeof makeJournal>) => Effect.Effect<unknown, unknown, Services | Scope.Scope>
  ) =>
    Effect.gen(function* () {
      const filename = yield* Temporary.file
      const place = { filename, lockTimeout }
      yield* Effect.gen(function* () {
        const reached = yield* Deferred.make<void>()
        const projection = makeJournal("tables", {
          handled: () => Effect.andThen(Deferred.succeed(reached, undefined), Effect.never)
        })
        yield* count("a")
        yield* ProjectionRunner.make(projection)
        yield* Deferred.await(reached)
        yield* run(projection)
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.mergeAll(SqliteLayer(place), SqliteViews(place), MemoryViews(), Logger.layer([])))
      )
    })

  it.live("G12 wait respects its timeout, however long locks are waited for", () =>
    hanging("Infinity", (projection) =>
      Effect.gen(function* () {
        const store = yield* EventStore.EventStore
        const [head] = [yield* store.version(Counter.stream(Counter.Id.make("a")))]
        assert.strictEqual(head, 0)
        for (const timeout of ["200 millis", 0] as const) {
          const behind = yield* Effect.flip(Projection.wait(projection, Position.Position.make(1_000n), { timeout }))
          assert.include(behind, { _tag: "ProjectionBehind" })
        }
      })
    )
  )

  it.live("G12 commands and reads fail after lockTimeout, with what they waited for", () =>
    hanging("300 millis", (projection) =>
      Effect.gen(function* () {
        const [command, read] = yield* Effect.all([Effect.flip(count("b")), Effect.flip(readJournal(projection))], {
          concurrency: "unbounded"
        })
        assert.include(command, { _tag: "RecorderUnavailable" })
        assert.include(read, { _tag: "RecorderUnavailable" })
        const behind = yield* Effect.flip(
          Projection.wait(projection, Position.Position.make(1_000n), { timeout: "1 second" })
        )
        assert.include(behind, { _tag: "ProjectionBehind" })
      })
    )
  )
})
