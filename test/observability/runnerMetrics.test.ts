/** What gauges report of runners that make no progress, that stop, and that share a name (G12). */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Effect, Layer, Logger, Schedule } from "effect"
import { TestClock } from "effect/testing"
import type { EventSourcing, Recorder } from "effect-eventsourcing"
import { EventSourcingError, Projection, ProjectionRunner } from "effect-eventsourcing"
import { MemoryLayer, MemoryViews } from "effect-eventsourcing/memory"
import { SqliteViews } from "effect-eventsourcing/sqlite"
import { count } from "../projection/support/journalView.ts"
import { untilState } from "../projection/support/runnerStates.ts"
import type { Views } from "../projection/support/viewKinds.ts"
import { changing } from "../projection/support/viewKinds.ts"
import { Counter } from "../support/dog.ts"
import { untilProcessed } from "../support/untilProcessed.ts"
import { ownRegistry, snapshots, values } from "./support/metrics.ts"

const makePlace = () => Layer.merge(MemoryViews(), SqliteViews({ filename: ":memory:" }))

const onMemory = <A, E>(
  self: Effect.Effect<A, E, EventSourcing.EventSourcing | Recorder.Recorder | Views | Scope.Scope>,
  place: Layer.Layer<Views, unknown> = makePlace()
) => self.pipe(Effect.scoped, Effect.provide(Layer.mergeAll(MemoryLayer(), place, Logger.layer([]))), ownRegistry)

/** Does something with the second event of each counter. */
const make = (does: () => Effect.Effect<unknown, unknown>) =>
  Projection.make("gauged", {
    aggregates: [Counter],
    view: Projection.memory(() => 0),
    handlers: { Counter: { Started: () => Effect.void, Increased: () => Effect.suspend(does) } }
  })

const states = (runner?: string) =>
  Effect.map(snapshots, (all) =>
    Object.fromEntries(
      all.flatMap(({ name, type, state, attributes }) =>
        name === "projection_state" && type === "Gauge" && attributes?.runner === runner
          ? [[attributes?.state, state.value]]
          : []
      )
    )
  )
const retry = Schedule.spaced("1 hour")

describe("the lag", () => {
  const held = {
    Blocked: () => Effect.fail("no"),
    "in a handler that hangs": () => Effect.never
  }
  for (const [how, does] of Object.entries(held)) {
    it.effect(`of a runner that is ${how} is measured`, () =>
      onMemory(
        Effect.gen(function* () {
          const runner = yield* ProjectionRunner.make(make(does), { retry })
          yield* count("a")
          yield* untilState(runner, "Live")
          yield* count("a", 50)
          yield* TestClock.adjust("4 seconds")
          assert.deepInclude(yield* values(), { projection_lag_positions: 50, projection_lag_seconds: 4 })
          yield* count("a", 10)
          yield* TestClock.adjust("20 seconds")
          assert.deepInclude(yield* values(), { projection_lag_positions: 60, projection_lag_seconds: 24 })
        })
      )
    )
  }

  it.effect("of a runner that can't write to its view is measured, and grows while nothing can be queried", () => {
    const unavailable = new EventSourcingError.RecorderUnavailable({ operation: "ask", reason: "not now" })
    let isAway = false
    const away = <A, E, R>(self: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => (isAway ? (Effect.fail(unavailable) as Effect.Effect<never>) : self))
    const layer = changing((store) => ({ transact: (move, work) => away(store.transact(move, work)) }))
    return onMemory(
      Effect.gen(function* () {
        const runner = yield* ProjectionRunner.make(make(() => Effect.void))
        yield* count("a")
        yield* untilState(runner, "Live")
        isAway = true
        yield* count("a", 5)
        yield* TestClock.adjust("1 minute")
        assert.deepInclude(yield* values(), { projection_lag_positions: 5, projection_lag_seconds: 60 })
        isAway = false
        yield* TestClock.adjust("10 seconds")
        yield* untilState(runner, "Live")
        assert.deepInclude(yield* values(), { projection_lag_positions: 0, projection_lag_seconds: 0 })
      }),
      Layer.provide(layer, makePlace())
    )
  })

  it.effect("of a runner on standby is that of the view", () =>
    onMemory(
      Effect.gen(function* () {
        const projection = make(() => Effect.never)
        const one = yield* ProjectionRunner.make(projection)
        yield* count("a")
        yield* untilState(one, "Live")
        const two = yield* ProjectionRunner.make(projection)
        yield* untilState(two, "Standby")
        yield* count("a", 3)
        yield* TestClock.adjust("20 seconds")
        assert.deepInclude(yield* values({ runner: "2" }), { projection_lag_positions: 3, projection_lag_seconds: 20 })
      })
    )
  )
})

describe("the state", () => {
  it.live("is a single one, also of a restarted runner", () =>
    onMemory(
      Effect.gen(function* () {
        let isMended = false
        const projection = make(() => (isMended ? Effect.void : Effect.fail("no")))
        const position = yield* count("a", 2)
        const once = ProjectionRunner.run(projection, { retry: Schedule.recurs(0) })
        assert.include(yield* Effect.flip(once), { _tag: "ProjectionFailed" })
        assert.include(yield* states(), { Stopped: 1 })
        isMended = true
        const runner = yield* ProjectionRunner.make(projection)
        yield* untilProcessed(projection, position)
        yield* untilState(runner, "Live")
        const { Live, ...others } = yield* states()
        assert.deepStrictEqual([Live, Object.values(others).filter((value) => value !== 0)], [1, []])
      })
    )
  )

  it.live("of two runners that share a name, like those of two tenants, is reported for each", () =>
    Effect.gen(function* () {
      yield* Effect.gen(function* () {
        const context = Layer.mergeAll(MemoryLayer(), makePlace(), Logger.layer([]))
        const [one, two] = [yield* Layer.build(Layer.fresh(context)), yield* Layer.build(Layer.fresh(context))]
        const blocked = yield* ProjectionRunner.make(
          make(() => Effect.fail("no")),
          { retry }
        ).pipe(Effect.provide(one))
        const live = yield* ProjectionRunner.make(make(() => Effect.void)).pipe(Effect.provide(two))
        yield* Effect.provide(count("a", 2), one)
        yield* untilState(blocked, "Blocked")
        const position = yield* Effect.provide(count("a", 2), two)
        yield* Effect.provide(
          untilProcessed(
            make(() => Effect.void),
            position
          ),
          two
        )
        yield* untilState(live, "Live")
        assert.include(yield* states(), { Blocked: 1, Live: 0 })
        assert.include(yield* states("2"), { Live: 1 })
      })
    }).pipe(Effect.scoped, ownRegistry)
  )
})
